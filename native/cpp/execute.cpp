// execute: the steps of a plan, one group of samples after the other, on so many threads as one likes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <system_error>
#include <thread>

#include "plan.hpp"

namespace anybit {
namespace {

// Memory of a thread, kept for its next run: growing only.
class Buffer {
 public:
  ~Buffer() { std::free(data_); }
  uint8_t* of(size_t size) {
    if (size > size_) {
      std::free(data_);
      size_ = 0;
      data_ = static_cast<uint8_t*>(std::aligned_alloc(64, (size + 63) / 64 * 64));
      if (data_ == nullptr) throw std::bad_alloc();
      std::fill_n(data_, size, uint8_t{0});
      size_ = size;
    }
    return data_;
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

thread_local Buffer buffer;
thread_local std::vector<uint8_t*> places;

// Steps `from` to `upto`; what each takes is added to its place of `nanoseconds`, where there are any.
bool run_steps(const Plan& plan, size_t from, size_t upto, const Memory& held, int64_t* nanoseconds) {
  for (size_t i = from; i < upto; i++) {
    if (nanoseconds == nullptr) {
      if (!plan.kernels->run(plan, plan.steps[i], held)) return false;
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    if (!plan.kernels->run(plan, plan.steps[i], held)) return false;
    nanoseconds[i] += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
  }
  return true;
}

// Where the samples from `first` on lie that the caller holds.
void place_ports(const Plan& plan, const Ports& ports, int64_t first) {
  for (size_t i = 0; i < plan.inputs.size(); i++) {
    const Port& port = plan.inputs[i];
    const float* x = ports.inputs[i] + first * plan.tensors[port.tensor].elements;
    places[port.tensor] = reinterpret_cast<uint8_t*>(const_cast<float*>(x));  // steps write to no input
  }
  for (size_t i = 0; i < plan.outputs.size(); i++) {
    const Port& port = plan.outputs[i];
    places[port.tensor] = reinterpret_cast<uint8_t*>(ports.outputs[i] + first * plan.tensors[port.tensor].elements);
  }
}

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// The steps before the late ones for one group. What the late ones read goes to their arena, of `late_count` samples of
// which the group begins `begin` behind the first.
bool run_group(const Plan& plan, const Ports& ports, int64_t first, int32_t count, uint8_t* memory, uint8_t* late,
               int32_t late_count, int64_t begin, int64_t* nanoseconds) {
  const bool has_late = plan.late < plan.steps.size();
  for (size_t i = 0; i < plan.tensors.size(); i++) {
    const Tensor& t = plan.tensors[i];
    const bool is_late = has_late && plan.late_offsets[i] >= 0;
    places[i] = t.offset < 0 ? nullptr
                : is_late    ? late + plan.late_offsets[i] * late_count + begin * t.bytes()
                             : memory + t.offset * count;
  }
  place_ports(plan, ports, first);
  const Memory held{places.data(), memory + aligned(static_cast<size_t>(plan.arena) * count + kSlack), count};
  return run_steps(plan, 0, plan.late, held, nanoseconds);
}

// All steps for `count` samples, at most those that go through the late steps at once.
bool run_groups(const Plan& plan, const Ports& ports, int64_t first, int32_t count, int64_t* nanoseconds) {
  const int32_t size = std::min(count, plan.group);
  const size_t early = aligned(static_cast<size_t>(plan.arena) * size + kSlack) + aligned(static_cast<size_t>(plan.scratch) * size + kSlack);
  const size_t late = aligned(static_cast<size_t>(plan.late_arena) * count + kSlack);
  const size_t scratch = static_cast<size_t>(plan.late_scratch) * count + kSlack;
  uint8_t* memory = buffer.of(early + late + scratch);
  places.resize(plan.tensors.size());
  for (int32_t begin = 0; begin < count; begin += size) {
    const int32_t taken = std::min(size, count - begin);
    if (!run_group(plan, ports, first + begin, taken, memory, memory + early, count, begin, nanoseconds)) return false;
  }
  if (plan.late == plan.steps.size()) return true;
  for (size_t i = 0; i < plan.tensors.size(); i++)
    if (plan.late_offsets[i] >= 0) places[i] = memory + early + plan.late_offsets[i] * count;
  place_ports(plan, ports, first);
  return run_steps(plan, plan.late, plan.steps.size(), {places.data(), memory + early + late, count}, nanoseconds);
}

}  // namespace

bool execute(const Plan& plan, const Ports& ports, int64_t samples, int threads, int64_t* nanoseconds) {
  // A thread costs what some million products do.
  const int64_t worth = 1 + plan.macs * std::min<int64_t>(samples, 1 << 20) / (1 << 22);
  threads = static_cast<int>(std::min<int64_t>(std::max(threads, 1), worth));
  if (nanoseconds != nullptr) threads = 1;
  const int64_t each = (samples + threads - 1) / threads;
  const int32_t size = static_cast<int32_t>(std::clamp<int64_t>(each, 1, plan.late_group));
  const int64_t groups = (samples + size - 1) / size;
  std::atomic<int64_t> next{0};
  std::atomic<bool> good{true}, exhausted{false};
  auto work = [&]() {
    try {
      for (int64_t i = next++; i < groups && good; i = next++) {
        const int64_t first = i * size;
        if (!run_groups(plan, ports, first, static_cast<int32_t>(std::min<int64_t>(size, samples - first)), nanoseconds)) good = false;
      }
    } catch (const std::bad_alloc&) {
      exhausted = true;
      good = false;
    }
  };
  std::vector<std::thread> others;
  const int64_t wanted = std::min<int64_t>(threads, groups);
  if (wanted > 1) {
    others.reserve(wanted - 1);
    try {
      for (int64_t i = 1; i < wanted; i++) others.emplace_back(work);
    } catch (const std::system_error&) {  // no more threads: those that there are do the work
    }
  }
  work();
  for (std::thread& other : others) other.join();
  if (exhausted) throw std::bad_alloc();
  return good;
}

}  // namespace anybit
