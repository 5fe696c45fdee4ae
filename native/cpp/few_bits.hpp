// A vector by a matrix of few bits: its weights are read from memory as 1, 2 or 4 bits each, which is what it takes.
#pragma once
#include "avx512.hpp"

namespace anybit {
namespace {

constexpr size_t kFewBitsBytes = 256 << 10;  // of weights, below which they lie in a cache anyway

// 1 for weights of -1 and 1, 2 for -2 to 1, 4 for -8 to 7, else 8.
inline int32_t bits_of(const Lines<int8_t>& weights) {
  int32_t lo = 0, hi = 0;
  bool is_binary = true;
  for (int8_t w : weights) {
    lo = std::min<int32_t>(lo, w);
    hi = std::max<int32_t>(hi, w);
    is_binary &= w == 1 || w == -1;
  }
  return is_binary ? 1 : lo >= -2 && hi <= 1 ? 2 : lo >= -8 && hi <= 7 ? 4 : 8;
}

// Lays the weights of a product of one pixel and one run besides, if that makes them much shorter.
inline void prepare_few_bits(Step& step) {
  if (step.kind != Kind::Product || step.packed == nullptr || step.packed->is_depthwise || step.pixels.size() != 1) return;
  PackedProduct& p = static_cast<PackedProduct&>(*step.packed);
  FewBits& few = p.few_bits;
  const int32_t bits = p.bytes.size() < kFewBitsBytes || p.runs.size() != 1 ? 8 : bits_of(p.bytes);
  if (bits == 8) return;
  few.bits = bits;
  few.scale = bits == 1 ? 2 : 1;
  few.shift = bits == 1 ? 1 : 1 << (bits - 1);
  const size_t each = size_t(8 / bits), count = (p.steps + each - 1) / each, blocks = size_t(p.blocks) * step.group;
  few.lines.assign(blocks * count * 64, 0);
  for (size_t block = 0; block < blocks; block++)
    for (size_t s = 0; s < size_t(p.steps); s++)
      for (size_t i = 0; i < 64; i++) {
        const int32_t number = (p.bytes[(block * p.steps + s) * 64 + i] + few.shift) / few.scale;
        few.lines[(block * count + s / each) * 64 + i] |= uint8_t(number << (s % each * bits));
      }
}

inline void prepare_by_vectors(const Plan& plan, Step& step, bool in_bytes = true) {
  prepare_wide(plan, step, in_bytes);
  prepare_few_bits(step);
}

// The sums of 16 outputs each of `M` blocks.
template <int kBits, int M>
inline void sums_of_few_bits(const PackedProduct& p, const uint8_t* x, size_t block, __m512i* sums) {
  constexpr int kEach = 8 / kBits;
  const int32_t count = (p.steps + kEach - 1) / kEach;
  const uint8_t* w = p.few_bits.lines.data() + block * count * 64;
  const __m512i mask = _mm512_set1_epi32(((1 << kBits) - 1) * 0x1010101);
  for (int j = 0; j < M; j++) sums[j] = _mm512_setzero_si512();
  for (int32_t line = 0; line < count; line++) {
    __m512i bytes[M];
    for (int j = 0; j < M; j++) bytes[j] = _mm512_loadu_si512(w + (int64_t{j} * count + line) * 64);
#pragma GCC unroll 8
    for (int u = 0; u < kEach; u++) {  // what lies behind the last step, in the slack, meets weights of 0
      const __m512i four = broadcast_wide(x + (int64_t{line} * kEach + u) * 4);
#pragma GCC unroll 4
      for (int j = 0; j < M; j++)
        sums[j] = _mm512_dpbusd_epi32(sums[j], four, _mm512_and_si512(_mm512_srli_epi16(bytes[j], u * kBits), mask));
    }
  }
}

template <int kBits, int M>
inline void finish_few_bits(const Step& step, const PackedProduct& p, const uint8_t* x, __m512i taken, int32_t group,
                            int32_t b, uint8_t* y) {
  __m512i sums[M];
  const size_t block = size_t(group) * p.blocks + b;
  sums_of_few_bits<kBits, M>(p, x, block, sums);
  const int32_t each = step.outputs / step.group;
  for (int j = 0; j < M; j++) {
    const int32_t first = group * each + (b + j) * kBlock;
    const __m512i scaled = kBits == 1 ? _mm512_add_epi32(sums[j], sums[j]) : sums[j];
    finish_wide(p, step, _mm512_sub_epi32(scaled, taken), block + j, first, first, std::min(kBlock, each - (b + j) * kBlock), y);
  }
}

template <int kBits>
inline void run_few_bits(const Step& step, const PackedProduct& p, const uint8_t* x, uint8_t* y) {
  for (int32_t g = 0; g < step.group; g++) {
    const uint8_t* from = x + step.pixels.data()[0] + int64_t{g} * step.inputs + p.runs.data()[0];
    int32_t total = 0;
    for (int32_t i = 0; i < 4 * p.steps; i++) total += from[i];
    const __m512i taken = _mm512_set1_epi32(p.few_bits.shift * total);
    int32_t b = 0;
    for (; b + 4 <= p.blocks; b += 4) finish_few_bits<kBits, 4>(step, p, from, taken, g, b, y);
    for (; b < p.blocks; b++) finish_few_bits<kBits, 1>(step, p, from, taken, g, b, y);
  }
}

// Products by vectors: of one sample by weights of few bits where there are such.
inline bool run_by_vectors(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind != Kind::Product || step.packed == nullptr || step.packed->is_depthwise) return run_wide(plan, step, m);
  const PackedProduct& p = static_cast<const PackedProduct&>(*step.packed);
  if (p.few_bits.lines.empty() || m.count > 1) return run_wide(plan, step, m);
  int64_t sample = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &sample);
  const auto run = p.few_bits.bits == 1 ? run_few_bits<1> : p.few_bits.bits == 2 ? run_few_bits<2> : run_few_bits<4>;
  run(step, p, x, m.tensors[step.y]);
  return true;
}

}  // namespace
}  // namespace anybit
