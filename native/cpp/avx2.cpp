// The path of processors with AVX2. Products of 16 outputs at a time: of 4 pixels each, or of one.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "plan.hpp"

// For what is defined here alone: a template of the library that was made for this processor could be the one that the
// linker keeps for all paths.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#include "steps.hpp"

namespace anybit {
namespace {

constexpr int32_t kBlock = 16;  // outputs of a block
constexpr int32_t kRows = 4;    // pixels of a tile

// How a product is added up.
enum class Sums {
  Short,  // pairs of products in 16 bits, some steps long, then in 32
  Long,   // pairs in 16 bits, at once in 32
  Wide,   // all in 32: pairs of products may not fit into 16 bits
};

// Weights by block of 16 outputs and step of 4 terms: [outputs / 16][runs][steps][16][4], for wide sums twice as long.
// A run is a stretch of bytes of the input that lie side by side.
struct PackedProduct : Packed {
  Sums sums = Sums::Long;
  int32_t flush = 1;  // steps that fit into 16 bits
  int32_t steps = 0;  // of 4 terms, in one run
  int32_t blocks = 0; // of one group
  std::vector<int32_t> runs;
  std::vector<int8_t> bytes;
  std::vector<int16_t> shorts;
  // Thresholds as `sum > t`, the offset taken off: [blocks of all groups][count][16]; and in 16 bits, if they fit.
  std::vector<int32_t> above;
  std::vector<int16_t> above_short;
  std::vector<uint8_t> base;
  std::vector<int8_t> step;
  std::vector<int32_t> offset, factor, bias;
  std::vector<float> multiplier;
  bool is_short = false;  // whether every sum fits into 16 bits
  bool is_halved = false;  // whether thresholds are too many to be compared one by one
};

struct PackedDepthwise : PackedProduct {
  PackedDepthwise() { is_depthwise = true; }
  std::vector<int16_t> weights;  // [taps][channels, filled up to a multiple of 16]
  int32_t wide = 0;
};

constexpr int32_t kMostCompared = 24;

void prepare_epilogue(const Step& step, PackedProduct& p, int32_t each, int32_t groups) {
  const Epilogue& e = step.epilogue;
  const size_t columns = size_t(p.blocks) * groups * kBlock;
  p.offset.assign(columns, 0);
  p.base.assign(columns, 0);
  p.step.assign(columns, 1);
  p.factor.assign(columns, 1);
  p.bias.assign(columns, 0);
  p.multiplier.assign(columns, 1.0f);
  p.is_halved = e.kind == EpilogueKind::Thresholds && e.count > kMostCompared;
  const bool compared = e.kind == EpilogueKind::Thresholds && !p.is_halved;
  if (compared) p.above.assign(columns * e.count, INT32_MAX);
  for (int32_t o = 0; o < step.outputs; o++) {
    const int32_t group = o / each, block = o % each / kBlock;
    const size_t at = (size_t(group) * p.blocks + block) * kBlock + o % each % kBlock;
    p.offset[at] = step.offset[o];
    if (compared) {
      p.base[at] = uint8_t(e.base[o]);
      p.step[at] = int8_t(e.step[o]);
      for (int32_t k = 0; k < e.count; k++) {
        const int64_t above = int64_t{e.values[size_t(o) * e.count + k]} - 1 - step.offset[o];
        p.above[(at / kBlock * e.count + k) * kBlock + at % kBlock] =
            int32_t(std::clamp<int64_t>(above, INT32_MIN, INT32_MAX));
      }
    } else if (e.kind == EpilogueKind::Multiplier) {
      p.factor[at] = e.factor[o];
      p.bias[at] = e.bias[o];
      p.multiplier[at] = e.multiplier[o];
    }
  }
  p.above_short.clear();
  if (compared && p.is_short)
    for (int32_t t : p.above) p.above_short.push_back(int16_t(std::clamp(t, -32768, 32767)));
}

void prepare_product(const Plan& plan, Step& step) {
  const Tensor& x = plan.tensors[step.x];
  if (x.element != Element::Byte) return;
  const int32_t each = step.outputs / step.group, taps = int32_t(step.taps.size());
  const int32_t highest = 255;
  if (step.inputs == 1 && each == 1 && step.group > 1) {
    int64_t most = 0;
    for (int32_t o = 0; o < step.outputs; o++) {
      int64_t magnitude = 0;
      for (int32_t t = 0; t < taps; t++) magnitude += std::abs(int32_t{step.weights[size_t(o) * taps + t]});
      most = std::max(most, magnitude * std::max(x.hi, 0));
    }
    if (most > 32767) return;
    auto packed = std::make_unique<PackedDepthwise>();
    packed->wide = (step.outputs + kBlock - 1) / kBlock * kBlock;
    packed->weights.assign(size_t(packed->wide) * taps, 0);
    for (int32_t o = 0; o < step.outputs; o++)
      for (int32_t t = 0; t < taps; t++) packed->weights[size_t(t) * packed->wide + o] = step.weights[size_t(o) * taps + t];
    packed->blocks = packed->wide / kBlock;
    packed->is_short = true;
    prepare_epilogue(step, *packed, step.outputs, 1);
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
    int64_t magnitude = 0;
    for (size_t run = 0; run < p.runs.size(); run++)
      for (int32_t k = 0; k < length; k += 2) {
        const int8_t* two = from + run * length + k;
        const int64_t both = std::abs(int32_t{two[0]}) + (k + 1 < length ? std::abs(int32_t{two[1]}) : 0);
        pair = std::max(pair, both * hi);
        magnitude += both * hi;
      }
    whole = std::max(whole, magnitude);
  }
  p.is_short = whole <= 32767;
  p.sums = pair > 32767 ? Sums::Wide : Sums::Long;
  if (p.sums == Sums::Long && pair > 0 && 32767 / pair >= 4) {
    p.sums = Sums::Short;
    p.flush = int32_t(std::min<int64_t>(32767 / pair, 1 << 20));
  } else if (pair == 0) {
    p.sums = Sums::Short;
    p.flush = 1 << 20;
  }
  const size_t size = size_t(p.blocks) * step.group * p.runs.size() * p.steps * kBlock * 4;
  if (p.sums == Sums::Wide)
    p.shorts.assign(size, 0);
  else
    p.bytes.assign(size, 0);
  for (int32_t o = 0; o < step.outputs; o++) {
    const int32_t group = o / each, block = o % each / kBlock, column = o % each % kBlock;
    for (size_t run = 0; run < p.runs.size(); run++)
      for (int32_t k = 0; k < length; k++) {
        const int8_t value = step.weights[o * terms + run * length + k];
        const size_t at = ((size_t(group) * p.blocks + block) * p.runs.size() + run) * p.steps + k / 4;
        if (p.sums == Sums::Wide)  // [step][pair of terms][16][2]
          p.shorts[at * kBlock * 4 + k % 4 / 2 * kBlock * 2 + column * 2 + k % 2] = value;
        else
          p.bytes[at * kBlock * 4 + column * 4 + k % 4] = value;
      }
  }
  prepare_epilogue(step, p, each, step.group);
  step.packed = std::move(packed);
}

void prepare(const Plan& plan, Step& step) {
  if (step.kind == Kind::Product) prepare_product(plan, step);
}

inline __m256i broadcast(const uint8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}

// The sums of `N` pixels and 16 outputs.
template <int N>
inline void tile_short(const PackedProduct& p, const uint8_t* const* rows, const int8_t* w, __m256i (*sums)[2]) {
  const __m256i one = _mm256_set1_epi16(1), zero = _mm256_setzero_si256();
  __m256i shorts[N][2];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i][j] = shorts[i][j] = zero;
  int32_t room = p.flush;
  for (int32_t run : p.runs) {
    int32_t done = 0;
    while (done < p.steps) {
      const int32_t upto = done + std::min(room, p.steps - done);
      room -= upto - done;
      for (; done < upto; done++) {
        const __m256i w0 = _mm256_loadu_si256((const __m256i*)w), w1 = _mm256_loadu_si256((const __m256i*)(w + 32));
        w += 64;
#pragma GCC unroll 4
        for (int i = 0; i < N; i++) {
          const __m256i x = broadcast(rows[i] + run + 4 * done);
          shorts[i][0] = _mm256_add_epi16(shorts[i][0], _mm256_maddubs_epi16(x, w0));
          shorts[i][1] = _mm256_add_epi16(shorts[i][1], _mm256_maddubs_epi16(x, w1));
        }
      }
      if (room > 0) continue;
      room = p.flush;
      for (int i = 0; i < N; i++)
        for (int j = 0; j < 2; j++) {
          sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(shorts[i][j], one));
          shorts[i][j] = zero;
        }
    }
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(shorts[i][j], one));
}

