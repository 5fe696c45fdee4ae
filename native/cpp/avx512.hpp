// What paths with vectors of 64 bytes share: products by AVX512-VNNI, and their epilogues.
#pragma once
#include "avx2.hpp"

namespace anybit {
namespace {

inline void store_sixteen(uint8_t* to, __m512i levels, int32_t count) {
  store_bytes(to, _mm512_cvtepi32_epi8(levels), count);
}

// What makes bytes of the sums of up to two blocks without asking channel by channel: by lines, or by multipliers
// whose results fit into 32 bits before they are clipped.
struct Columns {
  bool is_fast = false, is_lined = false, has_factor = false;
  __m512i before[2], factor[2];  // added to a sum, and what it is multiplied by
  __m512 slope[2], start[2];
  __m512i zero, least, highest;  // of 16 bits, and of bytes as `bytes_of_four` has them
};

inline __m512i twice(const uint8_t* first, const uint8_t* second) {
  alignas(64) uint8_t bytes[64];
  for (int half = 0; half < 64; half += 32) {
    std::memcpy(bytes + half, first, kBlock);
    std::memcpy(bytes + half + kBlock, second, kBlock);
  }
  return _mm512_load_si512(bytes);
}

// The columns of `blocks` blocks, one or two.
inline Columns columns_of(const PackedProduct& p, const Epilogue& e, size_t block, int blocks) {
  Columns c;
  c.is_lined = p.is_lined;
  c.is_fast = p.is_lined || p.is_scaled;
  if (!c.is_fast) return c;
  c.has_factor = p.has_factor;
  for (int j = 0; j < 2; j++) {
    const size_t at = (block + std::min(j, blocks - 1)) * kBlock;
    if (c.is_lined) {
      c.slope[j] = _mm512_loadu_ps(p.line_slope.data() + at);
      c.start[j] = _mm512_loadu_ps(p.line_start.data() + at);
    } else {
      c.before[j] = _mm512_loadu_si512(p.before.data() + at);
      c.factor[j] = _mm512_loadu_si512(p.factor.data() + at);
      c.slope[j] = _mm512_loadu_ps(p.multiplier.data() + at);
    }
  }
  if (c.is_lined) {
    const size_t first = block * kBlock, second = (block + blocks - 1) * kBlock;
    c.least = twice(p.least.data() + first, p.least.data() + second);
    c.highest = twice(p.highest.data() + first, p.highest.data() + second);
  } else {
    c.zero = _mm512_set1_epi32(int32_t(uint32_t(uint16_t(e.zero)) * 0x10001u));
    c.least = _mm512_set1_epi32(int32_t(uint32_t(e.lo) * 0x1010101u));
    c.highest = _mm512_set1_epi32(int32_t(uint32_t(e.hi) * 0x1010101u));
  }
  return c;
}

template <bool kLined>
inline __m512i rounded_level(__m512i sums, const Columns& c, int j) {
  if constexpr (kLined) return _mm512_cvtps_epi32(_mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), c.slope[j]), c.start[j]));
  if (c.has_factor) sums = _mm512_mullo_epi32(sums, c.factor[j]);
  return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sums, c.before[j])), c.slope[j]));
}

// The levels of four times 16 sums, side by side; those of the first and the third are of the first block.
template <bool kLined>
inline __m512i bytes_of_four(__m512i a, __m512i b, __m512i second_a, __m512i second_b, const Columns& c) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i first = _mm512_packs_epi32(rounded_level<kLined>(a, c, 0), rounded_level<kLined>(b, c, 1));
  __m512i second = _mm512_packs_epi32(rounded_level<kLined>(second_a, c, 0), rounded_level<kLined>(second_b, c, 1));
  if constexpr (!kLined) {
    first = _mm512_adds_epi16(first, c.zero);
    second = _mm512_adds_epi16(second, c.zero);
  }
  const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
  return _mm512_min_epu8(_mm512_max_epu8(bytes, c.least), c.highest);
}

