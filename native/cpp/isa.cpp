// Which paths the processor has, and which of those agree with plain C++.
#include "isa.hpp"

#include <array>

#if defined(__x86_64__) && !defined(ANYBIT_EMULATED)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif
#endif

namespace anybit {

bool has_avx2(const Registers& r) { return r.extended_state && (r.state & 0x6) == 0x6 && r.leaf7_ebx >> 5 & 1; }

bool has_avxvnni(const Registers& r) { return has_avx2(r) && r.leaf7_1_eax >> 4 & 1; }

bool has_avx512vnni(const Registers& r) {
  constexpr uint32_t kFoundation = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint32_t kAll = kFoundation | kDq | kBw | kVl;
  return has_avx2(r) && (r.state & 0xe6) == 0xe6 && (r.leaf7_ebx & kAll) == kAll && r.leaf7_ecx >> 11 & 1;
}

bool has_avx512vpopcntdq(const Registers& r) { return has_avx512vnni(r) && r.leaf7_ecx >> 14 & 1; }

bool has_amx(const Registers& r) {
  return has_avx512vnni(r) && (r.state & 0x60000) == 0x60000 && r.leaf7_edx >> 24 & 1 && r.leaf7_edx >> 25 & 1 &&
         (r.tiles_ebx >> 16) >= 8 && (r.tiles_ecx & 0xffff) >= 16 && (r.tiles_ebx & 0xffff) >= 64;
}

namespace {

#if defined(ANYBIT_EMULATED)
std::vector<const Kernels*> present() {
  return {&amx_kernels, &avx512vpopcntdq_kernels, &avx512vnni_kernels, &avxvnni_kernels, &scalar_kernels};
}
#elif defined(__x86_64__)
Registers registers() {
  Registers r;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) r.extended_state = c >> 27 & 1 && c >> 28 & 1;  // OSXSAVE and AVX
  if (r.extended_state) {
    uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    r.state = uint64_t{high} << 32 | low;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    r.leaf7_ebx = b;
    r.leaf7_ecx = c;
    r.leaf7_edx = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) r.leaf7_1_eax = a;
  }
  if (__get_cpuid_count(0x1d, 1, &a, &b, &c, &d)) {
    r.tiles_ebx = b;
    r.tiles_ecx = c;
  }
  return r;
}

// Linux saves tiles only for processes that ask for it.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

std::vector<const Kernels*> present() {
  const Registers r = registers();
  std::vector<const Kernels*> found;
  if (has_amx(r) && may_use_tiles()) found.push_back(&amx_kernels);
  if (has_avx512vpopcntdq(r)) found.push_back(&avx512vpopcntdq_kernels);
  if (has_avx512vnni(r)) found.push_back(&avx512vnni_kernels);
  if (has_avxvnni(r)) found.push_back(&avxvnni_kernels);
  if (has_avx2(r)) found.push_back(&avx2_kernels);
  found.push_back(&scalar_kernels);
  return found;
}
#elif defined(__aarch64__)
std::vector<const Kernels*> present() {
  std::vector<const Kernels*> found;
#if defined(__linux__)
  constexpr unsigned long kDotProduct = 1ul << 20;
  if (getauxval(AT_HWCAP) & kDotProduct) found.push_back(&neon_kernels);
#endif
  found.push_back(&scalar_kernels);
  return found;
}
#else
std::vector<const Kernels*> present() { return {&scalar_kernels}; }
#endif

struct Paths {
  std::vector<const Kernels*> usable, departing;
};

// Each path is tried once, when the first is asked for.
const Paths& paths() {
  static const Paths tried = [] {
    Paths found;
    for (const Kernels* kernels : present()) (agrees(*kernels) ? found.usable : found.departing).push_back(kernels);
    return found;
  }();
  return tried;
}

}  // namespace

const std::vector<const Kernels*>& usable_kernels() { return paths().usable; }

const std::vector<const Kernels*>& departing_kernels() { return paths().departing; }

const Kernels* kernels_named(const std::string& name) {
  for (const Kernels* kernels : usable_kernels())
    if (name.empty() || name == kernels->name) return kernels;
  return nullptr;
}

}  // namespace anybit