template <int N>
inline void tile_long(const PackedProduct& p, const uint8_t* const* rows, const int8_t* w, __m256i (*sums)[2]) {
  const __m256i one = _mm256_set1_epi16(1);
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i][j] = _mm256_setzero_si256();
  for (int32_t run : p.runs)
    for (int32_t q = 0; q < p.steps; q++) {
      const __m256i w0 = _mm256_loadu_si256((const __m256i*)w), w1 = _mm256_loadu_si256((const __m256i*)(w + 32));
      w += 64;
#pragma GCC unroll 4
      for (int i = 0; i < N; i++) {
        const __m256i x = broadcast(rows[i] + run + 4 * q);
        sums[i][0] = _mm256_add_epi32(sums[i][0], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w0), one));
        sums[i][1] = _mm256_add_epi32(sums[i][1], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w1), one));
      }
    }
}

template <int N>
inline void tile_wide(const PackedProduct& p, const uint8_t* const* rows, const int16_t* w, __m256i (*sums)[2]) {
  const __m256i first = _mm256_set1_epi32(int32_t(0x80018000u)), second = _mm256_set1_epi32(int32_t(0x80038002u));
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i][j] = _mm256_setzero_si256();
  for (int32_t run : p.runs)
    for (int32_t q = 0; q < p.steps; q++) {
      __m256i v[4];
      for (int j = 0; j < 4; j++) v[j] = _mm256_loadu_si256((const __m256i*)(w + 16 * j));
      w += 64;
#pragma GCC unroll 4
      for (int i = 0; i < N; i++) {
        const __m256i x = broadcast(rows[i] + run + 4 * q);
        const __m256i a = _mm256_shuffle_epi8(x, first), b = _mm256_shuffle_epi8(x, second);
        sums[i][0] = _mm256_add_epi32(sums[i][0], _mm256_add_epi32(_mm256_madd_epi16(a, v[0]), _mm256_madd_epi16(b, v[2])));
        sums[i][1] = _mm256_add_epi32(sums[i][1], _mm256_add_epi32(_mm256_madd_epi16(a, v[1]), _mm256_madd_epi16(b, v[3])));
      }
    }
}

