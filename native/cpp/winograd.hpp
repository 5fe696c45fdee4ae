// Convolutions of 3 x 3 by Winograd's minimal filtering of 2 x 2 outputs, exact in integers: 16 products instead of 36.
//   4 y = A' ((G w G') * (B' x B)) A,  with  B' = 1  0 -1  0    G = 2  0  0    A' = 1  1  1  0
//                                              0  1  1  0        1  1  1         0  1 -1 -1
//                                              0 -1  1  0        1 -1  1
//                                              0  1  0 -1        0  0  2
// Transformed weights fit into signed bytes and transformed levels, shifted, into unsigned ones where both have few bits.
// Source: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, CVPR 2016.
#pragma once
#include "few_bits.hpp"

namespace anybit {
namespace {

constexpr int32_t kPositions = 16;                     // of a tile of 4 x 4 inputs, which makes 2 x 2 outputs
constexpr int32_t kLeastFiltered = 32;                 // channels below which transforming takes what it saves
constexpr int32_t kTilesAtOnce = 8;
constexpr int64_t kTransformedBytes = int64_t{512} << 10;  // of the tiles that all weights are multiplied with in turn
constexpr int32_t kCentre = 5;                         // the position of sums alone, which are never negative

inline int32_t whole_lines(int32_t channels) { return (channels + 63) / 64 * 64; }

// G of three rows, element by element; not 0 where a number does not fit.
template <class In, class Out>
inline int transform_rows(const In* a, const In* b, const In* c, int32_t count, Out* __restrict p, Out* __restrict q,
                          Out* __restrict r, Out* __restrict s) {
  int16_t lost = 0;
  for (int32_t i = 0; i < count; i++) {
    const int16_t first = int16_t(2 * a[i]), sum = int16_t(a[i] + b[i] + c[i]);
    const int16_t difference = int16_t(a[i] - b[i] + c[i]), last = int16_t(2 * c[i]);
    p[i] = Out(first), q[i] = Out(sum), r[i] = Out(difference), s[i] = Out(last);
    lost |= int16_t((Out(first) ^ first) | (Out(sum) ^ sum) | (Out(difference) ^ difference) | (Out(last) ^ last));
  }
  return lost;
}

// G w G' of the weights of one output, [9][channels], as [positions][apart]; false where one does not fit into a byte.
inline bool transform_weights(const int8_t* w, int32_t channels, std::vector<int16_t>& columns, int8_t* to, int64_t apart) {
  columns.resize(size_t(12) * channels);
  for (int k = 0; k < 3; k++) {
    int16_t* at = columns.data() + k * channels;
    transform_rows(w + k * channels, w + (3 + k) * channels, w + (6 + k) * channels, channels, at, at + 3 * channels,
                   at + 6 * channels, at + 9 * channels);
  }
  int lost = 0;
  for (int k = 0; k < 4; k++) {
    const int16_t* from = columns.data() + 3 * k * channels;
    int8_t* at = to + 4 * k * apart;
    lost |= transform_rows(from, from + channels, from + 2 * channels, channels, at, at + apart, at + 2 * apart, at + 3 * apart);
  }
  return lost == 0;
}

// The transformed weights of a step, where the filtering takes at most two thirds of the products.
inline Filters filters_of(const Plan& plan, const Step& step) {
  Filters filters, none;
  if (step.kind != Kind::Product || plan.tensors[step.x].element != Element::Byte || step.group > 1) return none;
  const Window& w = step.window;
  for (int i = 0; i < 2; i++)
    if (w.kernel[i] != 3 || w.strides[i] != 1 || w.dilations[i] != 1) return none;
  const Tensor& x = plan.tensors[step.x];
  const int32_t highest = std::max(std::clamp(x.hi, 0, 255), x.zero), inputs = step.inputs;
  const int64_t tiles = int64_t{(w.output[0] + 1) / 2} * ((w.output[1] + 1) / 2), pixels = int64_t{w.output[0]} * w.output[1];
  if (x.zero < 0 || highest > 63 || inputs < kLeastFiltered || 3 * kPositions * tiles > 2 * 9 * pixels) return none;
  const int32_t steps = (inputs + 3) / 4, blocks = (step.outputs + kBlock - 1) / kBlock;
  filters.steps = steps;
  filters.shift = 2 * highest;
  filters.bytes.assign(size_t(blocks) * kPositions * steps * kBlock * 4, 0);
  filters.starts.assign(size_t(blocks) * kPositions * kBlock, 0);
  std::vector<int16_t> columns;
  const size_t row = size_t(kPositions) * steps * 4 + 64;  // a line more: powers of two would share few lines of a cache
  std::vector<int8_t> block(kBlock * row);                 // [outputs][positions][channels]
  for (int32_t b = 0; b < blocks; b++) {
    std::fill(block.begin(), block.end(), int8_t{0});
    for (int32_t o = b * kBlock; o < std::min(step.outputs, (b + 1) * kBlock); o++) {
      const int8_t* from = step.weights.data() + size_t(o) * 9 * inputs;
      int8_t* to = block.data() + size_t(o % kBlock) * row;
      if (4 * int64_t{highest} * magnitude_of(from, size_t(9) * inputs) > INT32_MAX) return none;
      if (!transform_weights(from, inputs, columns, to, int64_t{steps} * 4)) return none;
      for (int32_t t = 0; t < kPositions; t++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < steps * 4; i++) sum += to[t * steps * 4 + i];
        if (t != kCentre) filters.starts[(size_t(b) * kPositions + t) * kBlock + o % kBlock] = -filters.shift * sum;
      }
    }
    int8_t* to = filters.bytes.data() + size_t(b) * kPositions * steps * kBlock * 4;
    for (int32_t t = 0; t < kPositions * steps; t++)
      for (int32_t o = 0; o < kBlock; o++, to += 4) std::memcpy(to, block.data() + o * row + size_t(t) * 4, 4);
  }
  return filters;
}

// B' x B of the tile whose rows and columns begin `rows` and `columns` bytes behind `x`, 64 channels at a time: byte
// `apart` times the position of `to`. What lies behind the last channel meets weights of 0.
inline void transform_tile(const uint8_t* x, const int64_t* rows, const int64_t* columns, int32_t channels, int32_t shift,
                           uint8_t* to, int64_t apart) {
  const __m512i up = _mm512_set1_epi8(char(shift));
  for (int32_t c = 0; c < channels; c += 64) {
    __m512i v[4][4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      const uint8_t* at = x + columns[k] + c;
      const __m512i a = _mm512_loadu_si512(at + rows[0]), b = _mm512_loadu_si512(at + rows[1]);
      const __m512i d = _mm512_loadu_si512(at + rows[2]), e = _mm512_loadu_si512(at + rows[3]);
      v[0][k] = _mm512_sub_epi8(a, d);
      v[1][k] = _mm512_add_epi8(b, d);
      v[2][k] = _mm512_sub_epi8(d, b);
      v[3][k] = _mm512_sub_epi8(b, e);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      const __m512i sum = _mm512_add_epi8(v[r][1], v[r][2]);
      uint8_t* at = to + c + 4 * r * apart;
      _mm512_store_si512(at, _mm512_add_epi8(_mm512_sub_epi8(v[r][0], v[r][2]), up));
      _mm512_store_si512(at + apart, r == 1 ? sum : _mm512_add_epi8(sum, up));
      _mm512_store_si512(at + 2 * apart, _mm512_add_epi8(_mm512_sub_epi8(v[r][2], v[r][1]), up));
      _mm512_store_si512(at + 3 * apart, _mm512_add_epi8(_mm512_sub_epi8(v[r][1], v[r][3]), up));
    }
  }
}

// Tiles of all samples, one after the other.
struct TileWalk {
  int64_t x_row, sample;        // bytes of a padded row and of a padded sample
  int32_t wide, tiles;          // tiles of a row of tiles, and of a sample
  const Window* window;

