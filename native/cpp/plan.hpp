// A plan as kernels take it: every size and index in it was checked when it was made (compile.cpp).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace anybit {

// What is wrong with what the caller handed over.
struct Invalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Element : int { Byte = 0, Sum = 1, Real = 2 };

struct Tensor {
  int64_t elements = 0;
  Element element = Element::Byte;
  int32_t zero = 0, lo = 0, hi = 0;
  int64_t offset = -1;  // in the arena of one sample; -1 for what the caller holds
  int32_t first = -1, second = -1;  // the two bytes that it holds alone, in order; -1 where there may be others
  int64_t bytes() const { return elements * (element == Element::Byte ? 1 : 4); }
};

struct Window {
  int32_t size[2], kernel[2], strides[2], dilations[2], pads[2], output[2];
  int32_t padded[2];  // rows and columns with all that a window sees
  bool is_padded() const { return padded[0] != size[0] || padded[1] != size[1] || pads[0] || pads[1]; }
};

enum class Arithmetic : int { Add, Subtract, SubtractFrom, Multiply, Divide };

struct FloatStep {
  Arithmetic operation;
  std::vector<float> numbers;
};

enum class EpilogueKind : int { None, Thresholds, Multiplier };

struct Epilogue {
  EpilogueKind kind = EpilogueKind::None;
  int32_t selected = 1, count = 0, zero = 0, lo = 0, hi = 255;
  std::vector<int32_t> base, step, values;  // values: [selected][channels][count]
  std::vector<int32_t> factor, bias;
  std::vector<float> multiplier;
};

enum class Kind : int {
  Quantize, Compare, Product, Requantize, Table, PairTable, Pool, Move, Join, Dequantize, LookUp, Softmax
};

// Weights of a product in the order in which a kernel reads them.
struct Packed {
  virtual ~Packed() = default;
  bool is_depthwise = false;
};

struct Step {
  Kind kind = Kind::Table;
  int32_t x = -1, y = -1, a = -1, b = -1, selector = -1;
  int32_t channels = 1;
  bool channels_first = false;
  // Quantize, Dequantize, Compare
  std::vector<FloatStep> arithmetic;
  std::vector<float> scale, zero_point, thresholds;
  std::vector<double> wide_scale, wide_bias;
  double divisor = 1;
  int32_t lo = 0, hi = 0, count = 0;
  std::vector<int32_t> base, step;
  // Product, Pool
  Window window{};
  int32_t group = 1, outputs = 0, inputs = 0;  // inputs: channels of one group
  bool maximum = true;
  std::vector<int8_t> weights;
  std::vector<int32_t> offset;
  std::vector<int32_t> pixels;  // of each output position, where its first tap lies in the padded input
  std::vector<int32_t> taps;    // of each tap, how far it lies from the first
  Epilogue epilogue;
  std::unique_ptr<Packed> packed;
  // Table, PairTable, LookUp, Move, Join
  std::vector<uint8_t> table;
  std::vector<float> reals;
  int32_t rows = 0, columns = 0;
  std::vector<int32_t> index, xs, lengths, shifts;
};

// The sum of the magnitudes of some weights. It is no `inline` function alone: each file is compiled for its own
// processor, and the linker would keep the code of any of them.
static inline int64_t magnitude_of(const int8_t* weights, size_t count) {
  constexpr size_t kPiece = size_t{1} << 20;  // whose sum 32 bits hold
  int64_t total = 0;
  for (size_t first = 0; first < count; first += kPiece) {
    const size_t end = count - first < kPiece ? count : first + kPiece;
    int32_t sum = 0;
    for (size_t i = first; i < end; i++) sum += weights[i] < 0 ? -int32_t{weights[i]} : int32_t{weights[i]};
    total += sum;
  }
  return total;
}

struct Port {
  std::string name;
  int32_t tensor;
  std::vector<int64_t> shape;
};

struct Kernels;

struct Plan {
  std::vector<Tensor> tensors;
  std::vector<Step> steps;
  std::vector<Port> inputs, outputs;
  int64_t arena = 0, scratch = 0;  // bytes for one sample
  int32_t group = 1;               // samples that are run together
  // From step `late` on tensors are small, so that more samples are run together: `late_group` of them go through the
  // steps before it group by group, and through the others at once, in an arena of their own.
  size_t late = 0;  // the number of steps where there are none
  int32_t late_group = 1;
  int64_t late_arena = 0, late_scratch = 0;
  std::vector<int64_t> late_offsets;  // of each tensor; -1 for what is not there
  int64_t macs = 0;
  const Kernels* kernels = nullptr;
};

// What the caller holds: the first element of each input and output.
struct Ports {
  const float* const* inputs;
  float* const* outputs;
};

constexpr int64_t kSlack = 64;  // bytes behind every buffer that kernels may read

// Where the numbers of `count` samples are while a plan runs.
struct Memory {
  uint8_t* const* tensors;
  uint8_t* scratch;
  int32_t count;
};

// One way to run all steps. `run` gives false where a real number has no level.
struct Kernels {
  const char* name;
  int32_t rows;  // samples from which on products by many are worth more cache
  void (*prepare)(const Plan&, Step&);
  bool (*run)(const Plan&, const Step&, const Memory&);
};

extern const Kernels scalar_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels, avxvnni_kernels, avx512vnni_kernels, avx512vpopcntdq_kernels, amx_kernels;
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

const Kernels* kernels_named(const std::string& name);  // nullptr where the processor has no such path
const std::vector<const Kernels*>& usable_kernels();     // the best one first
const std::vector<const Kernels*>& departing_kernels();  // those that the processor has, and whose results are wrong

void find_two_levels(Plan& plan);
void finish(Plan& plan);  // checks that the parts fit together; throws Invalid
// `nanoseconds`, where it is given, has a place for each step, to which the time of the step is added; one thread then.
bool execute(const Plan& plan, const Ports& ports, int64_t samples, int threads, int64_t* nanoseconds = nullptr);

}  // namespace anybit