inline void store_half(uint8_t* to, __m256i bytes, int32_t count) {
  if (count >= 2 * kBlock) {
    _mm256_storeu_si256((__m256i*)to, bytes);
    return;
  }
  alignas(32) uint8_t kept[2 * kBlock];
  _mm256_store_si256((__m256i*)kept, bytes);
  std::memcpy(to, kept, size_t(count));
}

// The bytes of two rows of sums, [row][block], `count` of each row.
template <bool kLined>
inline void finish_rows(const __m512i* sums, const Columns& c, uint8_t* y, uint8_t* second_y, int32_t count) {
  const __m512i bytes = bytes_of_four<kLined>(sums[0], sums[1], sums[2], sums[3], c);
  store_half(y, _mm512_castsi512_si256(bytes), count);
  store_half(second_y, _mm512_extracti64x4_epi64(bytes, 1), count);
}

// The levels of 16 sums by their lines, and whether these are right for all of them.
inline bool lined_sixteen(const PackedProduct& p, size_t at, __m512i sums, __m512i* levels) {
  const __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(p.line_slope.data() + at)),
                                 _mm512_loadu_ps(p.line_start.data() + at));
  *levels = _mm512_cvtps_epi32(v);
  if (p.is_lined) return true;
  const __m512 off = _mm512_abs_ps(_mm512_sub_ps(v, _mm512_cvtepi32_ps(*levels)));
  return _mm512_cmp_ps_mask(off, _mm512_loadu_ps(p.sure.data() + at), _CMP_GT_OQ) == 0;
}

// What becomes of 16 sums of one pixel.
inline void finish_wide(const PackedProduct& p, const Step& step, __m512i sums, size_t block, int64_t to, int32_t first,
                        int32_t count, uint8_t* y) {
  const Epilogue& e = step.epilogue;
  const size_t at = block * kBlock;
  __m512i levels;
  if ((p.is_lined || p.is_nearly_lined) && lined_sixteen(p, at, sums, &levels)) {
    alignas(64) int32_t each[kBlock];
    _mm512_store_si512(each, levels);
    const __m256i halves[2] = {_mm256_load_si256((const __m256i*)each), _mm256_load_si256((const __m256i*)(each + 8))};
    store_bytes(y + to, kept_between(p, block, bytes_of(shortened(halves))), count);
    return;
  }
  if (e.kind == EpilogueKind::Thresholds && !p.is_halved) {
    const int32_t* t = p.above.data() + at * e.count;
    const __m512i one = _mm512_set1_epi32(1);
    __m512i reached = _mm512_setzero_si512();
    for (int32_t k = 0; k < e.count; k++) {
      const __mmask16 more = _mm512_cmpgt_epi32_mask(sums, _mm512_loadu_si512(t + k * kBlock));
      reached = _mm512_mask_add_epi32(reached, more, reached, one);
    }
    store_bytes(y + to, counted(p, block, _mm512_cvtepi32_epi8(reached)), count);
    return;
  }
  if (p.is_halved && p.is_estimated) {
    alignas(64) int32_t each[kBlock];
    _mm512_store_si512(each, sums);
    const __m256i halves[2] = {_mm256_load_si256((const __m256i*)each), _mm256_load_si256((const __m256i*)(each + 8))};
    store_bytes(y + to, estimated(p, e, block, halves), count);
    return;
  }
  sums = _mm512_add_epi32(sums, _mm512_loadu_si512(p.offset.data() + at));
  if (e.kind == EpilogueKind::Multiplier) {
    const __m512 lo = _mm512_set1_ps(float(e.lo - e.zero)), hi = _mm512_set1_ps(float(e.hi - e.zero));
    const __m512i product = _mm512_mullo_epi32(sums, _mm512_loadu_si512(p.factor.data() + at));
    const __m512i total = _mm512_add_epi32(product, _mm512_loadu_si512(p.bias.data() + at));
    const __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(total), _mm512_loadu_ps(p.multiplier.data() + at));
    const __m512i level = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, lo), hi));
    store_sixteen(y + to, _mm512_add_epi32(level, _mm512_set1_epi32(e.zero)), count);
    return;
  }
  alignas(64) int32_t kept[kBlock];
  _mm512_store_si512(kept, sums);
  if (e.kind == EpilogueKind::None)
    std::memcpy(reinterpret_cast<int32_t*>(y) + to, kept, size_t(count) * 4);
  else
    for (int32_t c = 0; c < count; c++) y[to + c] = level(e, kept[c], first + c, first + c);
}

