// The path of processors with AVX512-VNNI: 16 sums of 32 bits in a vector.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#include "winograd.hpp"

namespace anybit {
namespace {

bool run(const Plan& plan, const Step& step, const Memory& m) { return run_filtered(plan, step, m); }

}  // namespace

const Kernels avx512vnni_kernels{"avx512vnni", 1, prepare_filtered, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
