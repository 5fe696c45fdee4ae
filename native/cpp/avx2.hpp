// What paths with vectors of 32 bytes share: epilogues, depthwise convolutions, quantisation.
#pragma once
#include "packed.hpp"

namespace anybit {
namespace {

struct Sixteen {  // 16 sums
  __m256i half[2];
};

inline __m256i broadcast(const uint8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
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

// Many thresholds: the line says about how many are reached, and the two next to it how many.
inline __m128i estimated(const PackedProduct& p, const Epilogue& e, size_t block, const __m256i* sums) {
  const int32_t length = e.count + 2;
  __m256i reached[2];
  for (int j = 0; j < 2; j++) {
    const size_t at = block * kBlock + 8 * j;
    const __m256 line = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[j]), _mm256_loadu_ps(p.slope.data() + at)),
                                      _mm256_loadu_ps(p.start.data() + at));
    const __m256 kept = _mm256_min_ps(_mm256_max_ps(line, _mm256_setzero_ps()), _mm256_loadu_ps(p.most.data() + at));
    const __m256i about = _mm256_cvtps_epi32(kept);
    const __m256i rows = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(length));
    const __m256i place = _mm256_add_epi32(rows, about);
    const int* places = p.places.data() + at * length;
    const __m256i first = _mm256_cmpgt_epi32(sums[j], _mm256_i32gather_epi32(places, place, 4));
    const __m256i second = _mm256_cmpgt_epi32(sums[j], _mm256_i32gather_epi32(places + 1, place, 4));
    const __m256i less = _mm256_sub_epi32(about, _mm256_set1_epi32(1));
    reached[j] = _mm256_sub_epi32(_mm256_sub_epi32(less, first), second);  // what is true is -1
  }
  return counted(p, block, bytes_of(shortened(reached)));
}

// Bytes kept between the least and the highest of their channels.
inline __m128i kept_between(const PackedProduct& p, size_t block, __m128i levels) {
  const __m128i least = _mm_loadu_si128((const __m128i*)(p.least.data() + block * kBlock));
  const __m128i highest = _mm_loadu_si128((const __m128i*)(p.highest.data() + block * kBlock));
  return _mm_min_epu8(_mm_max_epu8(levels, least), highest);
}

// The levels of 16 sums by their lines, and whether these are right for all of them.
inline bool lined(const PackedProduct& p, size_t block, const __m256i* sums, __m128i* bytes) {
  __m256i levels[2];
  bool sure = true;
  for (int j = 0; j < 2; j++) {
    const size_t at = block * kBlock + 8 * j;
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[j]), _mm256_loadu_ps(p.line_slope.data() + at));
    const __m256 v = _mm256_add_ps(scaled, _mm256_loadu_ps(p.line_start.data() + at));
    levels[j] = _mm256_cvtps_epi32(v);
    if (p.is_lined) continue;
    const __m256 off = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(v, _mm256_cvtepi32_ps(levels[j])));
    sure &= _mm256_movemask_ps(_mm256_cmp_ps(off, _mm256_loadu_ps(p.sure.data() + at), _CMP_GT_OQ)) == 0;
  }
  *bytes = kept_between(p, block, bytes_of(shortened(levels)));
  return sure;
}