// The bytes of two pixels, of two blocks each.
inline void finish_pair(const PackedProduct& p, const Step& step, const Columns& c, const __m512i* sums, size_t block,
                        int64_t pixel, int64_t next, int32_t first, int32_t left, uint8_t* y) {
  if (c.is_fast) {
    uint8_t* at = y + pixel * step.outputs + first;
    (c.is_lined ? finish_rows<true> : finish_rows<false>)(sums, c, at, at + (next - pixel) * step.outputs, left);
    return;
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2 && j * kBlock < left; j++)
      finish_wide(p, step, sums[2 * i + j], block + j, (i == 0 ? pixel : next) * step.outputs + first + j * kBlock,
                  first + j * kBlock, std::min(kBlock, left - j * kBlock), y);
}

inline __m512i broadcast_wide(const uint8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// Adds to the sums of `N` pixels and `M` blocks those of `steps` times four terms, `at` bytes behind each of `rows`; the
// weights of a block lie `size` bytes behind those of the block before.
template <int N, int M>
inline __attribute__((always_inline)) void add_steps(const uint8_t* const* rows, int64_t at, int32_t steps, const int8_t* w,
                                                     size_t size, __m512i (&sums)[N][M]) {
  const auto add = [&](int u) __attribute__((always_inline)) {
    __m512i four[M];
#pragma GCC unroll 8
    for (int j = 0; j < M; j++) four[j] = _mm512_loadu_si512(w + j * size + u * kBlock * 4);
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) {
      const __m512i x = broadcast_wide(rows[i] + at + 4 * u);
#pragma GCC unroll 8
      for (int j = 0; j < M; j++) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], x, four[j]);
    }
  };
  int32_t q = 0;
  for (; q + 4 <= steps; q += 4, at += 16, w += 4 * kBlock * 4) {
    add(0);
    add(1);
    add(2);
    add(3);
  }
  for (; q < steps; q++, at += 4, w += kBlock * 4) add(0);
}

struct WideTiles {
  struct Sums {
    __m512i all;
  };
  static constexpr int kRows = 8, kWide = 2, kWideOne = 8;