template <int N>
inline void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, __m256i (*sums)[2]) {
  const size_t size = p.runs.size() * p.steps * kBlock * 4;
  switch (p.sums) {
    case Sums::Short: tile_short<N>(p, rows, p.bytes.data() + block * size, sums); break;
    case Sums::Long: tile_long<N>(p, rows, p.bytes.data() + block * size, sums); break;
    case Sums::Wide: tile_wide<N>(p, rows, p.shorts.data() + block * size, sums); break;
  }
}

inline void store_bytes(uint8_t* to, __m128i bytes, int32_t count) {
  if (count >= kBlock) {
    _mm_storeu_si128((__m128i*)to, bytes);
    return;
  }
  alignas(16) uint8_t kept[kBlock];
  _mm_store_si128((__m128i*)kept, bytes);
  std::memcpy(to, kept, size_t(count));
}

// 16 sums in 16 bits, in order.
inline __m256i shortened(const __m256i* sums) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[0], sums[1]), 0xd8);
}

inline __m128i bytes_of(__m256i shorts) {
  return _mm_packus_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1));
}

inline __m128i counted(const PackedProduct& p, size_t block, __m128i reached) {
  const __m128i base = _mm_loadu_si128((const __m128i*)(p.base.data() + block * kBlock));
  const __m128i step = _mm_loadu_si128((const __m128i*)(p.step.data() + block * kBlock));
  return _mm_add_epi8(base, _mm_sign_epi8(reached, step));
}

inline __m128i compared(const PackedProduct& p, const Epilogue& e, size_t block, const __m256i* sums) {
  if (p.is_short) {
    const int16_t* t = p.above_short.data() + block * e.count * kBlock;
    const __m256i sum = shortened(sums);
    __m256i reached = _mm256_setzero_si256();
    for (int32_t k = 0; k < e.count; k++)
      reached = _mm256_sub_epi16(reached, _mm256_cmpgt_epi16(sum, _mm256_loadu_si256((const __m256i*)(t + k * kBlock))));
    return counted(p, block, bytes_of(reached));
  }
  const int32_t* t = p.above.data() + block * e.count * kBlock;
  __m256i reached[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (int32_t k = 0; k < e.count; k++)
    for (int j = 0; j < 2; j++)
      reached[j] = _mm256_sub_epi32(
          reached[j], _mm256_cmpgt_epi32(sums[j], _mm256_loadu_si256((const __m256i*)(t + k * kBlock + 8 * j))));
  return counted(p, block, bytes_of(shortened(reached)));
}

inline __m128i multiplied(const PackedProduct& p, const Epilogue& e, size_t block, const __m256i* sums) {
  const __m256 lo = _mm256_set1_ps(float(e.lo - e.zero)), hi = _mm256_set1_ps(float(e.hi - e.zero));
  __m256i levels[2];
  for (int j = 0; j < 2; j++) {
    const size_t at = block * kBlock + 8 * j;
    const __m256i sum = _mm256_add_epi32(sums[j], _mm256_loadu_si256((const __m256i*)(p.offset.data() + at)));
    const __m256i factor = _mm256_loadu_si256((const __m256i*)(p.factor.data() + at));
    const __m256i bias = _mm256_loadu_si256((const __m256i*)(p.bias.data() + at));
    const __m256i total = _mm256_add_epi32(_mm256_mullo_epi32(sum, factor), bias);
    const __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_loadu_ps(p.multiplier.data() + at));
    const __m256i level = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v, lo), hi));
    levels[j] = _mm256_add_epi32(level, _mm256_set1_epi32(e.zero));
  }
  return bytes_of(shortened(levels));
}