// What becomes of 16 sums of one pixel.
inline void finish_sums(const PackedProduct& p, const Step& step, const __m256i* sums, size_t block, int64_t to,
                        int32_t first, int32_t count, uint8_t* y) {
  const Epilogue& e = step.epilogue;
  __m128i bytes;
  if ((p.is_nearly_lined || (p.is_lined && !(p.is_short && e.count <= kFewThresholds))) && lined(p, block, sums, &bytes)) {
    store_bytes(y + to, bytes, count);
    return;
  }
  if (e.kind == EpilogueKind::Thresholds && !p.is_halved) {
    store_bytes(y + to, compared(p, e, block, sums), count);
    return;
  }
  if (p.is_halved && p.is_estimated) {
    store_bytes(y + to, estimated(p, e, block, sums), count);
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

inline void run_depthwise(const Plan& plan, const Step& step, const PackedDepthwise& p, const Memory& m) {
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

// Levels of sixteen reals of one channel. `good` becomes false where one has none.
inline __m128i quantized_sixteen(const Step& step, const float* x, int32_t channel, bool& good) {
  const __m256 scale = _mm256_set1_ps(step.scale.data()[step.scale.size() > 1 ? channel : 0]);
  const __m256 zero = _mm256_set1_ps(step.zero_point.data()[step.zero_point.size() > 1 ? channel : 0]);
  const __m256 lo = _mm256_set1_ps(float(step.lo)), hi = _mm256_set1_ps(float(step.hi));
  const __m256i least = _mm256_set1_epi32(step.lo);
  __m256i levels[2];
  for (int j = 0; j < 2; j++) {
    const __m256 real = after_eight(_mm256_loadu_ps(x + 8 * j), step.arithmetic, channel);
    const __m256 v = _mm256_add_ps(_mm256_div_ps(real, scale), zero);
    good &= _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) == 0;
    levels[j] = _mm256_sub_epi32(_mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v, lo), hi)), least);
  }
  return bytes_of(shortened(levels));
}