  template <int N, int M>
  static void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sums* sums) {
    constexpr int kParts = N * M >= 8 ? 1 : 4;  // sums that do not wait for each other
    const size_t size = p.runs.size() * p.steps * kBlock * 4;
    const int8_t* w = p.bytes.data() + block * size;
    __m512i parts[kParts][N][M];
#pragma GCC unroll 4
    for (auto& part : parts)
#pragma GCC unroll 8
      for (auto& row : part)
#pragma GCC unroll 8
        for (__m512i& sum : row) sum = _mm512_setzero_si512();
    for (int32_t run : p.runs) {
      if constexpr (kParts == 1) {
        add_steps<N, M>(rows, run, p.steps, w, size, parts[0]);
        w += int64_t{p.steps} * kBlock * 4;
      } else {
        int32_t q = 0;
        for (; q + kParts <= p.steps; q += kParts)
#pragma GCC unroll 4
          for (int u = 0; u < kParts; u++, w += kBlock * 4) add_steps<N, M>(rows, run + 4 * (q + u), 1, w, size, parts[u]);
        for (; q < p.steps; q++, w += kBlock * 4) add_steps<N, M>(rows, run + 4 * q, 1, w, size, parts[0]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; i++)
#pragma GCC unroll 8
      for (int j = 0; j < M; j++) {
        __m512i sum = parts[0][i][j];
        for (int u = 1; u < kParts; u++) sum = _mm512_add_epi32(sum, parts[u][i][j]);
        sums[i * M + j].all = sum;
      }
  }
  static void finish(const PackedProduct& p, const Step& step, const Sums& sums, size_t block, int64_t to, int32_t first,
                     int32_t count, uint8_t* y) {
    finish_wide(p, step, sums.all, block, to, first, count, y);
  }

  // `left` outputs of the group are those of the first block and behind it.
  template <int N, int M>
  static void finish_tile(const PackedProduct& p, const Step& step, const Sums* sums, size_t block, int64_t to,
                          int32_t first, int32_t left, uint8_t* y) {
    if constexpr (M == 2 && N % 2 == 0) {
      const Columns c = columns_of(p, step.epilogue, block, 2);
      for (int i = 0; i < N; i += 2) {
        const __m512i four[4] = {sums[i * M].all, sums[i * M + 1].all, sums[i * M + 2].all, sums[i * M + 3].all};
        finish_pair(p, step, c, four, block, to / step.outputs + i, to / step.outputs + i + 1, first, left, y);
      }
      return;
    }
    for (int i = 0; i < N; i++)
      for (int j = 0; j < M; j++)
        finish_wide(p, step, sums[i * M + j].all, block + j, to + int64_t{i} * step.outputs + j * kBlock, first + j * kBlock,
                    std::min(kBlock, left - j * kBlock), y);
  }
};

constexpr int32_t kWide = 64;  // channels whose bytes fill a vector

// Weights of two taps side by side, for products of neighbouring bytes: [blocks of 64 channels][pairs of taps][2][64], the
// channels of each 16 in halves, as the bytes of two vectors lie when they are interleaved. Of 32 channels or less there
// are two pixels in a vector. The lines of the epilogue: [blocks][4][16], by channels 0-3, 4-7, 8-11 and 12-15 of each 16.
struct PackedPairs : PackedDepthwise {
  explicit PackedPairs(PackedDepthwise&& depthwise) : PackedDepthwise(std::move(depthwise)) {}
  Lines<int8_t> pairs;
  Lines<float> slopes, starts;
  Lines<uint8_t> leasts, highests;
};

// Lays them where the epilogue is a line, and two products fit into 16 bits.
inline void prepare_pairs(const Plan& plan, Step& step) {
  if (step.packed == nullptr || !step.packed->is_depthwise) return;
  PackedDepthwise& depthwise = static_cast<PackedDepthwise&>(*step.packed);
  const int32_t taps = int32_t(step.taps.size()), outputs = step.outputs, hi = std::clamp(plan.tensors[step.x].hi, 0, 255);
  if (!depthwise.is_lined) return;
  const auto weight = [&](int32_t o, int32_t t) { return t < taps ? int32_t{step.weights[size_t(o) * taps + t]} : 0; };
  for (int32_t o = 0; o < outputs; o++)
    for (int32_t t = 0; t < taps; t += 2)
      if (hi * (std::abs(weight(o, t)) + std::abs(weight(o, t + 1))) > 32767) return;
  auto packed = std::make_unique<PackedPairs>(std::move(depthwise));
  PackedPairs& p = *packed;
  const int32_t blocks = (outputs + kWide - 1) / kWide, pairs = (taps + 1) / 2;
  p.pairs.assign(size_t(blocks) * pairs * 2 * kWide, 0);
  for (auto* lines : {&p.slopes, &p.starts}) lines->assign(size_t(blocks) * kWide, 0.0f);
  for (auto* levels : {&p.leasts, &p.highests}) levels->assign(size_t(blocks) * kWide, 0);
  for (int32_t i = 0; i < blocks * kWide; i++) {
    const int32_t o = outputs <= kWide / 2 ? i % (kWide / 2) : i;  // the second pixel has the same channels
    if (o >= outputs) continue;
    const int32_t block = i / kWide, at = i % kWide, part = at / 16, in = at % 16;
    for (int32_t t = 0; t < taps; t++) {
      const size_t half = ((size_t(block) * pairs + t / 2) * 2 + in / 8) * kWide;
      p.pairs[half + part * 16 + in % 8 * 2 + t % 2] = int8_t(weight(o, t));
    }
    const size_t line = size_t(block) * kWide + in / 4 * 16 + part * 4 + in % 4;
    p.slopes[line] = p.line_slope[size_t(o)];
    p.starts[line] = p.line_start[size_t(o)];
    p.leasts[size_t(block) * kWide + at] = p.least[size_t(o)];
    p.highests[size_t(block) * kWide + at] = p.highest[size_t(o)];
  }
  step.packed = std::move(packed);
}

// A line of pixels by 64 channels of one pixel, or 32 of two, at a time.
template <int kTaps, bool kTwo>
inline void run_pairs_of_taps(const Plan& plan, const Step& step, const PackedPairs& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &sample);
  const int64_t pixels = int64_t(step.pixels.size()), line = step.window.output[1], outputs = step.outputs;
  const int32_t taps = kTaps > 0 ? kTaps : int32_t(step.taps.size()), pairs = (taps + 1) / 2;
  const int32_t *pixel = step.pixels.data(), *tap = step.taps.data();
  __m512i held[kTaps > 0 ? kTaps + 1 : 1];  // few weights
  for (int64_t row = 0; row < pixels / line * m.count; row++)
    for (int32_t c = 0; c < outputs; c += kWide) {
      const int8_t* w = p.pairs.data() + int64_t{c} * pairs * 2;
      if constexpr (kTaps > 0)
        for (int32_t k = 0; k < kTaps + 1; k++) held[k] = _mm512_load_si512(w + int64_t{k} * kWide);
      __m512 slope[4], start[4];
      for (int k = 0; k < 4; k++) {
        slope[k] = _mm512_load_ps(p.slopes.data() + c + 16 * k);
        start[k] = _mm512_load_ps(p.starts.data() + c + 16 * k);
      }
      const __m512i least = _mm512_load_si512(p.leasts.data() + c), highest = _mm512_load_si512(p.highests.data() + c);
      const int64_t count = std::min<int64_t>(outputs - c, kTwo ? kWide / 2 : kWide);
      const __mmask64 kept = ~uint64_t{0} >> (64 - count);
      const int64_t first = row * line, n = first / pixels, begin = first - n * pixels;
      const uint8_t* in = x + n * sample + c;
      uint8_t* y = m.tensors[step.y] + first * outputs + c;
      for (int64_t i = 0; i < line; i += kTwo ? 2 : 1) {
        const int64_t next = kTwo ? std::min(i + 1, line - 1) : i;
        const uint8_t *at = in + pixel[begin + i], *other = in + pixel[begin + next];
        const auto seen = [&](int32_t t) __attribute__((always_inline)) {  // may reach into the slack behind the input
          if constexpr (!kTwo) return _mm512_loadu_si512(at + tap[t]);
          const __m512i one = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)(at + tap[t])));
          return _mm512_inserti64x4(one, _mm256_loadu_si256((const __m256i*)(other + tap[t])), 1);
        };
        __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
