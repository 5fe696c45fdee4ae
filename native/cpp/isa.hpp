// What a processor says of itself, and what that means for paths.
#pragma once
#include "plan.hpp"

namespace anybit {

struct Registers {
  bool extended_state = false;  // whether the system saves vectors, and `state` says which
  uint64_t state = 0;           // XCR0
  uint32_t leaf7_ebx = 0, leaf7_ecx = 0, leaf7_edx = 0, leaf7_1_eax = 0;
  uint32_t tiles_ebx = 0, tiles_ecx = 0;  // of the first palette: bytes of a row and number of tiles, and rows
};

bool has_avx2(const Registers& r);
bool has_avxvnni(const Registers& r);
bool has_avx512vnni(const Registers& r);
bool has_avx512vpopcntdq(const Registers& r);
bool has_amx(const Registers& r);

bool agrees(const Kernels& kernels);  // whether a path gives what plain C++ gives, on a few layers

}  // namespace anybit
