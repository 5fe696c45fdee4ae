// The path of processors with AVX512-VNNI that count the bits of 16 words by one instruction, AVX512-VPOPCNTDQ.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vpopcntdq")
#endif
#include "bits.hpp"
#include "winograd.hpp"

namespace anybit {
namespace {

struct WordsOfBits : WideTiles {
  template <int N, int M>
  static void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sums* sums) {
    __m512i differ[N][M];
#pragma GCC unroll 8
    for (auto& row : differ)
#pragma GCC unroll 8
      for (__m512i& count : row) count = _mm512_setzero_si512();
    const size_t size = p.bits.runs.size() * p.bits.steps * kBlock;
    const uint32_t* w = p.bits.words.data() + block * size;
    for (int32_t run : p.bits.runs)
      for (int32_t q = 0; q < p.bits.steps; q++, w += kBlock) {
        __m512i words[M];
#pragma GCC unroll 8
        for (int j = 0; j < M; j++) words[j] = _mm512_loadu_si512(w + j * size);
#pragma GCC unroll 8
        for (int i = 0; i < N; i++) {
          const __m512i x = broadcast_wide(rows[i] + run + 4 * q);
#pragma GCC unroll 8
          for (int j = 0; j < M; j++)
            differ[i][j] = _mm512_add_epi32(differ[i][j], _mm512_popcnt_epi32(_mm512_xor_si512(x, words[j])));
        }
      }
    const __m512i factor = _mm512_set1_epi32(p.bits.factor);
#pragma GCC unroll 8
    for (int j = 0; j < M; j++) {
      const __m512i start = _mm512_loadu_si512(p.bits.starts.data() + (block + j) * kBlock);
#pragma GCC unroll 8
      for (int i = 0; i < N; i++) sums[i * M + j].all = _mm512_sub_epi32(start, _mm512_mullo_epi32(differ[i][j], factor));
    }
  }
};

void prepare(const Plan& plan, Step& step) {
  Bits bits = bits_of_signs(plan, step);
  if (bits.words.empty()) return prepare_filtered(plan, step);
  prepare_by_vectors(plan, step, false);
  static_cast<PackedProduct&>(*step.packed).bits = std::move(bits);
}

bool run(const Plan& plan, const Step& step, const Memory& m) {
  if (!has_bits(step)) return run_filtered(plan, step, m);
  run_bits<WordsOfBits>(plan, step, static_cast<const PackedProduct&>(*step.packed), m);
  return true;
}

}  // namespace

const Kernels avx512vpopcntdq_kernels{"avx512vpopcntdq", 1, prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