#pragma GCC unroll 5
        for (int32_t t = 0; t < taps; t += 2) {
          const __m512i a = seen(t), b = t + 1 < taps ? seen(t + 1) : _mm512_setzero_si512();
          const __m512i w_low = kTaps > 0 ? held[kTaps > 0 ? t : 0] : _mm512_load_si512(w + int64_t{t} * kWide);
          const __m512i w_high = kTaps > 0 ? held[kTaps > 0 ? t + 1 : 0] : _mm512_load_si512(w + int64_t{t + 1} * kWide);
          low = _mm512_add_epi16(low, _mm512_maddubs_epi16(_mm512_unpacklo_epi8(a, b), w_low));
          high = _mm512_add_epi16(high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(a, b), w_high));
        }
        const auto level = [&](__m512i twice, int k) __attribute__((always_inline)) {  // of the upper halves of 32 bits
          const __m512 sums = _mm512_cvtepi32_ps(_mm512_srai_epi32(twice, 16));
          return _mm512_cvtps_epi32(_mm512_add_ps(_mm512_mul_ps(sums, slope[k]), start[k]));
        };
        const __m512i first_half = _mm512_packs_epi32(level(_mm512_unpacklo_epi16(low, low), 0), level(_mm512_unpackhi_epi16(low, low), 1));
        const __m512i second_half = _mm512_packs_epi32(level(_mm512_unpacklo_epi16(high, high), 2), level(_mm512_unpackhi_epi16(high, high), 3));
        const __m512i bytes = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(first_half, second_half), least), highest);
        if constexpr (kTwo) {
          _mm256_mask_storeu_epi8(y + i * outputs, __mmask32(kept), _mm512_castsi512_si256(bytes));
          _mm256_mask_storeu_epi8(y + next * outputs, __mmask32(kept), _mm512_extracti64x4_epi64(bytes, 1));
        } else {
          _mm512_mask_storeu_epi8(y + i * outputs, kept, bytes);
        }
      }
    }
}