  struct Place {
    int64_t sample;
    int32_t row, column;  // of the first output
  };
  Place at(int64_t tile) const {
    const int64_t n = tile / tiles;
    const int32_t in = int32_t(tile - n * tiles);
    return {n, in / wide * 2, in % wide * 2};
  }
};

inline void transform_tiles(const TileWalk& walk, const Step& step, const PackedProduct& p, const uint8_t* x, int64_t first,
                            int64_t count, uint8_t* to, int64_t apart) {
  const Window& w = *walk.window;
  const int32_t channels = step.inputs, line = whole_lines(channels);
  for (int64_t i = 0; i < count; i++) {
    const TileWalk::Place place = walk.at(first + i);
    int64_t rows[4], columns[4];  // of an output that is not there, anything may be read
    for (int k = 0; k < 4; k++) {
      rows[k] = std::min(place.row + k, w.padded[0] - 1) * walk.x_row;
      columns[k] = int64_t{std::min(place.column + k, w.padded[1] - 1)} * channels;
    }
    transform_tile(x + place.sample * walk.sample, rows, columns, channels, p.filters.shift, to + i * line, apart);
  }
}

// The products of `N` tiles, `line` bytes from one to the next, at one position, by `M` blocks: [N][M][16].
template <int N, int M>
inline void multiply_position(const PackedProduct& p, const uint8_t* x, int64_t line, size_t block, int32_t position,
                              int32_t* to) {
  __m512i sums[N][M];
#pragma GCC unroll 2
  for (int j = 0; j < M; j++) {
    const __m512i start = _mm512_load_si512(p.filters.starts.data() + ((block + j) * kPositions + position) * kBlock);
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) sums[i][j] = start;
  }
  const uint8_t* rows[N];
  for (int i = 0; i < N; i++) rows[i] = x + i * line;
  const int32_t steps = p.filters.steps;
  const size_t size = size_t(kPositions) * steps * kBlock * 4;
  add_steps<N, M>(rows, 0, steps, p.filters.bytes.data() + (block * kPositions + position) * steps * kBlock * 4, size, sums);
#pragma GCC unroll 8
  for (int i = 0; i < N; i++)
#pragma GCC unroll 2
    for (int j = 0; j < M; j++) _mm512_store_si512(to + (i * M + j) * kBlock, sums[i][j]);
}

