// Runs the plans of standard input by one path and writes what they make: for paths of processors that Python is not
// built for, and for emulated instructions. `driver` lists the paths, `driver PATH` runs; tests/engines/native/cases.py
// writes the plans.
#include <cstdio>
#include <cstring>
#include <exception>

#include "isa.hpp"
#include "read.hpp"
#include "vectors.hpp"

namespace {

using namespace anybit;

struct Ended : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class T>
T number() {
  T n;
  if (std::fread(&n, sizeof(n), 1, stdin) != 1) throw Ended("a case that ends too early");
  return n;
}

std::vector<int64_t> integers() {
  std::vector<int64_t> found(static_cast<size_t>(number<int64_t>()));
  for (int64_t& n : found) n = number<int64_t>();
  return found;
}

std::vector<uint8_t> bytes() {
  std::vector<uint8_t> found(static_cast<size_t>(number<int64_t>()));
  if (!found.empty() && std::fread(found.data(), 1, found.size(), stdin) != found.size()) throw Ended("an array that ends too early");
  return found;
}

std::vector<Port> ports() {
  std::vector<Port> found(static_cast<size_t>(number<int64_t>()));
  for (Port& port : found) {
    port.tensor = small(number<int64_t>());
    port.shape = integers();
  }
  return found;
}

void run_case(const Kernels& kernels) {
  Plan plan;
  plan.kernels = &kernels;
  for (int64_t i = number<int64_t>(); i > 0; i--) plan.tensors.push_back(read_tensor(integers()));
  for (int64_t i = number<int64_t>(); i > 0; i--) {
    const int64_t kind = number<int64_t>();
    std::vector<int64_t> numbers = integers();
    std::vector<Array> arrays;
    for (int64_t k = number<int64_t>(); k > 0; k--) {
      const int64_t type = number<int64_t>();
      arrays.push_back({static_cast<Array::Type>(type), bytes()});
    }
    plan.steps.push_back(read_step(kind, Parts(std::move(numbers), std::move(arrays))));
  }
  plan.inputs = ports();
  plan.outputs = ports();
  plan.arena = number<int64_t>();
  finish(plan);
  const int64_t samples = number<int64_t>();
  std::vector<std::vector<uint8_t>> x;
  std::vector<std::vector<float>> y;
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
  for (size_t i = 0; i < plan.inputs.size(); i++) x.push_back(bytes());
  for (const Port& port : plan.outputs) y.emplace_back(static_cast<size_t>(plan.tensors[port.tensor].elements * samples));
  for (const auto& array : x) inputs.push_back(reinterpret_cast<const float*>(array.data()));
  for (auto& array : y) outputs.push_back(array.data());
  if (!execute(plan, {inputs.data(), outputs.data()}, samples, 1)) throw Ended("a number without a level");
#if defined(ANYBIT_EMULATED)
  if (emulated::tiles.configured) throw Ended("tiles that were not released");
#endif
  for (const auto& array : y) std::fwrite(array.data(), sizeof(float), array.size(), stdout);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count < 2) {
      for (const Kernels* kernels : usable_kernels()) std::printf("%s\n", kernels->name);
      for (const Kernels* kernels : departing_kernels()) std::printf("%s departs\n", kernels->name);
      return 0;
    }
    const Kernels* kernels = kernels_named(arguments[1]);
    if (kernels == nullptr) throw Ended("the processor has no such path");
    for (int64_t i = number<int64_t>(); i > 0; i--) run_case(*kernels);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
