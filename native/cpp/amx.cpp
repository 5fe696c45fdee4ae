// The path of processors with AMX: 16 outputs of 16 pixels and 64 terms by one instruction; few pixels by AVX512-VNNI.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")
#endif
#include "few_bits.hpp"

namespace anybit {
namespace {

constexpr int32_t kTileRows = 16, kTileBytes = 64, kTileSize = kTileRows * kTileBytes;
constexpr int32_t kTileSteps = kTileBytes / 4;
constexpr int32_t kMostGathered = 16;  // tiles of a pixel that is copied into one piece
constexpr int32_t kFewRows = 4;        // fewer rows than these are left to vectors

// Weights as tiles besides: [blocks of all groups][tiles][16 steps][16 outputs][4 terms], filled up with zeros, so that
// it does no harm that the tile of a pixel holds what lies behind its bytes.
struct PackedTiles : PackedProduct {
  explicit PackedTiles(PackedProduct&& product) : PackedProduct(std::move(product)) {}
  Lines<int8_t> tiles;
  std::vector<int32_t> places;  // of each tile, how far it lies from the first byte of a pixel
  std::vector<int32_t> stacked;  // likewise in a copy of 16 pixels, tile by tile
  bool is_gathered = false;     // whether the runs of a pixel are copied side by side
  int32_t distance = -1;        // from one pixel to the next where it is always the same; else -1
};

void prepare(const Plan& plan, Step& step) {
  prepare_by_vectors(plan, step);
  if (step.kind != Kind::Product || step.packed == nullptr || step.packed->is_depthwise) return;
  auto packed = std::make_unique<PackedTiles>(std::move(static_cast<PackedProduct&>(*step.packed)));
  PackedTiles& p = *packed;
  const int32_t runs = int32_t(p.runs.size()), steps = runs * p.steps;
  const int32_t apart = (p.steps + kTileSteps - 1) / kTileSteps * runs, together = (steps + kTileSteps - 1) / kTileSteps;
  p.is_gathered = 2 * together <= apart && together <= kMostGathered;
  const int32_t count = p.is_gathered ? together : apart, each = apart / runs;
  const size_t blocks = size_t(p.blocks) * step.group;
  p.tiles.assign(blocks * count * kTileSize, 0);
  for (size_t block = 0; block < blocks; block++)
    for (int32_t s = 0; s < steps; s++) {
      const size_t to = p.is_gathered ? s : size_t(s / p.steps) * each * kTileSteps + s % p.steps;
      std::memcpy(p.tiles.data() + (block * count * kTileSteps + to) * kTileBytes,
                  p.bytes.data() + (block * steps + s) * kTileBytes, kTileBytes);
    }
  for (int32_t t = 0; t < count; t++)
    p.places.push_back(p.is_gathered ? t * kTileBytes : p.runs[t / each] + t % each * kTileBytes);
  for (int32_t t = 0; t < count; t++) p.stacked.push_back(t * kTileSize);
  if (step.pixels.size() > 1) p.distance = step.pixels[1] - step.pixels[0];
  for (size_t i = 1; i < step.pixels.size(); i++)
    if (step.pixels[i] - step.pixels[i - 1] != p.distance) p.distance = -1;
  step.packed = std::move(packed);
}

// Keeps the compiler from moving what it writes to memory behind instructions of tiles that read it, or the reverse.
inline void fence() { asm volatile("" ::: "memory"); }

// The shape of the tiles while one step runs; other code of the thread finds none of it.
class Configured {
 public:
  explicit Configured(int32_t rows) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    static_assert(sizeof(shape) == 64);
    for (int t = 0; t < 8; t++) {
      shape.bytes[t] = kTileBytes;
      shape.rows[t] = uint8_t(t < 6 ? rows : kTileSteps);
    }
    fence();
    _tile_loadconfig(&shape);
    fence();
  }
  Configured(const Configured&) = delete;
  Configured& operator=(const Configured&) = delete;
  ~Configured() {
    fence();
    _tile_release();
    fence();
  }
};

// The sums of one or two tiles of pixels, `apart` bytes from one to the next, and one or two blocks: [A][B][16][16].
// `meanwhile` is called behind each tile of weights: vectors work while the products are made.
template <int A, int B, class Meanwhile>
inline __attribute__((always_inline)) void multiply(const uint8_t* x, const uint8_t* x1, int64_t apart, const int32_t* places,
                                                    int32_t count, const int8_t* w, int32_t* sums, const Meanwhile& meanwhile) {
  const int64_t next = int64_t{count} * kTileSize;
  fence();
  _tile_zero(0);
  if constexpr (B > 1) _tile_zero(1);
  if constexpr (A > 1) _tile_zero(2);
  if constexpr (A > 1 && B > 1) _tile_zero(3);
  for (int32_t t = 0; t < count; t++, w += kTileSize) {
    const int64_t at = places[t];
    _tile_loadd(6, w, kTileBytes);
    _tile_loadd(4, x + at, apart);
    _tile_dpbusd(0, 4, 6);
    if constexpr (B > 1) {
      _tile_loadd(7, w + next, kTileBytes);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (A > 1) {
      _tile_loadd(5, x1 + at, apart);
      _tile_dpbusd(2, 5, 6);
      if constexpr (B > 1) _tile_dpbusd(3, 5, 7);
    }
    meanwhile();
  }
  fence();
  _tile_stored(0, sums, kTileBytes);
  if constexpr (B > 1) _tile_stored(1, sums + 256, kTileBytes);
  if constexpr (A > 1) _tile_stored(2, sums + 256 * B, kTileBytes);
  if constexpr (A > 1 && B > 1) _tile_stored(3, sums + 768, kTileBytes);
  fence();
}

// Which pixels are the rows of which tile.
struct Walk {
  int32_t rows = 0;      // of a tile
  int64_t apart = 0;     // bytes from one row to the next
  int64_t next = 1;      // pixels from one row to the next
  int64_t line = 0;      // rows that lie so one after the other
  int64_t chunks = 0;    // tiles of a line
  int64_t tiles = 0;     // of all lines
  bool is_stacked = false;  // whether tiles are copied first
};

// As few tiles as a line takes, all of as many rows.
inline Walk walk_of(int64_t line, int64_t lines) {
  Walk walk;
  walk.line = line;
  walk.chunks = (line + kTileRows - 1) / kTileRows;
  walk.rows = int32_t((line + walk.chunks - 1) / walk.chunks);
  walk.tiles = walk.chunks * lines;
  return walk;
}

// The last tile of a line ends with it: some of its rows may be those of the tile before, and are made twice.
inline int64_t start_of(const Walk& walk, int64_t tile) {
  return std::min(tile % walk.chunks * walk.rows, walk.line - walk.rows);
}

// A tile of pixels: where the bytes of its first row lie, and which pixel that is.
struct Place {
  const uint8_t* at;
  int64_t first;
};

// Where the columns of one or two blocks of a group are written.
struct Target {
  size_t block;
  int blocks;
  int32_t first, count;  // outputs
  Columns columns;
  uint8_t* y;
};

// Sums of one or two tiles that wait to become bytes, and how far they have: [tiles][blocks][16][16].
struct Waiting {
  const int32_t* sums = nullptr;  // of the next rows
  uint8_t* y = nullptr;           // where they go
  int32_t rows = 0;               // that are left of the tile
  const int32_t* then = nullptr;  // the sums of the tile behind it, nullptr where there is none
  uint8_t* then_y = nullptr;
};

// Two full blocks whose columns are asked for all at once; `columns` has members of its own, which registers hold.
template <bool kLined, bool kWhole>
inline __attribute__((always_inline)) void finish_rows_of(const Columns& columns, int32_t count, int64_t apart, int32_t rows,
                                                          int32_t pairs, Waiting& waiting) {
  for (; pairs > 0 && waiting.rows > 0; pairs--) {
    const int32_t* sums = waiting.sums;
    const int64_t second = waiting.rows > 1 ? 1 : 0;
    const __m512i four[4] = {_mm512_load_si512(sums), _mm512_load_si512(sums + kTileRows * kBlock),
                             _mm512_load_si512(sums + second * kBlock),
                             _mm512_load_si512(sums + (kTileRows + second) * kBlock)};
    finish_rows<kLined>(four, columns, waiting.y, waiting.y + second * apart, kWhole ? 2 * kBlock : count);
    waiting.sums += 2 * kBlock;
    waiting.y += 2 * apart;
    waiting.rows -= 2;
    if (waiting.rows <= 0 && waiting.then != nullptr) {
      waiting.sums = waiting.then;
      waiting.y = waiting.then_y;
      waiting.rows = rows;
      waiting.then = nullptr;
    }
  }
}

// All tiles by two blocks: while tiles are multiplied, vectors make bytes of the sums of those before them.
template <bool kLined, bool kWhole>
void run_pairs(const PackedTiles& p, const Step& step, const Walk& walk, const Place* places, int64_t tiles, int64_t apart,
               const Target& to) {
  alignas(64) int32_t sums[2][4 * kTileRows * kBlock];
  Columns columns;
  for (int j = 0; j < 2; j++) {
    columns.slope[j] = to.columns.slope[j];
    columns.start[j] = to.columns.start[j];
    columns.before[j] = to.columns.before[j];
    columns.factor[j] = to.columns.factor[j];
  }
  columns.has_factor = to.columns.has_factor;
  columns.zero = to.columns.zero;
  columns.least = to.columns.least;
  columns.highest = to.columns.highest;
  const int32_t* at = (walk.is_stacked ? p.stacked : p.places).data();
  const int32_t count = int32_t(p.places.size()), rows = walk.rows, outputs = to.count;
  const int32_t each = (((rows + 1) & ~1) + count - 1) / count;  // pairs of rows behind each tile of weights
  const int64_t y_apart = walk.next * step.outputs;
  const int8_t* w = p.tiles.data() + to.block * count * kTileSize;
  uint8_t* y = to.y + to.first;
  Waiting waiting;
  const auto meanwhile = [&]() __attribute__((always_inline)) {
    finish_rows_of<kLined, kWhole>(columns, outputs, y_apart, rows, each, waiting);
  };
  for (int64_t t = 0; t < tiles; t += 2) {
    int32_t* made = sums[t / 2 % 2];
    const bool two = t + 1 < tiles;
    const int64_t first = places[t].first, second = places[t + two].first;
    if (two)
      multiply<2, 2>(places[t].at, places[t + 1].at, apart, at, count, w, made, meanwhile);
    else
      multiply<1, 2>(places[t].at, nullptr, apart, at, count, w, made, meanwhile);
    finish_rows_of<kLined, kWhole>(columns, outputs, y_apart, rows, 2 * kTileRows, waiting);
    waiting = {made, y + first * step.outputs, rows, two ? made + 2 * kTileRows * kBlock : nullptr, y + second * step.outputs};
  }
  finish_rows_of<kLined, kWhole>(columns, outputs, y_apart, rows, 2 * kTileRows, waiting);
}

// All tiles by one or two blocks, whatever becomes of the sums.
template <int B>
void run_any(const PackedTiles& p, const Step& step, const Walk& walk, const Place* places, int64_t tiles, int64_t apart,
             const Target& to) {
  alignas(64) int32_t sums[2 * B * kTileRows * kBlock];
  const int32_t *at = (walk.is_stacked ? p.stacked : p.places).data(), count = int32_t(p.places.size());
  const int8_t* w = p.tiles.data() + to.block * count * kTileSize;
  const auto nothing = []() {};
  for (int64_t t = 0; t < tiles; t += 2) {
    const int taken = int(std::min<int64_t>(2, tiles - t));
    if (taken == 2)
      multiply<2, B>(places[t].at, places[t + 1].at, apart, at, count, w, sums, nothing);
    else
      multiply<1, B>(places[t].at, nullptr, apart, at, count, w, sums, nothing);
    for (int32_t k = 0; k < taken * B * walk.rows; k++) {
      const int32_t tile = k / walk.rows, i = k % walk.rows, j = tile % B, o = to.first + j * kBlock;
      finish_wide(p, step, _mm512_load_si512(sums + (tile * kTileRows + i) * kBlock), to.block + j,
                  (places[t + tile / B].first + i * walk.next) * step.outputs + o, o, std::min(kBlock, to.count - j * kBlock),
                  to.y);
    }
  }
}

inline void run_blocks_of(const PackedTiles& p, const Step& step, const Walk& walk, const Place* places, int64_t tiles,
                          int64_t apart, int32_t group, uint8_t* y) {
  const int32_t each = step.outputs / step.group;
  for (int32_t b = 0; b < p.blocks; b += 2) {
    Target to{size_t(group) * p.blocks + b, std::min(2, p.blocks - b), group * each + b * kBlock, each - b * kBlock, {}, y};
    to.columns = columns_of(p, step.epilogue, to.block, to.blocks);
    const bool is_whole = to.count >= 2 * kBlock;
    const auto run = to.blocks == 1        ? run_any<1>
                     : !to.columns.is_fast ? run_any<2>
                     : to.columns.is_lined ? (is_whole ? run_pairs<true, true> : run_pairs<true, false>)
                                           : (is_whole ? run_pairs<false, true> : run_pairs<false, false>);
    run(p, step, walk, places, tiles, apart, to);
  }
}

constexpr int64_t kTilesTogether = 64;  // whose bytes are read for one pair of blocks after the other

// Tiles that are read where the pixels lie.
void run_direct(const Step& step, const PackedTiles& p, const Walk& walk, const uint8_t* x, int64_t sample, uint8_t* y) {
  const int64_t pixels = int64_t(step.pixels.size());
  const Configured configured(walk.rows);
  Place places[kTilesTogether];
  for (int32_t g = 0; g < step.group; g++)
    for (int64_t t = 0; t < walk.tiles; t += kTilesTogether) {
      const int64_t taken = std::min(kTilesTogether, walk.tiles - t);
      for (int64_t i = 0; i < taken; i++) {
        const int64_t line = (t + i) / walk.chunks, start = start_of(walk, t + i);
        // Lines are those of pixels, or, where the rows are samples, one line for each pixel.
        const int64_t first = walk.next > 1 ? start * pixels + line : line * walk.line + start, n = first / pixels;
        places[i] = {x + n * sample + step.pixels.data()[first - n * pixels] + int64_t{g} * step.inputs, first};
      }
      run_blocks_of(p, step, walk, places, taken, walk.apart, g, y);
    }
}

constexpr int64_t kGathered = int64_t{2} * kTileRows * kMostGathered * kTileBytes;  // bytes

// Copies the runs of each pixel of some tiles side by side, `size` bytes a pixel, 16 bytes at a time: what a copy adds is
// overwritten by the next, or meets weights of 0. `kRuns` is their number where none is longer than 16 bytes, else 0.
template <int kRuns>
void gather(const Step& step, const PackedTiles& p, const Walk& walk, const uint8_t* x, int64_t sample, int64_t size,
            Place* places, int64_t tile, int64_t tiles, uint8_t* to) {
  const int32_t *pixel_at = step.pixels.data(), *run_at = p.runs.data();
  const int32_t pixels = int32_t(step.pixels.size()), length = p.steps * 4, runs = int32_t(p.runs.size());
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t first = start_of(walk, tile + i), n = first / pixels;
    places[i] = {to, first};
    const uint8_t* from = x + n * sample;
    int32_t pixel = int32_t(first - n * pixels);
    for (int32_t r = 0; r < walk.rows; r++, to += size) {
      const uint8_t* at = from + pixel_at[pixel];
      if constexpr (kRuns > 0) {
#pragma GCC unroll 8
        for (int k = 0; k < kRuns; k++)
          _mm_storeu_si128((__m128i*)(to + k * length), _mm_loadu_si128((const __m128i*)(at + run_at[k])));
      } else {
        uint8_t* run_to = to;
        for (int32_t k = 0; k < runs; k++, run_to += length)
          for (int32_t j = 0; j < length; j += 16)
            _mm_storeu_si128((__m128i*)(run_to + j), _mm_loadu_si128((const __m128i*)(at + run_at[k] + j)));
      }
      if (++pixel == pixels) pixel = 0, from += sample;
    }
  }
}

void run_gathered(const Step& step, const PackedTiles& p, const Walk& walk, const uint8_t* x, int64_t sample, uint8_t* y) {
  alignas(64) uint8_t gathered[kGathered + kTileBytes];
  const int64_t size = int64_t(p.places.size()) * kTileBytes;
  const int64_t together = std::min(kTilesTogether, kGathered / (size * kTileRows));
  const size_t short_runs = p.steps <= 4 ? p.runs.size() : 0;
  const auto gather_these = short_runs == 3 ? gather<3> : short_runs == 5 ? gather<5> : short_runs == 7 ? gather<7> : gather<0>;
  const Configured configured(walk.rows);
  Place places[kTilesTogether];
  for (int32_t g = 0; g < step.group; g++)
    for (int64_t t = 0; t < walk.tiles; t += together) {
      const int64_t taken = std::min(together, walk.tiles - t);
      gather_these(step, p, walk, x + int64_t{g} * step.inputs, sample, size, places, t, taken, gathered);
      run_blocks_of(p, step, walk, places, taken, size, g, y);
    }
}

constexpr int64_t kStacked = 512 << 10;  // bytes of tiles that are copied at once
thread_local Lines<uint8_t> stack;

// Tiles that are copied one after the other, of lines too short to fill them.
void run_stacked(const Step& step, const PackedTiles& p, const Walk& walk, const uint8_t* x, int64_t sample, uint8_t* y) {
  const int64_t pixels = int64_t(step.pixels.size()), size = int64_t(p.places.size()) * kTileSize;
  const int64_t together = std::clamp<int64_t>(kStacked / size, 2, kTilesTogether);
  stack.resize(size_t(std::min(together, walk.tiles) * size));
  const Configured configured(walk.rows);
  Place places[kTilesTogether];
  for (int32_t g = 0; g < step.group; g++)
    for (int64_t t = 0; t < walk.tiles; t += together) {
      const int64_t taken = std::min(together, walk.tiles - t);
      for (int64_t i = 0; i < taken; i++) {
        uint8_t* to = stack.data() + i * size;
        const int64_t first = start_of(walk, t + i);
        places[i] = {to, first};
        int64_t n = first / pixels, pixel = first - n * pixels;
        for (int32_t r = 0; r < walk.rows; r++, to += kTileBytes) {
          const uint8_t* from = x + n * sample + step.pixels.data()[pixel] + int64_t{g} * step.inputs;
          for (size_t k = 0; k < p.places.size(); k++)
            _mm512_storeu_si512(to + k * kTileSize, _mm512_loadu_si512(from + p.places.data()[k]));
          if (++pixel == pixels) pixel = 0, n++;
        }
      }
      run_blocks_of(p, step, walk, places, taken, kTileBytes, g, y);
    }
}

void run_product(const Plan& plan, const Step& step, const PackedTiles& p, const Memory& m) {
  const int64_t pixels = int64_t(step.pixels.size()), rows = pixels * m.count;
  if (rows < kFewRows) {
    run_by_vectors(plan, step, m);
    return;
  }
  if (p.is_gathered) {
    int64_t sample = 0;
    const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &sample);
    Walk walk = walk_of(rows, 1);
    walk.apart = int64_t(p.places.size()) * kTileBytes;
    run_gathered(step, p, walk, x, sample, m.tensors[step.y]);
    return;
  }
  const Window& w = step.window;
  const int64_t wide = int64_t{w.padded[1]} * step.channels, sample = wide * w.padded[0];
  Walk lines = walk_of(p.distance < 0 ? w.output[1] : pixels, p.distance < 0 ? int64_t{w.output[0]} * m.count : m.count);
  lines.apart = int64_t{w.strides[1]} * step.channels;
  if (p.distance >= 0) lines.apart = p.distance;
  if (pixels > 1 && p.distance * pixels == sample) {  // one sample goes on where the other ends
    lines = walk_of(rows, 1);
    lines.apart = p.distance;
  }
  Walk samples = walk_of(m.count, pixels);
  samples.apart = sample;
  samples.next = pixels;
  const Walk& walk = samples.rows > lines.rows ? samples : lines;
  Walk stacked = walk_of(rows, 1);
  stacked.is_stacked = true;
  int64_t checked = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &checked);
  if (3 * stacked.tiles <= walk.tiles) {
    run_stacked(step, p, stacked, x, checked, m.tensors[step.y]);
    return;
  }
  run_direct(step, p, walk, x, checked, m.tensors[step.y]);
}

bool run(const Plan& plan, const Step& step, const Memory& m) {
  if (step.kind != Kind::Product || step.packed == nullptr || step.packed->is_depthwise) return run_by_vectors(plan, step, m);
  run_product(plan, step, static_cast<const PackedTiles&>(*step.packed), m);
  return true;
}

}  // namespace

const Kernels amx_kernels{"amx", 16, prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