// What becomes of 16 sums of one pixel.
inline void finish_sums(const PackedProduct& p, const Step& step, const __m256i* sums, size_t block, int64_t to,
                        int32_t first, int32_t count, uint8_t* y) {
  const Epilogue& e = step.epilogue;
  if (e.kind == EpilogueKind::Thresholds && !p.is_halved) {
    store_bytes(y + to, compared(p, e, block, sums), count);
    return;
  }
  if (e.kind == EpilogueKind::Multiplier) {
    store_bytes(y + to, multiplied(p, e, block, sums), count);
    return;
  }
  alignas(32) int32_t kept[kBlock];
  for (int j = 0; j < 2; j++) {
    const __m256i offset = _mm256_loadu_si256((const __m256i*)(p.offset.data() + block * kBlock + 8 * j));
    _mm256_store_si256((__m256i*)(kept + 8 * j), _mm256_add_epi32(sums[j], offset));
  }
  if (e.kind == EpilogueKind::None)
    std::memcpy(reinterpret_cast<int32_t*>(y) + to, kept, size_t(count) * 4);
  else
    for (int32_t c = 0; c < count; c++) y[to + c] = level(e, kept[c], first + c, first + c);
}

template <int N>
inline void run_tile(const PackedProduct& p, const Step& step, const uint8_t* const* rows, size_t block, int64_t row,
                     int32_t first, int32_t count, uint8_t* y) {
  __m256i sums[N][2];
  tile<N>(p, rows, block, sums);
  for (int i = 0; i < N; i++)
    finish_sums(p, step, sums[i], block, (row + i) * step.outputs + first, first, count, y);
}

void run_blocks(const Plan& plan, const Step& step, const PackedProduct& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t fill = uint8_t(plan.tensors[step.x].zero);
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], fill, &sample);
  uint8_t* y = m.tensors[step.y];
  const int32_t each = step.outputs / step.group;
  const int64_t pixels = int64_t(step.pixels.size()), rows = pixels * m.count;
  for (int32_t g = 0; g < step.group; g++)
    for (int32_t b = 0; b < p.blocks; b++) {
      const size_t block = size_t(g) * p.blocks + b;
      const int32_t first = g * each + b * kBlock, count = std::min(kBlock, each - b * kBlock);
      const uint8_t* from = x + int64_t{g} * step.inputs;
      int64_t row = 0, n = 0, pixel = 0;
      while (row < rows) {
        const uint8_t* at[kRows];
        const int32_t taken = int32_t(std::min<int64_t>(kRows, rows - row));
        for (int32_t i = 0; i < taken; i++) {
          at[i] = from + n * sample + step.pixels.data()[pixel];
          if (++pixel == pixels) pixel = 0, n++;
        }
        if (taken == kRows)
          run_tile<kRows>(p, step, at, block, row, first, count, y);
        else
          for (int32_t i = 0; i < taken; i++) run_tile<1>(p, step, at + i, block, row + i, first, count, y);
        row += taken;
      }
    }
}

void run_depthwise(const Plan& plan, const Step& step, const PackedDepthwise& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t fill = uint8_t(plan.tensors[step.x].zero);
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], fill, &sample);
  const int64_t pixels = int64_t(step.pixels.size());
  const size_t taps = step.taps.size();
  for (int32_t n = 0; n < m.count; n++)
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
      const uint8_t* at = x + n * sample + step.pixels.data()[pixel];
      const int64_t to = (n * pixels + pixel) * step.outputs;
      for (int32_t c = 0; c < step.outputs; c += kBlock) {
        const int32_t count = std::min(kBlock, step.outputs - c);
        __m256i sum = _mm256_setzero_si256();
        for (size_t t = 0; t < taps; t++) {  // 16 bytes may reach into the slack behind the input
          const __m256i seen = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)(at + step.taps.data()[t] + c)));
          const __m256i w = _mm256_loadu_si256((const __m256i*)(p.weights.data() + t * p.wide + c));
          sum = _mm256_add_epi16(sum, _mm256_mullo_epi16(seen, w));
        }
        const __m256i sums[2] = {_mm256_cvtepi16_epi32(_mm256_castsi256_si128(sum)),
                                 _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sum, 1))};
        finish_sums(p, step, sums, size_t(c) / kBlock, to + c, c, count, m.tensors[step.y]);
      }
    }
}