// Two neighbouring blocks of channels of two pixels at a time, row by row, so that what a row sees stays close.
template <int kTaps>
inline void run_depthwise_rows(const Plan& plan, const Step& step, const PackedDepthwise& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &sample);
  const int64_t pixels = int64_t(step.pixels.size()), line = step.window.output[1];
  const int32_t taps = kTaps > 0 ? kTaps : int32_t(step.taps.size());
  const int32_t *pixel = step.pixels.data(), *tap = step.taps.data();
  __m512i held[kTaps > 0 ? kTaps : 1];  // few weights
  const auto sums_of = [&](const uint8_t* at, const int16_t* w) __attribute__((always_inline)) {
    __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 9
    for (int32_t t = 0; t < taps; t++) {  // 32 bytes may reach into the slack behind the input
      const __m512i seen = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)(at + tap[t])));
      const __m512i by = kTaps > 0 ? held[kTaps > 0 ? t : 0] : _mm512_loadu_si512(w + int64_t{t} * p.wide);
      sum = _mm512_add_epi16(sum, _mm512_mullo_epi16(seen, by));
    }
    return sum;
  };
  for (int64_t row = 0; row < pixels / line * m.count; row++)
    for (int32_t c = 0; c < step.outputs; c += 2 * kBlock) {
      const int16_t* w = p.weights.data() + c;
      for (int32_t t = 0; t < kTaps; t++) held[t] = _mm512_loadu_si512(w + int64_t{t} * p.wide);
      const Columns columns = columns_of(p, step.epilogue, size_t(c) / kBlock, 2);
      const int64_t first = row * line, n = first / pixels;
      const uint8_t* in = x + n * sample + c;
      for (int64_t i = 0; i < line; i += 2) {
        const int64_t next = std::min(i + 1, line - 1), at = first - n * pixels;
        const __m512i a = sums_of(in + pixel[at + i], w), b = sums_of(in + pixel[at + next], w);
        const __m512i four[4] = {_mm512_cvtepi16_epi32(_mm512_castsi512_si256(a)), _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(a, 1)),
                                 _mm512_cvtepi16_epi32(_mm512_castsi512_si256(b)), _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(b, 1))};
        finish_pair(p, step, columns, four, size_t(c) / kBlock, first + i, first + next, c, step.outputs - c, m.tensors[step.y]);
      }
    }
}

inline void run_depthwise_wide(const Plan& plan, const Step& step, const PackedDepthwise& p, const Memory& m) {
  if (const auto* pairs = dynamic_cast<const PackedPairs*>(&p)) {
    const bool nine = step.taps.size() == 9, two = step.outputs <= kWide / 2;
    const auto run = nine ? (two ? run_pairs_of_taps<9, true> : run_pairs_of_taps<9, false>)
                          : (two ? run_pairs_of_taps<0, true> : run_pairs_of_taps<0, false>);
    run(plan, step, *pairs, m);
    return;
  }
  if (step.taps.size() == 9)
    run_depthwise_rows<9>(plan, step, p, m);
  else
    run_depthwise_rows<0>(plan, step, p, m);
}

