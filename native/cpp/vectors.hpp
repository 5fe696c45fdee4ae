// Vector instructions, and whether a file can be compiled for a processor function by function.
// Tests put headers that emulate the instructions of other processors in the place of the compiler's.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>

#include "plan.hpp"

#if defined(ANYBIT_EMULATED)
#include ANYBIT_EMULATED
#else
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define ANYBIT_TARGETS
#endif
#endif
