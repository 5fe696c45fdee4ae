// Weights in the order in which kernels read them, and the loop over tiles of outputs: the same for all vectors.
// Like steps.hpp it is included into each path, compiled for its processor, and nothing of it is shared.
#pragma once
#include <algorithm>
#include <new>

#include "steps.hpp"

namespace anybit {
namespace {

constexpr int32_t kBlock = 16;  // outputs of a block

// Numbers that begin with a cache line: a vector loaded from them touches one line alone.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* numbers, size_t) { ::operator delete(numbers, kLine); }
  bool operator==(const LineAllocator&) const { return true; }
};
template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

// How a product is added up.
enum class Sums {
  Short,  // pairs of products in 16 bits, some steps long, then in 32
  Long,   // pairs in 16 bits, at once in 32
  Wide,   // all in 32: pairs of products may not fit into 16 bits
  Fours,  // four products at once in 32, by instructions that have no sums between
};

// Weights of few bits, a number k of `bits` bits standing for scale * k - shift: [blocks][lines][64], where a line has
// those of 8 / bits steps of 64, each in its own bits of the bytes. Empty where there are none.
struct FewBits {
  Lines<uint8_t> lines;
  int32_t bits = 8, scale = 1, shift = 0;
};

// Weights of a convolution that is run by transformed tiles (winograd.hpp): [blocks][positions][steps][16][4], and with
// what sums begin: [blocks][positions][16], as `shift` was added to transformed levels. Empty where there are none.
struct Filters {
  Lines<int8_t> bytes;
  Lines<int32_t> starts;
  int32_t steps = 0, shift = 0;
};

// Weights of -1 and 1 as bits, 32 terms a word: [blocks][runs][steps][16], and what sums are where no bit differs from
// those of the input: [blocks][16]. Runs and pixels lie so many bytes behind the first word. Empty where there are none.
struct Bits {
  Lines<uint32_t> words;
  Lines<int32_t> starts;
  std::vector<int32_t> runs, pixels;
  int32_t steps = 0, factor = 0;
  uint8_t high = 0;  // the level whose bit is 1
};

// Weights by block of 16 outputs and step of 4 terms: [outputs / 16][runs][steps][16][4], for wide sums twice as long.
// A run is a stretch of bytes of the input that lie side by side.
struct PackedProduct : Packed {
  Sums sums = Sums::Long;
  int32_t flush = 1;  // steps that fit into 16 bits
  int32_t steps = 0;  // of 4 terms, in one run
  int32_t blocks = 0; // of one group
  std::vector<int32_t> runs;
  Lines<int8_t> bytes;
  Lines<int16_t> shorts;
  FewBits few_bits;
  Filters filters;
  Bits bits;
  // Thresholds as `sum > t`, the offset taken off: [blocks of all groups][count][16]; and in 16 bits, if they fit.
  Lines<int32_t> above;
  Lines<int16_t> above_short;
  std::vector<uint8_t> base;
  std::vector<int8_t> step;
  std::vector<int32_t> offset, factor, bias;
  std::vector<float> multiplier;
  // Many thresholds: about how many are reached, by a line, which is never more than one off; and each channel's
  // thresholds, as `sum > t`, with one that every sum reaches before them and one that none reaches behind.
  std::vector<float> slope, start, most;
  std::vector<int32_t> places;  // [columns][count + 2]
  bool is_estimated = false;
  // Levels as whole numbers next to a line: clip(half_even(fl(fl(sum * line_slope) + line_start)), least, highest), where
  // a line was found that gives the level on both sides of every threshold.
  std::vector<float> line_slope, line_start;
  std::vector<uint8_t> least, highest;
  bool is_lined = false;
  // Where no line gives all levels, one that is right unless what is rounded lies further than `sure` from the next whole
  // number: then the estimates decide.
  std::vector<float> sure;
  bool is_nearly_lined = false;
  // Multipliers whose results fit into 32 bits, so that they may be clipped after they are rounded: what is added to
  // factor * sum, and whether a factor is not 1.
  std::vector<int32_t> before;
  bool is_scaled = false, has_factor = false;
  bool is_short = false;  // whether every sum fits into 16 bits
  bool is_halved = false;  // whether thresholds are too many to be compared one by one
};

struct PackedDepthwise : PackedProduct {
  PackedDepthwise() { is_depthwise = true; }
  Lines<int16_t> weights;  // [taps][channels, filled up to a multiple of 32]
  int32_t wide = 0;
};

constexpr int32_t kMostCompared = 24;
constexpr int32_t kFewThresholds = 3;  // that are compared in 16 bits as fast as a line gives the level

// A line y = slope * x + start, and by how much it passes above and below what it must.
struct Line {
  double slope = 0, start = 0, width = 0;
};

// A line that is at least k + 1/2 at above[k] + 1 and at most that at above[k]: the widest of some. For a slope, the
// starts that do are an interval; its width is a concave function of the slope, made of straight pieces, whose top is
// looked for where the pieces at both ends of what is left meet.
inline Line line_between(const int32_t* above, int32_t count) {
  struct End {
    double slope, width, rise, start;
  };
  const auto at = [&](double slope) {
    double low = -1e300, high = 1e300, low_place = 0, high_place = 0;
    for (int32_t k = 0; k < count; k++) {
      const double place = above[k], corner = k + 0.5;
      if (corner - slope * (place + 1) > low) low = corner - slope * (place + 1), low_place = place + 1;
      if (corner - slope * place < high) high = corner - slope * place, high_place = place;
    }
    return End{slope, high - low, low_place - high_place, (low + high) / 2};
  };
  End left = at(0), right = at(count + 1.0), best = left.width > right.width ? left : right;
  for (int i = 0; i < 50 && left.rise > 0 && right.rise < 0; i++) {
    const double slope = (right.width - right.rise * right.slope - left.width + left.rise * left.slope) / (left.rise - right.rise);
    if (!(slope > left.slope && slope < right.slope)) break;
    const End middle = at(slope);
    if (middle.width > best.width) best = middle;
    if (left.width + left.rise * (slope - left.slope) - middle.width < 1e-9) break;  // the top
    (middle.rise > 0 ? left : right) = middle;
  }
  return {best.slope, best.start, best.width};
}

// The level by the line: the operations of the kernels, each rounded alone.
inline int32_t lined_level(const PackedProduct& p, size_t column, int32_t sum) {
  const float v = std::nearbyint(static_cast<float>(sum) * p.line_slope[column] + p.line_start[column]);
  return static_cast<int32_t>(std::clamp(v, static_cast<float>(p.least[column]), static_cast<float>(p.highest[column])));
}

// A line through the thresholds of a channel, that leaves as much room as there is; false where there is none at all.
inline bool lay_line(PackedProduct& p, size_t column, const int32_t* above, int32_t reachable, int32_t base, int32_t step,
                     int64_t largest_sum) {
  const int32_t last = base + step * reachable;
  if (last < 0 || last > 255) return false;
  p.least[column] = static_cast<uint8_t>(std::min(base, last));
  p.highest[column] = static_cast<uint8_t>(std::max(base, last));
  const Line line = reachable > 0 ? line_between(above, reachable) : Line{};
  p.line_slope[column] = static_cast<float>(step * line.slope);
  p.line_start[column] = static_cast<float>(base + step * line.start);
  // What is rounded must fit into 32 bits.
  return line.slope * static_cast<double>(largest_sum) + std::abs(line.start) < 1 << 30;
}

inline int32_t reachable_of(const int32_t* above, int32_t count) {
  int32_t reachable = 0;
  while (reachable < count && above[reachable] != INT32_MAX) reachable++;
  return reachable;
}

// Whether the line of a channel gives every level: as it never turns, both sides of each threshold decide.
inline bool line_column(PackedProduct& p, size_t column, const int32_t* above, int32_t count, int32_t base, int32_t step,
                        int64_t largest_sum) {
  const int32_t reachable = reachable_of(above, count);
  if (!lay_line(p, column, above, reachable, base, step, largest_sum)) return false;
  for (int32_t k = 0; k < reachable; k++) {
    int32_t least = k, reached = k + 1;
    while (least > 0 && above[least - 1] == above[k]) least--;
    while (reached < reachable && above[reached] == above[k]) reached++;
    if (lined_level(p, column, above[k]) != base + step * least) return false;
    if (lined_level(p, column, above[k] + 1) != base + step * reached) return false;
  }
  return true;
}

// How far what is rounded may lie from a whole number for the line of a channel to be right; false where that is too
// little. A sum below a threshold is taken for one behind it only if the line passes the middle of the two levels there.
// As the line never turns, it does so by no more than at the sum next to the threshold, `off` at most over all thresholds
// and both sides: what is rounded then lies 0.5 - off or more from the level that it is rounded to.
inline bool nearly_line_column(PackedProduct& p, size_t column, const int32_t* above, int32_t count, int32_t base,
                               int32_t step, int64_t largest_sum) {
  constexpr float kMost = 0.05f;
  const int32_t reachable = reachable_of(above, count);
  if (!lay_line(p, column, above, reachable, base, step, largest_sum)) return false;
  const float slope = p.line_slope[column], start = p.line_start[column];
  float off = 0;
  for (int32_t k = 0; k < reachable; k++) {
    const float middle = static_cast<float>(base) + static_cast<float>(step) * (static_cast<float>(k) + 0.5f);
    const float below = static_cast<float>(above[k]) * slope + start, behind = static_cast<float>(above[k] + 1) * slope + start;
    off = std::max({off, static_cast<float>(step) * (below - middle), static_cast<float>(step) * (middle - behind)});
  }
  p.sure[column] = 0.5f - 1.001f * off - 1e-6f;
  return off < kMost;
}

// About how many thresholds a sum reaches. Kernels do the same operations: each is rounded alone.
inline int32_t estimate(const PackedProduct& p, size_t column, int32_t sum) {
  const float line = static_cast<float>(sum) * p.slope[column] + p.start[column];
  const float most = p.most[column];
  return static_cast<int32_t>(std::nearbyint(line > most ? most : line > 0 ? line : 0.0f));
}

// A line through the thresholds of a channel, and whether it is nowhere more than one off: as it never falls, it is
// enough to look at both sides of each threshold.
inline bool estimate_column(PackedProduct& p, size_t column, int32_t count) {
  const int32_t* above = p.places.data() + column * (count + 2) + 1;
  int32_t reachable = 0;
  while (reachable < count && above[reachable] != INT32_MAX) reachable++;
  p.most[column] = static_cast<float>(reachable);
  if (reachable == 0) return true;
  const double length = static_cast<double>(above[reachable - 1]) - above[0];
  const double slope = length > 0 ? (reachable - 1) / length : 0;
  p.slope[column] = static_cast<float>(slope);
  p.start[column] = static_cast<float>(0.5 - (above[0] + 1.0) * slope);
  for (int32_t k = 0; k < reachable; k++) {
    const int32_t before = above[k], behind = before + 1;  // before is not INT32_MAX
    int32_t least = k, reached = k + 1;
    while (least > 0 && above[least - 1] == before) least--;
    while (reached < reachable && above[reached] == before) reached++;
    if (std::abs(estimate(p, column, before) - least) > 1 || std::abs(estimate(p, column, behind) - reached) > 1) return false;
  }
  return true;
}

// Where an output stands among the columns of all blocks.
inline size_t column_of(const PackedProduct& p, int32_t output, int32_t each) {
  return (size_t(output / each) * p.blocks + output % each / kBlock) * kBlock + output % each % kBlock;
}

// A threshold as `sum > t`, the offset taken off the sum.
inline int32_t above_of(const Step& step, int32_t output, int32_t k) {
  const int32_t value = step.epilogue.values[size_t(output) * step.epilogue.count + k];
  if (value == INT32_MAX) return INT32_MAX;
  return int32_t(std::clamp<int64_t>(int64_t{value} - 1 - step.offset[output], INT32_MIN, INT32_MAX - 1));
}

inline void prepare_estimates(const Step& step, PackedProduct& p, int32_t each) {
  const Epilogue& e = step.epilogue;
  const size_t columns = p.offset.size();
  p.slope.assign(columns, 0.0f);
  p.start.assign(columns, 0.0f);
  p.most.assign(columns, 0.0f);
  p.places.assign(columns * (e.count + 2), INT32_MAX);
  p.is_estimated = columns * (e.count + 2) < size_t{1} << 30;
  for (int32_t o = 0; o < step.outputs && p.is_estimated; o++) {
    const size_t at = column_of(p, o, each);
    int32_t* places = p.places.data() + at * (e.count + 2);
    places[0] = INT32_MIN;
    for (int32_t k = 0; k < e.count; k++) places[k + 1] = above_of(step, o, k);
    p.base[at] = uint8_t(e.base[o]);
    p.step[at] = int8_t(e.step[o]);
    p.is_estimated = estimate_column(p, at, e.count);
  }
}

inline void prepare_lines(const Step& step, PackedProduct& p, int32_t each, size_t columns, int64_t largest_sum) {
  const Epilogue& e = step.epilogue;
  for (auto* numbers : {&p.line_slope, &p.line_start}) numbers->assign(columns, 0.0f);
  for (auto* levels : {&p.least, &p.highest}) levels->assign(columns, 0);
  p.is_lined = true;
  std::vector<int32_t> above(e.count);
  for (int32_t o = 0; o < step.outputs && p.is_lined; o++) {
    for (int32_t k = 0; k < e.count; k++) above[k] = above_of(step, o, k);
    p.is_lined = line_column(p, column_of(p, o, each), above.data(), e.count, e.base[o], e.step[o], largest_sum);
  }
}

// Lines that are right almost everywhere; behind prepare_estimates.
inline void prepare_near_lines(const Step& step, PackedProduct& p, int32_t each, size_t columns, int64_t largest_sum) {
  const Epilogue& e = step.epilogue;
  p.sure.assign(columns, 1.0f);
  p.is_nearly_lined = p.is_estimated;
  for (int32_t o = 0; o < step.outputs && p.is_nearly_lined; o++) {
    const size_t at = column_of(p, o, each);
    const int32_t* above = p.places.data() + at * (e.count + 2) + 1;
    p.is_nearly_lined = nearly_line_column(p, at, above, e.count, e.base[o], e.step[o], largest_sum);
  }
}

inline void prepare_epilogue(const Step& step, PackedProduct& p, int32_t each, int32_t groups, int64_t largest_sum) {
  const Epilogue& e = step.epilogue;
  const size_t columns = size_t(p.blocks) * groups * kBlock;
  p.offset.assign(columns, 0);
  p.base.assign(columns, 0);
  p.step.assign(columns, 1);
  p.factor.assign(columns, 1);
  p.bias.assign(columns, 0);
  p.multiplier.assign(columns, 0.0f);
  p.is_halved = e.kind == EpilogueKind::Thresholds && e.count > kMostCompared;
  const bool compared = e.kind == EpilogueKind::Thresholds && !p.is_halved;
  if (compared) p.above.assign(columns * e.count, INT32_MAX);
  for (int32_t o = 0; o < step.outputs; o++) {
    const size_t at = column_of(p, o, each);
    p.offset[at] = step.offset[o];
    if (compared) {
      p.base[at] = uint8_t(e.base[o]);
      p.step[at] = int8_t(e.step[o]);
      for (int32_t k = 0; k < e.count; k++)
        p.above[(at / kBlock * e.count + k) * kBlock + at % kBlock] = above_of(step, o, k);
    } else if (e.kind == EpilogueKind::Multiplier) {
      p.factor[at] = e.factor[o];
      p.bias[at] = e.bias[o];
      p.multiplier[at] = e.multiplier[o];
    }
  }
  p.is_scaled = e.kind == EpilogueKind::Multiplier && std::abs(e.zero) <= 255;
  if (p.is_scaled) {
    for (size_t at = 0; at < columns; at++) {
      p.before.push_back(int32_t(uint32_t(p.factor[at]) * uint32_t(p.offset[at]) + uint32_t(p.bias[at])));
      p.is_scaled &= p.multiplier[at] < 0.5f;
      p.has_factor |= p.factor[at] != 1;
    }
  }
  if (e.kind == EpilogueKind::Thresholds) prepare_lines(step, p, each, columns, largest_sum);
  if (p.is_halved && !p.is_lined) {
    prepare_estimates(step, p, each);
    prepare_near_lines(step, p, each, columns, largest_sum);
  }
  p.above_short.clear();
  if (compared && p.is_short)
    for (int32_t t : p.above) p.above_short.push_back(int16_t(std::clamp(t, -32768, 32767)));
}

// The weights of runs of `length` bytes.
inline void lay_bytes(const Step& step, PackedProduct& p, int32_t length) {
  const int32_t each = step.outputs / step.group;
  const size_t terms = step.taps.size() * step.inputs;
  const size_t size = size_t(p.blocks) * step.group * p.runs.size() * p.steps * kBlock * 4;
  if (p.sums == Sums::Wide)
    p.shorts.assign(size, 0);
  else
    p.bytes.assign(size, 0);
  for (int32_t o = 0; o < step.outputs; o++) {
    const int32_t group = o / each, block = o % each / kBlock, column = o % each % kBlock;
    for (size_t run = 0; run < p.runs.size(); run++) {
      const int8_t* from = step.weights.data() + o * terms + run * length;
      const size_t at = ((size_t(group) * p.blocks + block) * p.runs.size() + run) * p.steps * kBlock * 4;
      if (p.sums == Sums::Wide) {  // [step][pair of terms][16][2]
        for (int32_t k = 0; k < length; k++)
          p.shorts[at + k / 2 * kBlock * 2 + column * 2 + k % 2] = from[k];
        continue;
      }
      int8_t* to = p.bytes.data() + at + column * 4;
      int32_t k = 0;
      for (; k + 4 <= length; k += 4, to += kBlock * 4) std::memcpy(to, from + k, 4);
      std::memcpy(to, from + k, size_t(length - k));
    }
  }
}

// Lays the weights of a step; `fours` says whether the processor adds four products of bytes without a sum between, and
// `in_bytes` whether they are laid at all: some are run in another form.
inline void prepare_product(const Plan& plan, Step& step, bool fours, bool in_bytes = true) {
  const Tensor& x = plan.tensors[step.x];
  if (x.element != Element::Byte) return;
  const int32_t each = step.outputs / step.group, taps = int32_t(step.taps.size());
  const int32_t highest = 255;
  if (step.inputs == 1 && each == 1 && step.group > 1) {
    int64_t most = 0;
    for (int32_t o = 0; o < step.outputs; o++) {
      most = std::max(most, magnitude_of(step.weights.data() + size_t(o) * taps, size_t(taps)) * std::max(x.hi, 0));
    }
    if (most > 32767) return;
    auto packed = std::make_unique<PackedDepthwise>();
    packed->wide = (step.outputs + 2 * kBlock - 1) / (2 * kBlock) * 2 * kBlock;
    packed->weights.assign(size_t(packed->wide) * taps, 0);
    for (int32_t o = 0; o < step.outputs; o++)
      for (int32_t t = 0; t < taps; t++) packed->weights[size_t(t) * packed->wide + o] = step.weights[size_t(o) * taps + t];
    packed->blocks = packed->wide / kBlock;
    packed->is_short = true;
    prepare_epilogue(step, *packed, step.outputs, 1, most);
    step.packed = std::move(packed);
    return;
  }
  auto packed = std::make_unique<PackedProduct>();
  PackedProduct& p = *packed;
  const Window& w = step.window;
  // Bytes of neighbouring taps lie side by side where nothing is left out between them.
  const bool joined = step.group == 1 && w.dilations[1] == 1;
  const int32_t length = joined ? step.inputs * w.kernel[1] : step.inputs;
  for (int32_t t = 0; t < taps; t += joined ? w.kernel[1] : 1) p.runs.push_back(step.taps[t]);
  p.steps = (length + 3) / 4;
  p.blocks = (each + kBlock - 1) / kBlock;
  // What two products next to each other, and the sums of a whole output, can come to. The bytes of a sound plan keep
  // to the bounds of their tensor; what an unsound one makes wraps around, and harms nothing but its results.
  const int64_t hi = std::clamp(x.hi, 0, highest);
  int64_t pair = 0, whole = 0;
  const size_t terms = size_t(taps) * step.inputs;
  for (int32_t o = 0; o < step.outputs; o++) {
    const int8_t* from = step.weights.data() + o * terms;
    whole = std::max(whole, hi * magnitude_of(from, terms));
    for (size_t run = 0; run < p.runs.size() && !fours; run++)
      for (int32_t k = 0; k < length; k += 2) {
        const int8_t* two = from + run * length + k;
        const int64_t both = std::abs(int32_t{two[0]}) + (k + 1 < length ? std::abs(int32_t{two[1]}) : 0);
        pair = std::max(pair, both * hi);
      }
  }
  p.is_short = whole <= 32767;
  const int64_t room = pair > 0 ? std::min<int64_t>(32767 / pair, 1 << 20) : 1 << 20;  // pairs that 16 bits hold
  p.sums = fours ? Sums::Fours : room >= 4 ? Sums::Short : room >= 1 ? Sums::Long : Sums::Wide;
  p.flush = int32_t(std::max<int64_t>(room, 1));
  if (in_bytes) lay_bytes(step, p, length);
  prepare_epilogue(step, p, each, step.group, whole);
  step.packed = std::move(packed);
}

// What a product with these weights takes: `P` has the sums of a tile, and what becomes of those of one pixel.
//   kRows, kWide       pixels and blocks of a tile
//   kWideOne           blocks of a tile of one pixel
//   Sums               16 sums of one pixel
//   tile<N, M>(p, rows, block, sums)   sums[i * M + j]: pixel i, block + j
//   finish(p, step, sums, block, to, first, count, y)
//   finish_tile<N, M>(p, step, sums, block, to, first, count, y), if it has it: all of them at once
template <class P, int N, int M>
inline void run_tile(const PackedProduct& p, const Step& step, const uint8_t* const* rows, int32_t group, int32_t b,
                     int64_t row, uint8_t* y) {
  typename P::Sums sums[N * M];
  const size_t block = size_t(group) * p.blocks + b;
  P::template tile<N, M>(p, rows, block, sums);
  const int32_t each = step.outputs / step.group;
  if constexpr (requires { &P::template finish_tile<N, M>; }) {
    const int32_t first = group * each + b * kBlock;
    P::template finish_tile<N, M>(p, step, sums, block, row * step.outputs + first, first, each - b * kBlock, y);
    return;
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < M; j++) {
      const int32_t first = group * each + (b + j) * kBlock, count = std::min(kBlock, each - (b + j) * kBlock);
      P::finish(p, step, sums[i * M + j], block + j, (row + i) * step.outputs + first, first, count, y);
    }
}

// All pixels of all samples, `places` bytes behind the first of each, `M` blocks from block `b` of a group on.
template <class P, int M>
inline void run_rows(const Step& step, const PackedProduct& p, const uint8_t* from, int64_t sample, int32_t count,
                     const std::vector<int32_t>& places, int32_t group, int32_t b, uint8_t* y) {
  const int64_t pixels = static_cast<int64_t>(places.size()), rows = pixels * count;
  int64_t row = 0, n = 0, pixel = 0;
  while (row < rows) {
    const uint8_t* at[P::kRows];
    const int32_t taken = int32_t(std::min<int64_t>(P::kRows, rows - row));
    for (int32_t i = 0; i < taken; i++) {
      at[i] = from + n * sample + places.data()[pixel];
      if (++pixel == pixels) pixel = 0, n++;
    }
    if (taken == P::kRows) {
      run_tile<P, P::kRows, M>(p, step, at, group, b, row, y);
    } else {
      int32_t i = 0;
      if constexpr (P::kRows > 4)
        for (; i + 4 <= taken; i += 4) run_tile<P, 4, M>(p, step, at + i, group, b, row + i, y);
      for (; i < taken; i++) run_tile<P, 1, M>(p, step, at + i, group, b, row + i, y);
    }
    row += taken;
  }
}

// All outputs of one group of all pixels.
template <class P>
inline void run_blocks_of_rows(const Step& step, const PackedProduct& p, const uint8_t* x, int64_t sample, int32_t count,
                               const std::vector<int32_t>& places, int32_t group, uint8_t* y) {
  const bool one = static_cast<int64_t>(places.size()) * count == 1;
  int32_t b = 0;
  if constexpr (P::kWideOne > P::kWide)
    for (; one && b + P::kWideOne <= p.blocks; b += P::kWideOne) {
      const uint8_t* at = x + places.data()[0];
      run_tile<P, 1, P::kWideOne>(p, step, &at, group, b, 0, y);
    }
  for (; b + P::kWide <= p.blocks; b += P::kWide) run_rows<P, P::kWide>(step, p, x, sample, count, places, group, b, y);
  for (; b < p.blocks; b++) run_rows<P, 1>(step, p, x, sample, count, places, group, b, y);
}

template <class P>
inline void run_blocks(const Plan& plan, const Step& step, const PackedProduct& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t fill = static_cast<uint8_t>(plan.tensors[step.x].zero);
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], fill, &sample);
  for (int32_t g = 0; g < step.group; g++)
    run_blocks_of_rows<P>(step, p, x + int64_t{g} * step.inputs, sample, m.count, step.pixels, g, m.tensors[step.y]);
}

}  // namespace
}  // namespace anybit