// A' m A / 4 of 16 outputs of one tile, whose positions lie `apart` sums from each other: [2][2].
inline void transformed_sums(const int32_t* from, int64_t apart, __m512i* sums) {
  __m512i first[4], second[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m512i a = _mm512_load_si512(from + k * apart), b = _mm512_load_si512(from + (4 + k) * apart);
    const __m512i c = _mm512_load_si512(from + (8 + k) * apart), d = _mm512_load_si512(from + (12 + k) * apart);
    first[k] = _mm512_add_epi32(_mm512_add_epi32(a, b), c);
    second[k] = _mm512_sub_epi32(_mm512_sub_epi32(b, c), d);
  }
  const auto row = [](const __m512i* m, __m512i* to) {
    to[0] = _mm512_srai_epi32(_mm512_add_epi32(_mm512_add_epi32(m[0], m[1]), m[2]), 2);
    to[1] = _mm512_srai_epi32(_mm512_sub_epi32(_mm512_sub_epi32(m[1], m[2]), m[3]), 2);
  };
  row(first, sums);
  row(second, sums + 2);
}

// The outputs of one tile by one or two blocks, of which `left` outputs are there.
template <int M>
inline void finish_filtered(const PackedProduct& p, const Step& step, const Columns& columns, const TileWalk& walk,
                            int64_t tile, const int32_t* from, int64_t apart, size_t block, int32_t left, uint8_t* y) {
  const Window& w = *walk.window;
  const TileWalk::Place place = walk.at(tile);
  __m512i sums[M][4];
  for (int j = 0; j < M; j++) transformed_sums(from + j * kBlock, apart, sums[j]);
  const int32_t first = int32_t(block) * kBlock;
  const bool has_next = place.column + 1 < w.output[1];
  for (int r = 0; r < 2 && place.row + r < w.output[0]; r++) {
    const int64_t pixel = (place.sample * w.output[0] + place.row + r) * w.output[1] + place.column;
    if constexpr (M == 2) {
      const int next = 2 * r + has_next;
      const __m512i four[4] = {sums[0][2 * r], sums[1][2 * r], sums[0][next], sums[1][next]};
      finish_pair(p, step, columns, four, block, pixel, pixel + has_next, first, left, y);
    } else {
      for (int k = 0; k <= has_next; k++)
        finish_wide(p, step, sums[0][2 * r + k], block, (pixel + k) * step.outputs + first, first, std::min(kBlock, left), y);
    }
  }
}

