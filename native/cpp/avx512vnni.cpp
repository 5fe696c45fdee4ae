// The path of processors with AVX512-VNNI: 16 sums of 32 bits in a vector.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#include "avx512.hpp"

namespace anybit {
namespace {

void prepare(const Plan& plan, Step& step) {
  if (step.kind == Kind::Product) prepare_product(plan, step, true);
}

bool run(const Plan& plan, const Step& step, const Memory& m) { return run_wide(plan, step, m); }

}  // namespace

const Kernels avx512vnni_kernels{"avx512vnni", prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
