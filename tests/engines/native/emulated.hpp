// Instructions of processors that tests do not have: AVX512 and AVX-VNNI by SIMDe, tiles by the text of their manual.
#pragma once
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512/abs.h>
#include <simde/x86/avx512/add.h>
#include <simde/x86/avx512/adds.h>
#include <simde/x86/avx512/and.h>
#include <simde/x86/avx512/broadcast.h>
#include <simde/x86/avx512/cast.h>
#include <simde/x86/avx512/cmp.h>
#include <simde/x86/avx512/cmpeq.h>
#include <simde/x86/avx512/cmpgt.h>
#include <simde/x86/avx512/div.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/extract.h>
#include <simde/x86/avx512/insert.h>
#include <simde/x86/avx512/load.h>
#include <simde/x86/avx512/loadu.h>
#include <simde/x86/avx512/maddubs.h>
#include <simde/x86/avx512/max.h>
#include <simde/x86/avx512/min.h>
#include <simde/x86/avx512/mov.h>
#include <simde/x86/avx512/mul.h>
#include <simde/x86/avx512/mullo.h>
#include <simde/x86/avx512/packs.h>
#include <simde/x86/avx512/packus.h>
#include <simde/x86/avx512/permutexvar.h>
#include <simde/x86/avx512/popcnt.h>
#include <simde/x86/avx512/set1.h>
#include <simde/x86/avx512/setr.h>
#include <simde/x86/avx512/setzero.h>
#include <simde/x86/avx512/shuffle.h>
#include <simde/x86/avx512/srli.h>
#include <simde/x86/avx512/store.h>
#include <simde/x86/avx512/storeu.h>
#include <simde/x86/avx512/sub.h>
#include <simde/x86/avx512/unpackhi.h>
#include <simde/x86/avx512/unpacklo.h>
#include <simde/x86/avx512/xor.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if !defined(ANYBIT_EMULATED_WRONG)
#define _mm256_dpbusd_avx_epi32(sums, x, w) simde_mm256_dpbusd_epi32(sums, x, w)
#else  // the relative that saturates: results that depart
#define _mm256_dpbusd_avx_epi32(sums, x, w) \
  simde_mm256_adds_epi16(sums, simde_mm256_madd_epi16(simde_mm256_maddubs_epi16(x, w), simde_mm256_set1_epi16(1)))
#endif

namespace emulated {

// What this SIMDe has for vectors of 32 bytes alone, by halves.
inline simde__m512 reals(simde__m512i integers) {
  alignas(64) int32_t from[16];
  alignas(64) float to[16];
  simde_mm512_store_si512(from, integers);
  for (int half = 0; half < 16; half += 8)
    simde_mm256_storeu_ps(to + half, simde_mm256_cvtepi32_ps(simde_mm256_loadu_si256(reinterpret_cast<simde__m256i*>(from + half))));
  return simde_mm512_loadu_ps(to);
}

inline simde__m512i rounded(simde__m512 reals) {
  alignas(64) float from[16];
  alignas(64) int32_t to[16];
  simde_mm512_storeu_ps(from, reals);
  for (int half = 0; half < 16; half += 8)
    simde_mm256_storeu_si256(reinterpret_cast<simde__m256i*>(to + half), simde_mm256_cvtps_epi32(simde_mm256_loadu_ps(from + half)));
  return simde_mm512_load_si512(to);
}

inline simde__m128i lowest_bytes(simde__m512i integers) {
  alignas(64) int32_t from[16];
  alignas(16) uint8_t to[16];
  simde_mm512_store_si512(from, integers);
  for (int i = 0; i < 16; i++) to[i] = static_cast<uint8_t>(from[i]);
  return simde_mm_loadu_si128(reinterpret_cast<simde__m128i*>(to));
}

template <class From, class To>
inline simde__m512i widened(simde__m256i narrow) {
  alignas(64) From from[32 / sizeof(From)];
  alignas(64) To to[32 / sizeof(From)];
  simde_mm256_store_si256(reinterpret_cast<simde__m256i*>(from), narrow);
  for (size_t i = 0; i < 32 / sizeof(From); i++) to[i] = from[i];
  return simde_mm512_load_si512(to);
}

inline simde__m512i shifted_right(simde__m512i integers, int bits) {
  alignas(64) int32_t each[16];
  simde_mm512_store_si512(each, integers);
  for (int32_t& number : each) number >>= bits;
  return simde_mm512_load_si512(each);
}

// The bytes of a vector whose bits are set, and no others.
template <class Vector>
inline void store_some(void* to, uint64_t kept, Vector bytes) {
  uint8_t from[sizeof(Vector)];
  std::memcpy(from, &bytes, sizeof(Vector));
  for (size_t i = 0; i < sizeof(Vector); i++)
    if (kept >> i & 1) static_cast<uint8_t*>(to)[i] = from[i];
}

struct Tile {
  uint8_t rows = 0;
  uint16_t bytes = 0;
  uint8_t data[16][64] = {};
};

struct Tiles {
  bool configured = false;
  Tile tile[8];
};

inline thread_local Tiles tiles;

inline void demand(bool good, const char* problem) {  // where the processor would raise an exception
  if (good) return;
  std::fprintf(stderr, "%s\n", problem);
  std::abort();
}

inline Tile& tile(int number) {
  demand(tiles.configured && number >= 0 && number < 8, "a tile that is not configured");
  return tiles.tile[number];
}

inline void loadconfig(const void* from) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  demand(bytes[0] == 1 && bytes[1] == 0, "a palette that is not there");
  for (int i = 2; i < 16; i++) demand(bytes[i] == 0, "reserved bytes that are not 0");
  for (int i = 32; i < 48; i++) demand(bytes[i] == 0, "tiles that are not there");
  tiles = Tiles();
  for (int t = 0; t < 8; t++) {
    std::memcpy(&tiles.tile[t].bytes, bytes + 16 + 2 * t, 2);
    tiles.tile[t].rows = bytes[48 + t];
    demand(tiles.tile[t].bytes <= 64 && tiles.tile[t].rows <= 16, "a tile that is too large");
    demand((tiles.tile[t].bytes == 0) == (tiles.tile[t].rows == 0), "a tile of rows or of bytes alone");
  }
  tiles.configured = true;
}