constexpr int32_t kMostSearched = 15;  // thresholds that a vector holds, with one that nothing reaches

// Thresholds of reals, by rows of 16.
struct PackedCompare : Packed {
  Lines<float> thresholds;
};

inline void prepare_compare(Step& step) {
  if (step.count > kMostSearched) return;
  auto packed = std::make_unique<PackedCompare>();
  packed->thresholds.assign(step.base.size() * 16, NAN);
  for (size_t row = 0; row < step.base.size(); row++)
    for (int32_t k = 0; k < step.count; k++) packed->thresholds[row * 16 + k] = step.thresholds[row * step.count + k];
  step.packed = std::move(packed);
}

// Numbers by which to multiply gives, of every real, what dividing by the scales gives: all are powers of two.
struct PackedQuantize : Packed {
  Lines<float> inverse;
};

inline void prepare_quantize(Step& step) {
  auto packed = std::make_unique<PackedQuantize>();
  for (float scale : step.scale) {
    int exponent = 0;
    if (std::abs(std::frexp(scale, &exponent)) != 0.5f || !std::isnormal(1 / scale)) return;
    packed->inverse.push_back(1 / scale);
  }
  step.packed = std::move(packed);
}

inline __m512 after_sixteen(__m512 x, const std::vector<FloatStep>& steps, int32_t channel) {
  for (const FloatStep& s : steps) {
    const __m512 n = _mm512_set1_ps(s.numbers.data()[s.numbers.size() > 1 ? channel : 0]);
    switch (s.operation) {
      case Arithmetic::Add: x = _mm512_add_ps(x, n); break;
      case Arithmetic::Subtract: x = _mm512_sub_ps(x, n); break;
      case Arithmetic::SubtractFrom: x = _mm512_sub_ps(n, x); break;
      case Arithmetic::Multiply: x = _mm512_mul_ps(x, n); break;
      case Arithmetic::Divide: x = _mm512_div_ps(x, n); break;
    }
  }
  return x;
}

// Levels of sixteen reals of one channel. `good` becomes false where one has none.
inline __m128i rounded_sixteen(const Step& step, const float* x, int32_t channel, bool& good) {
  const int32_t row = step.scale.size() > 1 ? channel : 0;
  const __m512 zero = _mm512_set1_ps(step.zero_point.data()[step.zero_point.size() > 1 ? channel : 0]);
  const __m512 real = after_sixteen(_mm512_loadu_ps(x), step.arithmetic, channel);
  const float* inverse = step.packed == nullptr ? nullptr : static_cast<const PackedQuantize&>(*step.packed).inverse.data();
  const __m512 scaled = inverse == nullptr ? _mm512_div_ps(real, _mm512_set1_ps(step.scale.data()[row]))
                                           : _mm512_mul_ps(real, _mm512_set1_ps(inverse[row]));
  const __m512 v = _mm512_add_ps(scaled, zero);
  good &= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) == 0;
  const __m512 kept = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(float(step.lo))), _mm512_set1_ps(float(step.hi)));
  return _mm512_cvtepi32_epi8(_mm512_sub_epi32(_mm512_cvtps_epi32(kept), _mm512_set1_epi32(step.lo)));
}

inline void prepare_wide(const Plan& plan, Step& step, bool in_bytes) {
  if (step.kind == Kind::Product) prepare_product(plan, step, true, in_bytes);
  if (step.kind == Kind::Product) prepare_pairs(plan, step);
  if (step.kind == Kind::Compare) prepare_compare(step);
  if (step.kind == Kind::Quantize) prepare_quantize(step);
}

