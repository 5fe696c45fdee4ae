// The path of processors with AVX512-VNNI: 16 sums of 32 bits in a vector.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#include "winograd.hpp"

namespace anybit {
namespace {

void prepare(const Plan& plan, Step& step) {
  prepare_by_vectors(plan, step);
  prepare_winograd(plan, step);
}

bool run(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind == Kind::Product && step.packed != nullptr && !step.packed->is_depthwise) {
    const PackedProduct& p = static_cast<const PackedProduct&>(*step.packed);
    if (!p.filters.bytes.empty()) {
      run_winograd(plan, step, p, m);
      return true;
    }
  }
  return run_by_vectors(plan, step, m);
}

}  // namespace

const Kernels avx512vnni_kernels{"avx512vnni", 1, prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
