// The path of processors with AVX2. Products of 16 outputs at a time: of 4 pixels each, or of one.
#include "vectors.hpp"

// For what is defined here alone: a template of the library that was made for this processor could be the one that the
// linker keeps for all paths.
#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#include "bits.hpp"

namespace anybit {
namespace {

// The sums of `N` pixels and 16 outputs.
template <int N>
inline void tile_short(const PackedProduct& p, const uint8_t* const* rows, const int8_t* w, Sixteen* sums) {
  const __m256i one = _mm256_set1_epi16(1), zero = _mm256_setzero_si256();
  __m256i shorts[N][2];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i].half[j] = shorts[i][j] = zero;
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
          sums[i].half[j] = _mm256_add_epi32(sums[i].half[j], _mm256_madd_epi16(shorts[i][j], one));
          shorts[i][j] = zero;
        }
    }
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i].half[j] = _mm256_add_epi32(sums[i].half[j], _mm256_madd_epi16(shorts[i][j], one));
}

template <int N>
inline void tile_long(const PackedProduct& p, const uint8_t* const* rows, const int8_t* w, Sixteen* sums) {
  const __m256i one = _mm256_set1_epi16(1);
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i].half[j] = _mm256_setzero_si256();
  for (int32_t run : p.runs)
    for (int32_t q = 0; q < p.steps; q++) {
      const __m256i w0 = _mm256_loadu_si256((const __m256i*)w), w1 = _mm256_loadu_si256((const __m256i*)(w + 32));
      w += 64;
#pragma GCC unroll 4
      for (int i = 0; i < N; i++) {
        const __m256i x = broadcast(rows[i] + run + 4 * q);
        sums[i].half[0] = _mm256_add_epi32(sums[i].half[0], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w0), one));
        sums[i].half[1] = _mm256_add_epi32(sums[i].half[1], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w1), one));
      }
    }
}

template <int N>
inline void tile_wide(const PackedProduct& p, const uint8_t* const* rows, const int16_t* w, Sixteen* sums) {
  const __m256i first = _mm256_set1_epi32(int32_t(0x80018000u)), second = _mm256_set1_epi32(int32_t(0x80038002u));
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) sums[i].half[j] = _mm256_setzero_si256();
  for (int32_t run : p.runs)
    for (int32_t q = 0; q < p.steps; q++) {
      __m256i v[4];
      for (int j = 0; j < 4; j++) v[j] = _mm256_loadu_si256((const __m256i*)(w + 16 * j));
      w += 64;
#pragma GCC unroll 4
      for (int i = 0; i < N; i++) {
        const __m256i x = broadcast(rows[i] + run + 4 * q);
        const __m256i a = _mm256_shuffle_epi8(x, first), b = _mm256_shuffle_epi8(x, second);
        sums[i].half[0] = _mm256_add_epi32(sums[i].half[0], _mm256_add_epi32(_mm256_madd_epi16(a, v[0]), _mm256_madd_epi16(b, v[2])));
        sums[i].half[1] = _mm256_add_epi32(sums[i].half[1], _mm256_add_epi32(_mm256_madd_epi16(a, v[1]), _mm256_madd_epi16(b, v[3])));
      }
    }
}

template <int N>
inline void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sixteen* sums) {
  const size_t size = p.runs.size() * p.steps * kBlock * 4;
  switch (p.sums) {
    case Sums::Short: tile_short<N>(p, rows, p.bytes.data() + block * size, sums); break;
    case Sums::Long: tile_long<N>(p, rows, p.bytes.data() + block * size, sums); break;
    case Sums::Wide: tile_wide<N>(p, rows, p.shorts.data() + block * size, sums); break;
    case Sums::Fours: break;  // of other paths
  }
}

struct Tiles {
  using Sums = Sixteen;
  static constexpr int kRows = 4, kWide = 1, kWideOne = 1;
  template <int N, int M>
  static void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sums* sums) {
    static_assert(M == 1);
    anybit::tile<N>(p, rows, block, sums);
  }
  static void finish(const PackedProduct& p, const Step& step, const Sums& sums, size_t block, int64_t to, int32_t first,
                     int32_t count, uint8_t* y) {
    finish_sums(p, step, sums.half, block, to, first, count, y);
  }
};

void prepare(const Plan& plan, Step& step) {
  Bits bits = bits_of_signs(plan, step);
  if (step.kind == Kind::Product) prepare_product(plan, step, false, bits.words.empty());
  if (!bits.words.empty()) static_cast<PackedProduct&>(*step.packed).bits = std::move(bits);
}

bool run(const Plan& plan, const Step& step, const Memory& m) {
  if (!has_bits(step)) return run_vectors<Tiles>(plan, step, m);
  run_bits<TableOfBits>(plan, step, static_cast<const PackedProduct&>(*step.packed), m);
  return true;
}

}  // namespace

const Kernels avx2_kernels{"avx2", 1, prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
