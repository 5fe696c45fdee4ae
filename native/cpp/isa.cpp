// Which path the processor has.
#include "plan.hpp"

namespace anybit {

std::vector<const Kernels*> usable_kernels() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) found.push_back(&avx2_kernels);
#endif
  found.push_back(&scalar_kernels);
  return found;
}

const Kernels* kernels_named(const std::string& name) {
  for (const Kernels* kernels : usable_kernels())
    if (name.empty() || name == kernels->name) return kernels;
  return nullptr;
}

}  // namespace anybit
