// Products of two levels by weights of -1 and 1: 32 terms of an output are the bits of a word, and a population count of
// where they differ from those of the weights is what the sum lacks.
//   sum = low * (sum of w) + (high - low) * (P - popcount(x ^ w)),  P = number of weights of 1
#pragma once
#include "avx2.hpp"

namespace anybit {
namespace {

constexpr int32_t kWord = 32;            // terms
constexpr int32_t kLeastInBits = 32;     // channels from which on words are worth it

inline int32_t words_of(int32_t channels) { return (channels + kWord - 1) / kWord; }

// The bits of the weights of a step, if its input holds two levels alone and all weights are -1 or 1.
inline Bits bits_of_signs(const Plan& plan, const Step& step) {
  Bits bits;
  if (step.kind != Kind::Product || plan.tensors[step.x].element != Element::Byte || step.group > 1) return bits;
  const Tensor& x = plan.tensors[step.x];
  if (x.first < 0 || step.inputs < kLeastInBits) return bits;
  if (step.window.is_padded() && x.zero != x.first && x.zero != x.second) return bits;
  for (int8_t w : step.weights)
    if (w != 1 && w != -1) return bits;
  const int32_t blocks = (step.outputs + kBlock - 1) / kBlock;
  const int32_t words = words_of(step.inputs), taps = int32_t(step.taps.size());
  const bool joined = step.window.dilations[1] == 1;  // words of neighbouring taps lie side by side
  const int32_t each = joined ? step.window.kernel[1] : 1, difference = x.second - x.first;
  bits.steps = each * words;
  bits.high = uint8_t(x.second);
  bits.factor = difference;
  const auto place = [&](int32_t bytes) { return bytes / step.channels * words * int32_t(sizeof(uint32_t)); };
  for (int32_t t = 0; t < taps; t += each) bits.runs.push_back(place(step.taps[t]));
  for (int32_t pixel : step.pixels) bits.pixels.push_back(place(pixel));
  bits.words.assign(size_t(blocks) * taps * words * kBlock, 0);
  bits.starts.assign(size_t(blocks) * kBlock, 0);
  for (int32_t o = 0; o < step.outputs; o++) {
    const int8_t* from = step.weights.data() + size_t(o) * taps * step.inputs;
    int32_t ones = 0;
    for (int32_t t = 0; t < taps; t++)
      for (int32_t i = 0; i < step.inputs; i++) {
        if (from[t * step.inputs + i] < 0) continue;
        const size_t line = (size_t(o / kBlock) * taps + t) * words + i / kWord;
        bits.words[line * kBlock + o % kBlock] |= uint32_t{1} << i % kWord;
        ones++;
      }
    bits.starts[o] = x.first * (2 * ones - taps * step.inputs) + difference * ones;
  }
  return bits;
}

// A word of 32 channels after the other, of each pixel; what lies behind the last channel is 0.
inline void pack_bits(const uint8_t* x, int64_t pixels, int32_t channels, uint8_t high, uint32_t* to) {
  const __m256i set = _mm256_set1_epi8(char(high));
  for (int64_t i = 0; i < pixels; i++, x += channels)
    for (int32_t c = 0; c < channels; c += kWord) {  // 32 bytes may reach into the slack behind the input
      const __m256i same = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i*)(x + c)), set);
      const uint32_t kept = channels - c >= kWord ? ~uint32_t{0} : (uint32_t{1} << (channels - c)) - 1;
      *to++ = uint32_t(_mm256_movemask_epi8(same)) & kept;
    }
}

template <class P>
inline void run_bits(const Plan& plan, const Step& step, const PackedProduct& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &sample);
  const int64_t pixels = sample / step.channels, words = words_of(step.channels);
  thread_local Lines<uint32_t> packed;  // kept for the next run
  if (packed.size() < size_t(pixels * m.count * words)) packed.resize(size_t(pixels * m.count * words));
  pack_bits(x, pixels * m.count, step.channels, p.bits.high, packed.data());
  const uint8_t* from = reinterpret_cast<const uint8_t*>(packed.data());
  run_blocks_of_rows<P>(step, p, from, pixels * words * int64_t(sizeof(uint32_t)), m.count, p.bits.pixels, 0, m.tensors[step.y]);
}

inline bool has_bits(const Step& step) {
  return step.kind == Kind::Product && step.packed != nullptr && !step.packed->is_depthwise &&
         !static_cast<const PackedProduct&>(*step.packed).bits.words.empty();
}

// Sums by the bytes of a table of 16, as processors without an instruction for it count bits.
struct TableOfBits {
  using Sums = Sixteen;
  static constexpr int kRows = 2, kWide = 1, kWideOne = 1;
  static constexpr int32_t kMostInBytes = 31;  // words whose counts a byte holds

  template <int N, int M>
  static void tile(const PackedProduct& p, const uint8_t* const* rows, size_t block, Sums* sums) {
    static_assert(M == 1);
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi8(1), two = _mm256_set1_epi16(1);
    __m256i bytes[N][2], totals[N][2];
    for (int i = 0; i < N; i++)
      for (int h = 0; h < 2; h++) bytes[i][h] = totals[i][h] = _mm256_setzero_si256();
    const uint32_t* w = p.bits.words.data() + block * p.bits.runs.size() * p.bits.steps * kBlock;
    const auto widen = [&]() __attribute__((always_inline)) {
      for (int i = 0; i < N; i++)
        for (int h = 0; h < 2; h++) {
          totals[i][h] = _mm256_add_epi32(totals[i][h], _mm256_madd_epi16(_mm256_maddubs_epi16(bytes[i][h], one), two));
          bytes[i][h] = _mm256_setzero_si256();
        }
    };
    int32_t room = kMostInBytes;
    for (int32_t run : p.bits.runs)
      for (int32_t q = 0; q < p.bits.steps; q++, w += kBlock) {
        const __m256i halves[2] = {_mm256_loadu_si256((const __m256i*)w), _mm256_loadu_si256((const __m256i*)(w + 8))};
#pragma GCC unroll 4
        for (int i = 0; i < N; i++) {
          const __m256i x = broadcast(rows[i] + run + 4 * q);
#pragma GCC unroll 2
          for (int h = 0; h < 2; h++) {
            const __m256i differ = _mm256_xor_si256(x, halves[h]);
            const __m256i first = _mm256_shuffle_epi8(counts, _mm256_and_si256(differ, low));
            const __m256i second = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(differ, 4), low));
            bytes[i][h] = _mm256_add_epi8(bytes[i][h], _mm256_add_epi8(first, second));
          }
        }
        if (--room == 0) {
          widen();
          room = kMostInBytes;
        }
      }
    widen();
    const __m256i factor = _mm256_set1_epi32(p.bits.factor);
    for (int i = 0; i < N; i++)
      for (int h = 0; h < 2; h++) {
        const __m256i start = _mm256_loadu_si256((const __m256i*)(p.bits.starts.data() + block * kBlock + 8 * h));
        sums[i].half[h] = _mm256_sub_epi32(start, _mm256_mullo_epi32(totals[i][h], factor));
      }
  }
  static void finish(const PackedProduct& p, const Step& step, const Sums& sums, size_t block, int64_t to, int32_t first,
                     int32_t count, uint8_t* y) {
    finish_sums(p, step, sums.half, block, to, first, count, y);
  }
};

}  // namespace
}  // namespace anybit
