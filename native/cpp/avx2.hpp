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

// What becomes of 16 sums of one pixel.
inline void finish_sums(const PackedProduct& p, const Step& step, const __m256i* sums, size_t block, int64_t to,
                        int32_t first, int32_t count, uint8_t* y) {
  const Epilogue& e = step.epilogue;
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

// Bytes of neighbouring reals of one channel, `apart` bytes from one to the next; whether each has a level.
inline bool quantize_row(const Step& step, const float* x, uint8_t* y, int64_t count, int32_t channel, int64_t apart) {
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

inline bool run_quantize_fast(const Plan& plan, const Step& step, const Memory& m) {
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

template <class Tiles>
inline bool run_vectors(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind == Kind::Quantize) return run_quantize_fast(plan, step, m);
  if (step.packed == nullptr) return run_plain(plan, step, m);
  if (step.packed->is_depthwise)
    run_depthwise(plan, step, static_cast<const PackedDepthwise&>(*step.packed), m);
  else
    run_blocks<Tiles>(plan, step, static_cast<const PackedProduct&>(*step.packed), m);
  return true;
}

}  // namespace
}  // namespace anybit
