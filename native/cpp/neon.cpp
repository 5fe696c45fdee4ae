// The path of processors with NEON and its dot product, which multiplies signed bytes: bytes less 128, and 128 times
// the weights added to each sum.
#include "vectors.hpp"

#if defined(ANYBIT_TARGETS)
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#include "packed.hpp"

namespace anybit {
namespace {

struct PackedSigned : PackedProduct {
  explicit PackedSigned(PackedProduct&& product) : PackedProduct(std::move(product)) {}
  std::vector<int32_t> start;  // of each sum: 128 times its weights
};

void prepare(const Plan& plan, Step& step) {
  if (step.kind != Kind::Product) return;
  prepare_product(plan, step, true);
  if (step.packed == nullptr || step.packed->is_depthwise) return;
  auto packed = std::make_unique<PackedSigned>(std::move(static_cast<PackedProduct&>(*step.packed)));
  PackedSigned& p = *packed;
  const size_t blocks = size_t(p.blocks) * step.group, steps = p.runs.size() * p.steps;
  p.start.assign(blocks * kBlock, 0);
  for (size_t block = 0; block < blocks; block++)
    for (size_t s = 0; s < steps; s++)
      for (int32_t i = 0; i < kBlock * 4; i++)
        p.start[block * kBlock + i / 4] += 128 * int32_t{p.bytes[(block * steps + s) * kBlock * 4 + i]};
  step.packed = std::move(packed);
}

// What becomes of 16 sums of one pixel.
inline void finish_sums(const PackedProduct& p, const Step& step, const int32x4_t* sums, size_t block, int64_t to,
                        int32_t first, int32_t count, uint8_t* y) {
  const Epilogue& e = step.epilogue;
  const size_t at = block * kBlock;
  alignas(16) int32_t kept[kBlock];
  if (p.is_lined && e.count > kFewThresholds) {
    for (int j = 0; j < 4; j++) {
      const float32x4_t product = vmulq_f32(vcvtq_f32_s32(sums[j]), vld1q_f32(p.line_slope.data() + at + 4 * j));
      vst1q_s32(kept + 4 * j, vcvtnq_s32_f32(vaddq_f32(product, vld1q_f32(p.line_start.data() + at + 4 * j))));
    }
    for (int32_t c = 0; c < count; c++)
      y[to + c] = uint8_t(std::clamp(kept[c], int32_t{p.least.data()[at + c]}, int32_t{p.highest.data()[at + c]}));
    return;
  }
  if (e.kind == EpilogueKind::Thresholds && !p.is_halved) {
    const int32_t* t = p.above.data() + at * e.count;
    for (int j = 0; j < 4; j++) {
      int32x4_t reached = vdupq_n_s32(0);
      for (int32_t k = 0; k < e.count; k++)  // what is true is -1
        reached = vsubq_s32(reached, vreinterpretq_s32_u32(vcgtq_s32(sums[j], vld1q_s32(t + k * kBlock + 4 * j))));
      vst1q_s32(kept + 4 * j, reached);
    }
    for (int32_t c = 0; c < count; c++) y[to + c] = uint8_t(p.base.data()[at + c] + p.step.data()[at + c] * kept[c]);
    return;
  }
  for (int j = 0; j < 4; j++) vst1q_s32(kept + 4 * j, vaddq_s32(sums[j], vld1q_s32(p.offset.data() + at + 4 * j)));
  if (e.kind == EpilogueKind::None) {
    std::memcpy(reinterpret_cast<int32_t*>(y) + to, kept, size_t(count) * 4);
    return;
  }
  if (e.kind == EpilogueKind::Thresholds) {
    for (int32_t c = 0; c < count; c++) y[to + c] = level(e, kept[c], first + c, first + c);
    return;
  }
  const float32x4_t lo = vdupq_n_f32(float(e.lo - e.zero)), hi = vdupq_n_f32(float(e.hi - e.zero));
  for (int j = 0; j < 4; j++) {
    const size_t from = at + 4 * j;
    const int32x4_t product = vmulq_s32(vld1q_s32(kept + 4 * j), vld1q_s32(p.factor.data() + from));
    const int32x4_t total = vaddq_s32(product, vld1q_s32(p.bias.data() + from));
    const float32x4_t v = vmulq_f32(vcvtq_f32_s32(total), vld1q_f32(p.multiplier.data() + from));
    const int32x4_t rounded = vcvtnq_s32_f32(vminq_f32(vmaxq_f32(v, lo), hi));
    vst1q_s32(kept + 4 * j, vaddq_s32(rounded, vdupq_n_s32(e.zero)));
  }
  for (int32_t c = 0; c < count; c++) y[to + c] = uint8_t(kept[c]);
}

struct Tiles {
  struct Sums {
    int32x4_t quarter[4];
  };
  static constexpr int kRows = 4, kWide = 1, kWideOne = 1;

