// finish: whether the parts of a plan fit together, so that no kernel has to ask, and what is derived from them.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "plan.hpp"

namespace anybit {
namespace {

constexpr int64_t kLargest = int64_t{1} << 31;
constexpr int64_t kCache = 192 << 10;  // bytes that the samples of one group may take
constexpr int32_t kMostTogether = 64;
constexpr int64_t kLateBytes = 32 << 10;  // of the tensors of one sample that steps of many samples may have
constexpr int64_t kRowsCache = 1 << 20;   // bytes that a tensor of as many samples as a path likes may take

void require(bool good, const char* problem) {
  if (!good) throw Invalid(problem);
}

const Tensor& tensor(const Plan& plan, int32_t index) {
  require(index >= 0 && static_cast<size_t>(index) < plan.tensors.size(), "a step names a tensor that is not there");
  return plan.tensors[index];
}

void require_size(size_t got, int64_t expected, const char* problem) {
  require(static_cast<int64_t>(got) == expected, problem);
}

void by_channel(size_t size, int64_t channels, const char* problem) {
  require(size == 1 || static_cast<int64_t>(size) == channels, problem);
}

void in_channels(const Tensor& t, int32_t channels) {
  require(channels >= 1 && t.elements % channels == 0, "channels do not divide a tensor");
}

void finish_arithmetic(const Step& step) {
  for (const FloatStep& s : step.arithmetic) by_channel(s.numbers.size(), step.channels, "numbers of a float step");
}

void finish_epilogue(const Epilogue& e, int32_t channels, int32_t selected) {
  if (e.kind == EpilogueKind::Thresholds) {
    require(e.selected == selected && e.count >= 0, "thresholds for another number of levels");
    const int64_t rows = int64_t{e.selected} * channels;
    require_size(e.base.size(), rows, "bases of thresholds");
    require_size(e.step.size(), rows, "steps of thresholds");
    require_size(e.values.size(), rows * e.count, "thresholds");
    for (int32_t s : e.step) require(s == 1 || s == -1, "a step that is not 1 or -1");
    for (int64_t row = 0; row < rows; row++) {
      const int64_t last = int64_t{e.base[row]} + int64_t{e.step[row]} * e.count;
      require(e.base[row] >= 0 && e.base[row] <= 255, "a level that no byte holds");
      // thresholds that no sum reaches fill up a row: levels behind them may lie outside
      require(last >= -255 && last <= 510, "levels that no byte holds");
      for (int32_t i = 1; i < e.count; i++)
        require(e.values[row * e.count + i - 1] <= e.values[row * e.count + i], "thresholds that do not ascend");
    }
  } else if (e.kind == EpilogueKind::Multiplier) {
    require_size(e.factor.size(), channels, "factors");
    require_size(e.bias.size(), channels, "biases");
    require_size(e.multiplier.size(), channels, "multipliers");
    require(e.lo >= 0 && e.lo <= e.hi && e.hi <= 255 && std::abs(e.zero) <= 1 << 20, "levels that no byte holds");
    for (int32_t f : e.factor) require(std::abs(int64_t{f}) <= 255, "a factor that is too large");
    for (int32_t b : e.bias) require(std::abs(int64_t{b}) <= 1 << 24, "a bias that is too large");
    for (float m : e.multiplier) require(m > 0 && m < 1e30f, "a multiplier that is no positive number");
  } else {
    throw Invalid("an epilogue of no kind");
  }
}

void finish_window(Plan& plan, Step& step, const Tensor& x, const Tensor& y, int32_t channels, int32_t outputs) {
  Window& w = step.window;
  for (int i = 0; i < 2; i++) {
    for (int32_t n : {w.size[i], w.kernel[i], w.strides[i], w.dilations[i], w.output[i]})
      require(n >= 1 && n < 1 << 20, "a window of no size");
    require(w.pads[i] >= 0 && w.pads[i] < 1 << 20, "a negative padding");
    const int64_t seen = int64_t{w.output[i] - 1} * w.strides[i] + int64_t{w.kernel[i] - 1} * w.dilations[i] + 1;
    const int64_t padded = std::max<int64_t>(seen, int64_t{w.pads[i]} + w.size[i]);
    require(padded < 1 << 24, "a padded input that is too large");
    w.padded[i] = static_cast<int32_t>(padded);
  }
  require(int64_t{w.padded[0]} * w.padded[1] * channels < kLargest, "a padded input that is too large");
  require(int64_t{w.size[0]} * w.size[1] * channels == x.elements, "the input of a window has another size");
  require(int64_t{w.output[0]} * w.output[1] * outputs == y.elements, "the output of a window has another size");
  if (w.is_padded()) {
    const int64_t bytes = int64_t{w.padded[0]} * w.padded[1] * channels * (x.element == Element::Byte ? 1 : 4);
    plan.scratch = std::max(plan.scratch, bytes);
  }
  step.pixels.clear();
  step.taps.clear();
  const int32_t row = w.padded[1] * channels;
  for (int32_t r = 0; r < w.output[0]; r++)
    for (int32_t c = 0; c < w.output[1]; c++) step.pixels.push_back(r * w.strides[0] * row + c * w.strides[1] * channels);
  for (int32_t r = 0; r < w.kernel[0]; r++)
    for (int32_t c = 0; c < w.kernel[1]; c++) step.taps.push_back(r * w.dilations[0] * row + c * w.dilations[1] * channels);
}

void finish_product(Plan& plan, Step& step, const Tensor& x, const Tensor& y) {
  require(step.group >= 1 && step.inputs >= 1 && step.outputs >= 1, "a product of nothing");
  require(int64_t{step.group} * step.inputs < 1 << 24 && step.outputs < 1 << 24, "too many channels");
  require(step.outputs % step.group == 0, "groups do not divide the outputs");
  step.channels = step.group * step.inputs;
  require(x.element != Element::Real, "a product of reals");
  finish_window(plan, step, x, y, step.channels, step.outputs);
  const int64_t terms = int64_t{step.window.kernel[0]} * step.window.kernel[1] * step.inputs;
  require_size(step.weights.size(), terms * step.outputs, "weights");
  require_size(step.offset.size(), step.outputs, "offsets");
  const int64_t largest = x.element == Element::Byte ? 255 : std::max(std::abs(int64_t{x.lo}), std::abs(int64_t{x.hi}));
  for (int32_t o = 0; o < step.outputs; o++) {
    const int64_t room = kLargest - 1 - std::abs(int64_t{step.offset[o]});
    const int64_t magnitude = magnitude_of(step.weights.data() + o * terms, size_t(terms));
    require(room >= 0 && magnitude <= room / std::max(largest, int64_t{1}), "sums of more than 32 bits");
  }
  if (step.epilogue.kind == EpilogueKind::None) {
    require(y.element == Element::Sum, "sums that are no sums");
  } else {
    require(y.element == Element::Byte, "levels that are no bytes");
    finish_epilogue(step.epilogue, step.outputs, 1);
  }
  plan.macs += terms * step.outputs * static_cast<int64_t>(step.pixels.size());
}

void finish_step(Plan& plan, Step& step) {
  const Tensor& y = tensor(plan, step.y);
  if (step.kind == Kind::Join) {
    require(step.xs.size() >= 1 && step.xs.size() == step.lengths.size() && step.xs.size() == step.shifts.size(),
            "parts of a concatenation");
    int64_t rows = -1, total = 0;
    for (size_t i = 0; i < step.xs.size(); i++) {
      const Tensor& x = tensor(plan, step.xs[i]);
      require(x.element == Element::Byte && y.element == Element::Byte, "a concatenation of what are no bytes");
      require(step.lengths[i] >= 1 && x.elements % step.lengths[i] == 0, "rows of a concatenation");
      require(rows < 0 || rows == x.elements / step.lengths[i], "rows of a concatenation");
      rows = x.elements / step.lengths[i];
      total += x.elements;
    }
    require(total == y.elements, "the size of a concatenation");
    return;
  }
  if (step.kind == Kind::PairTable) {
    const Tensor &a = tensor(plan, step.a), &b = tensor(plan, step.b);
    require(a.element == Element::Byte && b.element == Element::Byte && y.element == Element::Byte, "pairs of bytes");
    require(a.elements == y.elements && b.elements == y.elements, "pairs of other sizes");
    in_channels(y, step.channels);
    require(step.rows >= 1 && step.rows <= 256 && step.columns >= 1 && step.columns <= 256, "a table of no size");
    const int64_t one = int64_t{step.rows} * step.columns, size = static_cast<int64_t>(step.table.size());
    require(size == one || size == one * step.channels, "a table of pairs");
    return;
  }
  const Tensor& x = tensor(plan, step.x);
  switch (step.kind) {
    case Kind::Quantize:
      require(x.element == Element::Real && y.element == Element::Byte && x.elements == y.elements, "a quantiser");
      in_channels(x, step.channels);
      finish_arithmetic(step);
      by_channel(step.scale.size(), step.channels, "scales");
      by_channel(step.zero_point.size(), step.channels, "zero points");
      require(step.lo <= step.hi && int64_t{step.hi} - step.lo <= 255, "levels that no byte holds");
      require(std::abs(int64_t{step.lo}) < 1 << 24 && std::abs(int64_t{step.hi}) < 1 << 24, "levels that are too large");
      break;
    case Kind::Compare:
      require(x.element == Element::Real && y.element == Element::Byte && x.elements == y.elements, "a quantiser");
      in_channels(x, step.channels);
      by_channel(step.base.size(), step.channels, "bases");
      require_size(step.step.size(), static_cast<int64_t>(step.base.size()), "steps");
      require(step.count >= 0 && step.count <= 255, "thresholds");
      require_size(step.thresholds.size(), static_cast<int64_t>(step.base.size()) * step.count, "thresholds");
      for (size_t i = 0; i < step.base.size(); i++)
        require(step.base[i] >= 0 && step.base[i] <= 255 && (step.step[i] == 1 || step.step[i] == -1), "bases");
      break;
    case Kind::Product:
      finish_product(plan, step, x, y);
      break;
    case Kind::Requantize:
      require(x.element == Element::Sum && y.element == Element::Byte && x.elements == y.elements, "levels of sums");
      in_channels(x, step.channels);
      if (step.selector >= 0) {
        const Tensor& s = tensor(plan, step.selector);
        require(s.element == Element::Byte && s.elements == x.elements, "levels that select");
        require(step.epilogue.kind == EpilogueKind::Thresholds && step.epilogue.selected >= 1, "levels that select");
      }
      finish_epilogue(step.epilogue, step.channels, step.selector >= 0 ? step.epilogue.selected : 1);
      break;
    case Kind::Table:
      require(x.element == Element::Byte && y.element == Element::Byte && x.elements == y.elements, "a table");
      in_channels(x, step.channels);
      require(step.table.size() == 256 || static_cast<int64_t>(step.table.size()) == int64_t{256} * step.channels, "a table");
      break;
    case Kind::Pool:
      require(x.element != Element::Real && step.channels >= 1, "a pool of reals");
      require(y.element == (step.maximum ? x.element : Element::Sum), "what a pool makes");
      require(step.maximum || x.element == Element::Byte, "a sum of what are no bytes");
      finish_window(plan, step, x, y, step.channels, step.channels);
      break;
    case Kind::Move:
      require(x.element == y.element, "a tensor moved to one of another kind");
      require_size(step.index.size(), y.elements, "places");
      for (int32_t i : step.index) require(i >= -1 && i < x.elements, "a place outside of a tensor");
      break;
    case Kind::Dequantize:
      require(x.element != Element::Real && y.element == Element::Real && x.elements == y.elements, "reals of levels");
      in_channels(x, step.channels);
      finish_arithmetic(step);
      by_channel(step.wide_scale.size(), step.channels, "scales");
      by_channel(step.wide_bias.size(), step.channels, "biases");
      require(step.divisor > 0, "a divisor that is not positive");
      break;
    case Kind::LookUp:
      require(x.element != Element::Real && y.element == Element::Real && x.elements == y.elements, "reals of levels");
      in_channels(x, step.channels);
      require(step.columns >= 1 && (static_cast<int64_t>(step.reals.size()) == step.columns ||
                                    static_cast<int64_t>(step.reals.size()) == int64_t{step.columns} * step.channels),
              "a table of reals");
      break;
    case Kind::Softmax:
      require(x.element == Element::Real && y.element == Element::Real && x.elements == y.elements, "a softmax");
      in_channels(x, step.channels);
      break;
    default:
      throw Invalid("a step of no kind");
  }
}

void finish_memory(Plan& plan) {
  std::vector<bool> made(plan.tensors.size()), held(plan.tensors.size());
  for (const Port& port : plan.inputs) {
    require(tensor(plan, port.tensor).element == Element::Real, "an input that is not of reals");
    made[port.tensor] = held[port.tensor] = true;
  }
  for (const Port& port : plan.outputs) {
    require(tensor(plan, port.tensor).element == Element::Real, "an output that is not of reals");
    require(!held[port.tensor], "one tensor for two ports");
    held[port.tensor] = true;
  }
  for (const auto* ports : {&plan.inputs, &plan.outputs})
    for (const Port& port : *ports) {
      int64_t elements = 1;
      for (int64_t n : port.shape) {
        require(n >= 1 && n < kLargest, "a port of no size");
        elements *= n;
        require(elements < kLargest, "a port that is too large");
      }
      require(elements == plan.tensors[port.tensor].elements, "a port of another size than its tensor");
    }
  for (const Step& step : plan.steps) {
    for (int32_t t : {step.x, step.a, step.b, step.selector})
      require(t < 0 || (static_cast<size_t>(t) < made.size() && made[t]), "a step reads what is not made yet");
    for (int32_t t : step.xs)
      require(t >= 0 && static_cast<size_t>(t) < made.size() && made[t], "a step reads what is not made yet");
    require(step.y >= 0 && static_cast<size_t>(step.y) < made.size() && !made[step.y], "a tensor that is made twice");
    made[step.y] = true;
  }
  for (const Port& port : plan.outputs) require(made[port.tensor], "an output that no step makes");
  for (size_t i = 0; i < plan.tensors.size(); i++) {
    const Tensor& t = plan.tensors[i];
    require(t.elements >= 1 && t.elements < kLargest && t.bytes() < kLargest, "a tensor of no size");
    require(t.element != Element::Byte || (t.zero >= -(1 << 24) && t.zero < 1 << 24), "a zero that is too large");
    require(held[i] == (t.offset < 0), "a tensor that is neither in the arena nor with the caller");
    require(held[i] || (t.offset % 64 == 0 && t.offset + t.bytes() <= plan.arena), "a tensor outside of the arena");
  }
}

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t scratch_of(const Plan& plan, const Step& step) {
  if ((step.kind != Kind::Product && step.kind != Kind::Pool) || !step.window.is_padded()) return 0;
  const int64_t size = plan.tensors[step.x].element == Element::Byte ? 1 : 4;
  return int64_t{step.window.padded[0]} * step.window.padded[1] * step.channels * size;
}

std::vector<int32_t> read_by(const Step& step) {
  std::vector<int32_t> found = step.xs;
  for (int32_t t : {step.x, step.a, step.b, step.selector})
    if (t >= 0) found.push_back(t);
  return found;
}

// Places of the tensors of the late steps: of each the first one where nothing lies that lives at the same time.
void place_late(Plan& plan) {
  struct Life {
    size_t first, last;
    int64_t begin, end;
  };
  std::vector<Life> placed;
  std::vector<size_t> first(plan.tensors.size(), plan.late), last(plan.tensors.size(), 0);
  for (size_t i = plan.late; i < plan.steps.size(); i++) {
    first[plan.steps[i].y] = last[plan.steps[i].y] = i;
    for (int32_t t : read_by(plan.steps[i])) last[t] = i;
  }
  plan.late_offsets.assign(plan.tensors.size(), -1);
  for (size_t t = 0; t < plan.tensors.size(); t++) {
    const Tensor& tensor = plan.tensors[t];
    if (tensor.offset < 0 || last[t] < plan.late) continue;
    Life life{first[t], last[t], 0, aligned(tensor.bytes())};
    for (const Life& other : placed)  // ascending
      if (other.first <= life.last && life.first <= other.last && other.begin < life.end && life.begin < other.end)
        life = {life.first, life.last, other.end, other.end + aligned(tensor.bytes())};
    plan.late_offsets[t] = life.begin;
    plan.late_arena = std::max(plan.late_arena, life.end);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), life,
                                   [](const Life& a, const Life& b) { return a.begin < b.begin; }),
                  life);
  }
}