// `M` blocks of all outputs of some tiles.
template <int M>
inline void run_filtered_blocks(const Step& step, const PackedProduct& p, const TileWalk& walk, const uint8_t* x,
                                int64_t apart, int64_t first, int64_t count, int32_t b, uint8_t* y) {
  alignas(64) int32_t sums[kPositions * kTilesAtOnce * M * kBlock];
  const int32_t line = whole_lines(step.inputs), left = step.outputs - b * kBlock;
  const Columns columns = columns_of(p, step.epilogue, size_t(b), M);
  for (int64_t i = 0; i < count; i += kTilesAtOnce) {
    const int32_t taken = int32_t(std::min<int64_t>(kTilesAtOnce, count - i));
    const bool is_half = taken <= kTilesAtOnce / 2;  // what is made of tiles behind the last is left alone
    const int64_t each = (is_half ? kTilesAtOnce / 2 : kTilesAtOnce) * M * kBlock;
    for (int32_t t = 0; t < kPositions; t++) {
      const auto multiply = is_half ? multiply_position<kTilesAtOnce / 2, M> : multiply_position<kTilesAtOnce, M>;
      multiply(p, x + t * apart + i * line, line, size_t(b), t, sums + t * each);
    }
    for (int32_t k = 0; k < taken; k++)
      finish_filtered<M>(p, step, columns, walk, first + i + k, sums + k * M * kBlock, each, size_t(b), left, y);
  }
}

inline void run_winograd(const Plan& plan, const Step& step, const PackedProduct& p, const Memory& m) {
  TileWalk walk{};
  const Window& w = step.window;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &walk.sample);
  walk.window = &w;
  walk.x_row = int64_t{w.padded[1]} * step.inputs;
  walk.wide = (w.output[1] + 1) / 2;
  walk.tiles = (w.output[0] + 1) / 2 * walk.wide;
  thread_local Lines<uint8_t> transformed;  // [positions][tiles][channels], kept for the next run
  const int32_t line = whole_lines(step.inputs);
  const int64_t all = int64_t{walk.tiles} * m.count;
  const int64_t most = std::max<int64_t>(kTransformedBytes / (kPositions * line) / kTilesAtOnce, 1) * kTilesAtOnce;
  const int64_t together = std::min(most, (all + kTilesAtOnce - 1) / kTilesAtOnce * kTilesAtOnce), apart = together * line;
  if (transformed.size() < size_t(kPositions * apart)) transformed.resize(size_t(kPositions * apart));
  for (int64_t first = 0; first < all; first += together) {
    const int64_t count = std::min(together, all - first);
    transform_tiles(walk, step, p, x, first, count, transformed.data(), apart);
    int32_t b = 0;
    for (; b + 2 <= p.blocks; b += 2)
      run_filtered_blocks<2>(step, p, walk, transformed.data(), apart, first, count, b, m.tensors[step.y]);
    for (; b < p.blocks; b++)
      run_filtered_blocks<1>(step, p, walk, transformed.data(), apart, first, count, b, m.tensors[step.y]);
  }
}

inline void prepare_filtered(const Plan& plan, Step& step) {
  Filters filters = filters_of(plan, step);
  prepare_by_vectors(plan, step, filters.bytes.empty());
  if (!filters.bytes.empty()) static_cast<PackedProduct&>(*step.packed).filters = std::move(filters);
}

// What vectors run, and convolutions by transformed tiles where their weights are laid for it.
inline bool run_filtered(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind != Kind::Product || step.packed == nullptr || step.packed->is_depthwise) return run_by_vectors(plan, step, m);
  const PackedProduct& p = static_cast<const PackedProduct&>(*step.packed);
  if (p.filters.bytes.empty()) return run_by_vectors(plan, step, m);
  run_winograd(plan, step, p, m);
  return true;
}

}  // namespace
}  // namespace anybit