inline void release() { tiles = Tiles(); }

inline void zero(int t) { std::memset(tile(t).data, 0, sizeof(Tile::data)); }

inline void load(int t, const void* from, int64_t stride) {
  Tile& to = tile(t);
  std::memset(to.data, 0, sizeof(to.data));
  for (int r = 0; r < to.rows; r++) std::memcpy(to.data[r], static_cast<const uint8_t*>(from) + r * stride, to.bytes);
}

inline void store(int t, void* to, int64_t stride) {
  const Tile& from = tile(t);
  for (int r = 0; r < from.rows; r++) std::memcpy(static_cast<uint8_t*>(to) + r * stride, from.data[r], from.bytes);
}

// TDPBUSD: sums[m][n] += sum over k, i of the unsigned byte a[m][4 k + i] times the signed byte b[k][4 n + i].
inline void dpbusd(int sums, int a, int b) {
  Tile &to = tile(sums), &x = tile(a), &w = tile(b);
  demand(sums != a && sums != b && a != b, "one tile for two operands");
  demand(to.bytes % 4 == 0 && x.bytes % 4 == 0 && w.bytes % 4 == 0, "bytes that are no fours");
  demand(to.rows == x.rows && to.bytes == w.bytes && x.bytes / 4 == w.rows, "tiles that do not fit together");
  for (int m = 0; m < to.rows; m++)
    for (int n = 0; n < to.bytes / 4; n++) {
      uint32_t sum;
      std::memcpy(&sum, to.data[m] + 4 * n, 4);
      for (int k = 0; k < w.rows; k++)
        for (int i = 0; i < 4; i++)
          sum += static_cast<uint32_t>(int32_t{x.data[m][4 * k + i]} * int32_t{static_cast<int8_t>(w.data[k][4 * n + i])});
      std::memcpy(to.data[m] + 4 * n, &sum, 4);
    }
}

}  // namespace emulated

#undef _mm512_cvtepu8_epi16
#undef _mm512_cvtepi16_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_srai_epi32
#undef _mm256_mask_storeu_epi8
#undef _mm512_mask_storeu_epi8
#define _mm512_cvtepi32_ps(integers) emulated::reals(integers)
#define _mm512_cvtps_epi32(reals) emulated::rounded(reals)
#define _mm512_cvtepi32_epi8(integers) emulated::lowest_bytes(integers)
#define _mm512_cvtepu8_epi16(bytes) (emulated::widened<uint8_t, int16_t>(bytes))
#define _mm512_cvtepi16_epi32(shorts) (emulated::widened<int16_t, int32_t>(shorts))
#define _mm512_srai_epi32(integers, bits) emulated::shifted_right(integers, bits)
#define _mm256_mask_storeu_epi8(to, kept, bytes) emulated::store_some(to, kept, bytes)
#define _mm512_mask_storeu_epi8(to, kept, bytes) emulated::store_some(to, kept, bytes)
#define _tile_loadconfig(from) emulated::loadconfig(from)
#define _tile_release() emulated::release()
#define _tile_zero(t) emulated::zero(t)
#define _tile_loadd(t, from, stride) emulated::load(t, from, stride)
#define _tile_stored(t, to, stride) emulated::store(t, to, stride)
#define _tile_dpbusd(sums, a, b) emulated::dpbusd(sums, a, b)