// How many samples go through which steps together.
void finish_groups(Plan& plan) {
  int64_t largest = 0;
  for (const Tensor& t : plan.tensors)
    if (t.offset >= 0) largest = std::max(largest, t.bytes());
  const int64_t bytes = std::max<int64_t>(plan.arena + plan.scratch, 1);
  plan.group = int32_t(std::clamp<int64_t>(kCache / bytes, 1, kMostTogether));
  if (plan.kernels->rows * largest <= kRowsCache) plan.group = std::max(plan.group, plan.kernels->rows);
  plan.late_group = plan.group;
  plan.late = plan.steps.size();
  if (plan.group == kMostTogether) return;
  while (plan.late > 0) {
    const Step& step = plan.steps[plan.late - 1];
    bool is_small = scratch_of(plan, step) <= kLateBytes && plan.tensors[step.y].bytes() <= kLateBytes;
    for (int32_t t : read_by(step)) is_small &= plan.tensors[t].bytes() <= kLateBytes;
    if (!is_small) break;
    plan.late--;
  }
  if (plan.late == plan.steps.size()) return;
  plan.late_group = kMostTogether;
  for (size_t i = plan.late; i < plan.steps.size(); i++) plan.late_scratch = std::max(plan.late_scratch, scratch_of(plan, plan.steps[i]));
  place_late(plan);
}

}  // namespace

void finish(Plan& plan) {
  require(plan.arena >= 0 && plan.arena < int64_t{1} << 34, "an arena that is too large");
  require(!plan.inputs.empty() && !plan.outputs.empty() && !plan.steps.empty(), "a plan of nothing");
  finish_memory(plan);
  for (Step& step : plan.steps) finish_step(plan, step);
  find_two_levels(plan);
  plan.arena = aligned(plan.arena);
  finish_groups(plan);
  for (Step& step : plan.steps) plan.kernels->prepare(plan, step);
}

}  // namespace anybit
