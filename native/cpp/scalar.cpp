// The path that every processor has.
#include "steps.hpp"

namespace anybit {
namespace {
void prepare_nothing(const Plan&, Step&) {}
}  // namespace

const Kernels scalar_kernels{"scalar", 1, prepare_nothing, run_plain};

}  // namespace anybit
