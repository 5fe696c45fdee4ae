// The path of processors with AVX-VNNI: four products of bytes are added to a sum of 32 bits by one instruction.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2,avxvnni")
#endif
#include "avx2.hpp"

namespace anybit {
namespace {

struct Tiles {
  using Sums = Sixteen;
  static constexpr int kRows = 6, kWide = 1, kWideOne = 4;

  // The four terms at `at` of each pixel, added to the sums of its outputs.
  template <int N, int M>
  static void add(const uint8_t* const* rows, int64_t at, const int8_t* w, size_t size, Sums* sums) {
#pragma GCC unroll 6
    for (int i = 0; i < N; i++) {
      const __m256i x = broadcast(rows[i] + at);
#pragma GCC unroll 4
      for (int j = 0; j < M; j++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
          const __m256i four = _mm256_loadu_si256((const __m256i*)(w + j * size + 32 * h));
          sums[i * M + j].half[h] = _mm256_dpbusd_avx_epi32(sums[i * M + j].half[h], x, four);
        }
    }
  }

  template <int N, int M>
  static void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sums* sums) {
    constexpr int kParts = N * M >= 4 ? 1 : 4;  // sums that do not wait for each other
    const size_t size = p.runs.size() * p.steps * kBlock * 4;
    const int8_t* w = p.bytes.data() + block * size;
    Sums parts[kParts][N * M];
    for (auto& part : parts)
      for (Sums& sum : part) sum.half[0] = sum.half[1] = _mm256_setzero_si256();
    for (int32_t run : p.runs) {
      int32_t q = 0;
      for (; q + kParts <= p.steps; q += kParts)
#pragma GCC unroll 4
        for (int u = 0; u < kParts; u++, w += kBlock * 4) add<N, M>(rows, run + 4 * (q + u), w, size, parts[u]);
      for (; q < p.steps; q++, w += kBlock * 4) add<N, M>(rows, run + 4 * q, w, size, parts[0]);
    }
    for (int i = 0; i < N * M; i++) {
      sums[i] = parts[0][i];
      for (int u = 1; u < kParts; u++)
        for (int h = 0; h < 2; h++) sums[i].half[h] = _mm256_add_epi32(sums[i].half[h], parts[u][i].half[h]);
    }
  }
  static void finish(const PackedProduct& p, const Step& step, const Sums& sums, size_t block, int64_t to, int32_t first,
                     int32_t count, uint8_t* y) {
    finish_sums(p, step, sums.half, block, to, first, count, y);
  }
};

void prepare(const Plan& plan, Step& step) {
  if (step.kind == Kind::Product) prepare_product(plan, step, true);
}

bool run(const Plan& plan, const Step& step, const Memory& m) { return run_vectors<Tiles>(plan, step, m); }

}  // namespace

const Kernels avxvnni_kernels{"avxvnni", 1, prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