inline __m256 after_eight(__m256 x, const std::vector<FloatStep>& steps, int32_t channel) {
  for (const FloatStep& s : steps) {
    const __m256 n = _mm256_set1_ps(s.numbers.data()[s.numbers.size() > 1 ? channel : 0]);
    switch (s.operation) {
      case Arithmetic::Add: x = _mm256_add_ps(x, n); break;
      case Arithmetic::Subtract: x = _mm256_sub_ps(x, n); break;
      case Arithmetic::SubtractFrom: x = _mm256_sub_ps(n, x); break;
      case Arithmetic::Multiply: x = _mm256_mul_ps(x, n); break;
      case Arithmetic::Divide: x = _mm256_div_ps(x, n); break;
    }
  }
  return x;
}

// Bytes of neighbouring reals of one channel, `apart` bytes from one to the next; whether each has a level.
bool quantize_row(const Step& step, const float* x, uint8_t* y, int64_t count, int32_t channel, int64_t apart) {
  const float s = step.scale.data()[step.scale.size() > 1 ? channel : 0];
  const float z = step.zero_point.data()[step.zero_point.size() > 1 ? channel : 0];
  const __m256 scale = _mm256_set1_ps(s), zero = _mm256_set1_ps(z);
  const __m256 lo = _mm256_set1_ps(float(step.lo)), hi = _mm256_set1_ps(float(step.hi));
  const __m256i least = _mm256_set1_epi32(step.lo);
  __m256 bad = _mm256_setzero_ps();
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 real = after_eight(_mm256_loadu_ps(x + i), step.arithmetic, channel);
    const __m256 v = _mm256_add_ps(_mm256_div_ps(real, scale), zero);
    bad = _mm256_or_ps(bad, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i level = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v, lo), hi));
    const __m256i stored = _mm256_sub_epi32(level, least);
    const __m128i shorts = _mm_packus_epi32(_mm256_castsi256_si128(stored), _mm256_extracti128_si256(stored, 1));
    const __m128i bytes = _mm_packus_epi16(shorts, shorts);
    if (apart == 1) {
      _mm_storel_epi64((__m128i*)(y + i), bytes);
      continue;
    }
    alignas(16) uint8_t kept[16];
    _mm_store_si128((__m128i*)kept, bytes);
    for (int k = 0; k < 8; k++) y[(i + k) * apart] = kept[k];
  }
  bool good = _mm256_movemask_ps(bad) == 0;
  for (; i < count; i++) {
    const float v = after(x[i], step.arithmetic, channel) / s + z;
    good &= v == v;
    const float top = float(step.hi), bottom = float(step.lo), clipped = v > top ? top : v > bottom ? v : bottom;
    y[i * apart] = uint8_t(int32_t(std::nearbyint(clipped)) - step.lo);
  }
  return good;
}

bool run_quantize_fast(const Plan& plan, const Step& step, const Memory& m) {
  const float* x = real_input(m, step.x);
  uint8_t* y = m.tensors[step.y];
  const int64_t elements = plan.tensors[step.x].elements, positions = elements / step.channels;
  bool uniform = step.scale.size() == 1 && step.zero_point.size() == 1;
  for (const FloatStep& s : step.arithmetic) uniform &= s.numbers.size() == 1;
  if (step.channels_first && step.channels > 1 && positions > 1) {
    bool good = true;
    for (int32_t n = 0; n < m.count; n++)
      for (int32_t c = 0; c < step.channels; c++)
        good &= quantize_row(step, x + n * elements + c * positions, y + n * elements + c, positions, c, step.channels);
    return good;
  }
  return uniform ? quantize_row(step, x, y, elements * m.count, 0, 1) : run_quantize(plan, step, m);
}

bool run(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind == Kind::Quantize) return run_quantize_fast(plan, step, m);
  if (step.packed == nullptr) return run_plain(plan, step, m);
  if (step.packed->is_depthwise)
    run_depthwise(plan, step, static_cast<const PackedDepthwise&>(*step.packed), m);
  else
    run_blocks(plan, step, static_cast<const PackedProduct&>(*step.packed), m);
  return true;
}

}  // namespace

const Kernels avx2_kernels{"avx2", prepare, run};

}  // namespace anybit
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