// Likewise by thresholds.
inline __m128i compared_sixteen(const Step& step, const float* x, int32_t channel, bool& good) {
  const int32_t row = step.base.size() > 1 ? channel : 0;
  const float* t = step.thresholds.data() + int64_t{row} * step.count;
  __m256i reached[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  const __m256 reals[2] = {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
  for (int j = 0; j < 2; j++) good &= _mm256_movemask_ps(_mm256_cmp_ps(reals[j], reals[j], _CMP_UNORD_Q)) == 0;
  for (int32_t k = 0; k < step.count; k++) {
    const __m256 least = _mm256_set1_ps(t[k]);
    for (int j = 0; j < 2; j++)
      reached[j] = _mm256_sub_epi32(reached[j], _mm256_castps_si256(_mm256_cmp_ps(reals[j], least, _CMP_GE_OQ)));
  }
  const __m128i bytes = bytes_of(shortened(reached)), base = _mm_set1_epi8(char(step.base.data()[row]));
  return step.step.data()[row] > 0 ? _mm_add_epi8(base, bytes) : _mm_sub_epi8(base, bytes);
}

// Rows of 16 bytes become columns.
inline void transpose(__m128i* rows) {
  for (int round = 0; round < 4; round++) {
    __m128i mixed[16];
    for (int i = 0; i < 8; i++) {
      mixed[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
      mixed[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
    }
    for (int i = 0; i < 16; i++) rows[i] = mixed[i];
  }
}

// Which bytes of four positions, of four bytes each, are those of two, three or four channels.
alignas(16) constexpr uint8_t kClosed[3][16] = {{0, 1, 4, 5, 8, 9, 12, 13},
                                                {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14},
                                                {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

// Bytes of 16 positions of two to four channels, four positions at a time: each over what those before wrote too much.
inline void store_few_channels(const __m128i* rows, uint8_t* y, int32_t channels) {
  const __m128i low[2] = {_mm_unpacklo_epi8(rows[0], rows[1]), _mm_unpacklo_epi8(rows[2], rows[3])};
  const __m128i high[2] = {_mm_unpackhi_epi8(rows[0], rows[1]), _mm_unpackhi_epi8(rows[2], rows[3])};
  const __m128i fours[4] = {_mm_unpacklo_epi16(low[0], low[1]), _mm_unpackhi_epi16(low[0], low[1]),
                            _mm_unpacklo_epi16(high[0], high[1]), _mm_unpackhi_epi16(high[0], high[1])};
  const __m128i closed = _mm_load_si128((const __m128i*)kClosed[channels - 2]);
  alignas(16) uint8_t kept[16];
  for (int i = 0; i < 3; i++) _mm_storeu_si128((__m128i*)(y + 4 * i * channels), _mm_shuffle_epi8(fours[i], closed));
  _mm_store_si128((__m128i*)kept, _mm_shuffle_epi8(fours[3], closed));
  std::memcpy(y + 12 * channels, kept, size_t(4 * channels));
}

// Bytes of 16 positions of up to 16 channels: y is where the first one goes.
inline void store_positions(__m128i* rows, uint8_t* y, int32_t channels, int32_t count) {
  if (channels > 1 && channels <= 4) {
    store_few_channels(rows, y, channels);
    return;
  }
  transpose(rows);
  if (count == kBlock) {
    for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i*)(y + int64_t{i} * channels), rows[i]);
    return;
  }
  for (int i = 0; i < 16; i++) {
    alignas(16) uint8_t kept[16];
    _mm_store_si128((__m128i*)kept, rows[i]);
    std::memcpy(y + int64_t{i} * channels, kept, size_t(count));
  }
}

constexpr int64_t kSideBySide = 256;  // positions of a plane that are read one after the other, as caches like it

// Bytes of the reals of one sample, [channels][positions]; F gives those of 16.
template <class F>
inline bool levels_of_planes(const Step& step, const float* x, uint8_t* y, int64_t positions, F&& f) {
  bool good = true;
  alignas(16) uint8_t levels[kBlock][kSideBySide] = {};
  for (int64_t p = 0; p < positions; p += kSideBySide) {
    const int64_t taken = std::min(kSideBySide, positions - p);
    for (int32_t c = 0; c < step.channels; c += kBlock) {
      const int32_t count = std::min(kBlock, step.channels - c);
      for (int32_t i = 0; i < count; i++) {
        const float* plane = x + int64_t{c + i} * positions;
        for (int64_t k = 0; k < taken; k += 16)  // the last 16 may be those of the plane's end, and be made twice
          _mm_store_si128((__m128i*)(levels[i] + k), f(plane + std::min(p + k, positions - 16), c + i, good));
      }
      for (int64_t k = 0; k < taken; k += 16) {
        __m128i rows[16];
        for (int32_t i = 0; i < 16; i++) rows[i] = _mm_load_si128((const __m128i*)(levels[i] + k));
        store_positions(rows, y + std::min(p + k, positions - 16) * step.channels + c, step.channels, count);
      }
    }
  }
  return good;
}

// Bytes of neighbouring reals of one channel. The last ones go by a copy.
template <class F>
inline bool levels_of_row(const float* x, uint8_t* y, int64_t count, F&& f) {
  bool good = true;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) _mm_storeu_si128((__m128i*)(y + i), f(x + i, 0, good));
  if (i == count) return good;
  float rest[16] = {};
  std::memcpy(rest, x + i, size_t(count - i) * sizeof(float));
  for (int64_t k = count - i; k < 16; k++) rest[k] = rest[0];
  store_bytes(y + i, f(rest, 0, good), int32_t(count - i));
  return good;
}

// Bytes of reals: by planes, by one row where all channels are alike, else by `plain`.
template <class F>
inline bool levels_of_reals(const Plan& plan, const Step& step, const Memory& m, bool uniform, F&& f,
                            bool (*plain)(const Plan&, const Step&, const Memory&)) {
  const float* x = real_input(m, step.x);
  uint8_t* y = m.tensors[step.y];
  const int64_t elements = plan.tensors[step.x].elements, positions = elements / step.channels;
  if (step.channels_first && step.channels > 1 && positions > 1) {
    if (positions < 16) return plain(plan, step, m);
    bool good = true;
    for (int32_t n = 0; n < m.count; n++) good &= levels_of_planes(step, x + n * elements, y + n * elements, positions, f);
    return good;
  }
  return uniform ? levels_of_row(x, y, elements * m.count, f) : plain(plan, step, m);
}

// Whether all channels are quantised alike.
inline bool is_uniform(const Step& step) {
  bool uniform = step.scale.size() == 1 && step.zero_point.size() == 1;
  for (const FloatStep& s : step.arithmetic) uniform &= s.numbers.size() == 1;
  return uniform;
}

inline bool run_quantize_fast(const Plan& plan, const Step& step, const Memory& m) {
  return levels_of_reals(plan, step, m, is_uniform(step),
                         [&](const float* x, int32_t c, bool& good) { return quantized_sixteen(step, x, c, good); }, run_quantize);
}

inline bool run_compare_fast(const Plan& plan, const Step& step, const Memory& m) {
  return levels_of_reals(plan, step, m, step.base.size() == 1,
                         [&](const float* x, int32_t c, bool& good) { return compared_sixteen(step, x, c, good); }, run_compare);
}

// The largest bytes of windows.
inline void run_largest(const Step& step, const Memory& m) {
  int64_t sample = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], 0, &sample);
  uint8_t* y = m.tensors[step.y];
  const int64_t pixels = int64_t(step.pixels.size());
  const int32_t channels = step.channels, taps = int32_t(step.taps.size());
  const int32_t *pixel = step.pixels.data(), *tap = step.taps.data();
  for (int32_t n = 0; n < m.count; n++, x += sample)
    for (int64_t p = 0; p < pixels; p++, y += channels)
      for (int32_t c = 0; c < channels; c += 32) {  // 32 bytes may reach into the slack behind the input
        const uint8_t* at = x + pixel[p] + c;
        __m256i most = _mm256_loadu_si256((const __m256i*)(at + tap[0]));
        for (int32_t t = 1; t < taps; t++) most = _mm256_max_epu8(most, _mm256_loadu_si256((const __m256i*)(at + tap[t])));
        if (c + 32 <= channels) {
          _mm256_storeu_si256((__m256i*)(y + c), most);
          continue;
        }
        alignas(32) uint8_t kept[32];
        _mm256_store_si256((__m256i*)kept, most);
        std::memcpy(y + c, kept, size_t(channels - c));
      }
}

constexpr int32_t kMostAdded = 65535 / 255;  // bytes whose sum fits into 16 bits

// The sums of the levels of windows of not too many taps.
inline void run_sums(const Plan& plan, const Step& step, const Memory& m) {
  int64_t sample = 0;
  const int32_t zero = plan.tensors[step.x].zero, channels = step.channels, taps = int32_t(step.taps.size());
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(zero), &sample);
  int32_t* y = reinterpret_cast<int32_t*>(m.tensors[step.y]);
  const int64_t pixels = int64_t(step.pixels.size());
  const __m256i zeros = _mm256_set1_epi32(zero * taps);
  for (int32_t n = 0; n < m.count; n++, x += sample)
    for (int64_t p = 0; p < pixels; p++, y += channels)
      for (int32_t c = 0; c < channels; c += kBlock) {
        const uint8_t* at = x + step.pixels.data()[p] + c;
        __m256i sum = _mm256_setzero_si256();
        for (int32_t t = 0; t < taps; t++)
          sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)(at + step.taps.data()[t]))));
        alignas(32) int32_t kept[kBlock];
        _mm256_store_si256((__m256i*)kept, _mm256_sub_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum)), zeros));
        _mm256_store_si256((__m256i*)(kept + 8), _mm256_sub_epi32(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(sum, 1)), zeros));
        std::memcpy(y + c, kept, size_t(std::min(kBlock, channels - c)) * sizeof(int32_t));
      }
}

// What of the steps around products has vectors; false where there are none for it.
inline bool run_around(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind != Kind::Pool || plan.tensors[step.x].element != Element::Byte) return false;
  if (!step.maximum && int32_t(step.taps.size()) > kMostAdded) return false;
  if (step.maximum)
    run_largest(step, m);
  else
    run_sums(plan, step, m);
  return true;
}

template <class Tiles>
inline bool run_vectors(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind == Kind::Quantize) return run_quantize_fast(plan, step, m);
  if (step.kind == Kind::Compare) return run_compare_fast(plan, step, m);
  if (run_around(plan, step, m)) return true;
  if (step.packed == nullptr) return run_plain(plan, step, m);
  if (step.packed->is_depthwise)
    run_depthwise(plan, step, static_cast<const PackedDepthwise&>(*step.packed), m);
  else
    run_blocks<Tiles>(plan, step, static_cast<const PackedProduct&>(*step.packed), m);
  return true;
}

}  // namespace
}  // namespace anybit