  template <int N, int M>
  static void tile(const PackedProduct& product, const uint8_t* const* rows, size_t block, Sums* sums) {
    static_assert(M == 1);
    const PackedSigned& p = static_cast<const PackedSigned&>(product);
    const int8_t* w = p.bytes.data() + block * p.runs.size() * p.steps * kBlock * 4;
    for (int i = 0; i < N; i++)
      for (int j = 0; j < 4; j++) sums[i].quarter[j] = vld1q_s32(p.start.data() + block * kBlock + 4 * j);
    const uint8x16_t half = vdupq_n_u8(128);
    for (int32_t run : p.runs)
      for (int32_t q = 0; q < p.steps; q++, w += kBlock * 4)
        for (int i = 0; i < N; i++) {
          uint32_t four;
          std::memcpy(&four, rows[i] + run + 4 * q, 4);
          // a byte less 128, as a signed one, has its highest bit turned
          const int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), half));
          for (int j = 0; j < 4; j++) sums[i].quarter[j] = vdotq_s32(sums[i].quarter[j], x, vld1q_s8(w + 16 * j));
        }
  }
  static void finish(const PackedProduct& p, const Step& step, const Sums& sums, size_t block, int64_t to, int32_t first,
                     int32_t count, uint8_t* y) {
    finish_sums(p, step, sums.quarter, block, to, first, count, y);
  }
};

void run_depthwise(const Plan& plan, const Step& step, const PackedDepthwise& p, const Memory& m) {
  int64_t sample = 0;
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], uint8_t(plan.tensors[step.x].zero), &sample);
  const int64_t pixels = int64_t(step.pixels.size());
  const size_t taps = step.taps.size();
  for (int32_t n = 0; n < m.count; n++)
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
      const uint8_t* at = x + n * sample + step.pixels.data()[pixel];
      const int64_t to = (n * pixels + pixel) * step.outputs;
      for (int32_t c = 0; c < step.outputs; c += kBlock) {
        int16x8_t low = vdupq_n_s16(0), high = vdupq_n_s16(0);
        for (size_t t = 0; t < taps; t++) {  // 16 bytes may reach into the slack behind the input
          const uint8x16_t seen = vld1q_u8(at + step.taps.data()[t] + c);
          const int16_t* w = p.weights.data() + t * p.wide + c;
          low = vmlaq_s16(low, vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(seen))), vld1q_s16(w));
          high = vmlaq_s16(high, vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(seen))), vld1q_s16(w + 8));
        }
        const int32x4_t sums[4] = {vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                                   vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))};
        finish_sums(p, step, sums, size_t(c) / kBlock, to + c, c, std::min(kBlock, step.outputs - c), m.tensors[step.y]);
      }
    }
}

bool run(const Plan& plan, const Step& step, const Memory& m) {
  if (step.packed == nullptr) return run_plain(plan, step, m);
  if (step.packed->is_depthwise)
    run_depthwise(plan, step, static_cast<const PackedDepthwise&>(*step.packed), m);
  else
    run_blocks<Tiles>(plan, step, static_cast<const PackedProduct&>(*step.packed), m);
  return true;
}

}  // namespace

const Kernels neon_kernels{"neon", 1, prepare, run};

}  // namespace anybit
#if defined(ANYBIT_TARGETS)
#pragma GCC pop_options
#endif