// Levels of sixteen reals by thresholds of one channel, halving what is left four times.
inline __m128i searched_sixteen(const Step& step, const float* x, int32_t channel, bool& good) {
  const int32_t row = step.base.size() > 1 ? channel : 0;
  const float* t = static_cast<const PackedCompare&>(*step.packed).thresholds.data();
  const __m512 thresholds = _mm512_loadu_ps(t + int64_t{row} * 16), reals = _mm512_loadu_ps(x);
  good &= _mm512_cmp_ps_mask(reals, reals, _CMP_UNORD_Q) == 0;
  __m512i reached = _mm512_setzero_si512();
  for (int32_t half = 8; half > 0; half /= 2) {
    const __m512i upto = _mm512_add_epi32(reached, _mm512_set1_epi32(half));
    const __m512 least = _mm512_permutexvar_ps(_mm512_sub_epi32(upto, _mm512_set1_epi32(1)), thresholds);
    reached = _mm512_mask_mov_epi32(reached, _mm512_cmp_ps_mask(reals, least, _CMP_GE_OQ), upto);
  }
  const __m128i bytes = _mm512_cvtepi32_epi8(reached), base = _mm_set1_epi8(char(step.base.data()[row]));
  return step.step.data()[row] > 0 ? _mm_add_epi8(base, bytes) : _mm_sub_epi8(base, bytes);
}

// Pairs of levels by a table of at most 16 x 16, row by row.
inline void run_small_pairs(const Plan& plan, const Step& step, const Memory& m) {
  const uint8_t *a = m.tensors[step.a], *b = m.tensors[step.b];
  uint8_t* y = m.tensors[step.y];
  const int64_t elements = plan.tensors[step.y].elements * m.count;
  alignas(16) uint8_t table[16][16] = {};
  for (int32_t r = 0; r < step.rows; r++) std::memcpy(table[r], step.table.data() + r * step.columns, size_t(step.columns));
  __m512i rows[16];
  for (int r = 0; r < 16; r++) rows[r] = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i*)table[r]));
  const __m512i last_row = _mm512_set1_epi32(int32_t((step.rows - 1) * 0x1010101));
  const __m512i last_column = _mm512_set1_epi32(int32_t((step.columns - 1) * 0x1010101));
  for (int64_t i = 0; i < elements; i += 64) {  // 64 bytes may reach into the slack behind the inputs
    const __m512i row = _mm512_min_epu8(_mm512_loadu_si512(a + i), last_row);
    const __m512i column = _mm512_min_epu8(_mm512_loadu_si512(b + i), last_column);
    __m512i found = _mm512_setzero_si512(), number = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
      found = _mm512_mask_shuffle_epi8(found, _mm512_cmpeq_epi8_mask(row, number), rows[r], column);
      number = _mm512_add_epi8(number, _mm512_set1_epi32(0x1010101));
    }
    if (i + 64 <= elements) {
      _mm512_storeu_si512(y + i, found);
      continue;
    }
    alignas(64) uint8_t kept[64];
    _mm512_store_si512(kept, found);
    std::memcpy(y + i, kept, size_t(elements - i));
  }
}

inline bool run_wide(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind == Kind::Quantize)
    return levels_of_reals(plan, step, m, is_uniform(step),
                           [&](const float* x, int32_t c, bool& good) { return rounded_sixteen(step, x, c, good); }, run_quantize);
  if (step.kind == Kind::Compare && step.packed != nullptr)
    return levels_of_reals(plan, step, m, step.base.size() == 1,
                           [&](const float* x, int32_t c, bool& good) { return searched_sixteen(step, x, c, good); }, run_compare);
  if (step.kind == Kind::PairTable && step.rows <= 16 && step.columns <= 16 &&
      int64_t(step.table.size()) == int64_t{step.rows} * step.columns) {
    run_small_pairs(plan, step, m);
    return true;
  }
  if (step.packed != nullptr && step.packed->is_depthwise) {
    run_depthwise_wide(plan, step, static_cast<const PackedDepthwise&>(*step.packed), m);
    return true;
  }
  return run_vectors<WideTiles>(plan, step, m);
}

}  // namespace
}  // namespace anybit
