// What paths with vectors of 64 bytes share: products by AVX512-VNNI, and their epilogues.
#pragma once
#include "avx2.hpp"

namespace anybit {
namespace {

inline void store_sixteen(uint8_t* to, __m512i levels, int32_t count) {
  store_bytes(to, _mm512_cvtepi32_epi8(levels), count);
}

// What becomes of 16 sums of one pixel.
inline void finish_wide(const PackedProduct& p, const Step& step, __m512i sums, size_t block, int64_t to, int32_t first,
                        int32_t count, uint8_t* y) {
  const Epilogue& e = step.epilogue;
  const size_t at = block * kBlock;
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

inline __m512i broadcast_wide(const uint8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

struct WideTiles {
  struct Sums {
    __m512i all;
  };
  static constexpr int kRows = 8, kWide = 2, kWideOne = 8;

  // The four terms at `at` of each pixel, added to the sums of its outputs.
  template <int N, int M>
  static void add(const uint8_t* const* rows, int64_t at, const int8_t* w, size_t size, Sums* sums) {
    __m512i four[M];
    for (int j = 0; j < M; j++) four[j] = _mm512_loadu_si512(w + j * size);
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) {
      const __m512i x = broadcast_wide(rows[i] + at);
#pragma GCC unroll 8
      for (int j = 0; j < M; j++) sums[i * M + j].all = _mm512_dpbusd_epi32(sums[i * M + j].all, x, four[j]);
    }
  }

  template <int N, int M>
  static void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sums* sums) {
    constexpr int kParts = N * M >= 8 ? 1 : 4;  // sums that do not wait for each other
    const size_t size = p.runs.size() * p.steps * kBlock * 4;
    const int8_t* w = p.bytes.data() + block * size;
    Sums parts[kParts][N * M];
    for (auto& part : parts)
      for (Sums& sum : part) sum.all = _mm512_setzero_si512();
    for (int32_t run : p.runs) {
      int32_t q = 0;
      for (; q + kParts <= p.steps; q += kParts)
#pragma GCC unroll 4
        for (int u = 0; u < kParts; u++, w += kBlock * 4) add<N, M>(rows, run + 4 * (q + u), w, size, parts[u]);
      for (; q < p.steps; q++, w += kBlock * 4) add<N, M>(rows, run + 4 * q, w, size, parts[0]);
    }
    for (int i = 0; i < N * M; i++) {
      sums[i] = parts[0][i];
      for (int u = 1; u < kParts; u++) sums[i].all = _mm512_add_epi32(sums[i].all, parts[u][i].all);
    }
  }
  static void finish(const PackedProduct& p, const Step& step, const Sums& sums, size_t block, int64_t to, int32_t first,
                     int32_t count, uint8_t* y) {
    finish_wide(p, step, sums.all, block, to, first, count, y);
  }
};

}  // namespace
}  // namespace anybit
