// The steps in plain C++. Each path includes this file into a namespace of its own, compiled for its processor, and
// puts its own kernels in the place of the slow ones. Nothing here may be shared between paths: an inline function that
// the linker takes from one of them would run on processors that the other one is for.
#include <cmath>
#include <cstring>

#include "plan.hpp"

namespace anybit {
namespace {

inline float after(float x, const std::vector<FloatStep>& steps, int32_t channel) {
  for (const FloatStep& s : steps) {
    const float n = s.numbers.data()[s.numbers.size() > 1 ? channel : 0];
    switch (s.operation) {
      case Arithmetic::Add: x = x + n; break;
      case Arithmetic::Subtract: x = x - n; break;
      case Arithmetic::SubtractFrom: x = n - x; break;
      case Arithmetic::Multiply: x = x * n; break;
      case Arithmetic::Divide: x = x / n; break;
    }
  }
  return x;
}

inline const float* real_input(const Memory& m, int32_t t) { return reinterpret_cast<const float*>(m.tensors[t]); }
inline float* real_output(const Memory& m, int32_t t) { return reinterpret_cast<float*>(m.tensors[t]); }

// Calls f(channel, place in x, place in y) for each element of reals (channels first or last) and of bytes.
template <class F>
inline void over_channels(const Step& step, int64_t elements, int32_t count, F&& f) {
  const int64_t positions = elements / step.channels;
  for (int32_t n = 0; n < count; n++) {
    const int64_t at = n * elements;
    for (int64_t p = 0; p < positions; p++)
      for (int32_t c = 0; c < step.channels; c++)
        f(c, at + (step.channels_first ? c * positions + p : p * step.channels + c), at + p * step.channels + c);
  }
}

inline bool run_quantize(const Plan& plan, const Step& step, const Memory& m) {
  const float* x = real_input(m, step.x);
  uint8_t* y = m.tensors[step.y];
  const float lo = static_cast<float>(step.lo), hi = static_cast<float>(step.hi);
  bool good = true;
  over_channels(step, plan.tensors[step.x].elements, m.count, [&](int32_t c, int64_t i, int64_t o) {
    const float scale = step.scale.data()[step.scale.size() > 1 ? c : 0];
    const float zero = step.zero_point.data()[step.zero_point.size() > 1 ? c : 0];
    const float v = after(x[i], step.arithmetic, c) / scale + zero;
    good &= v == v;
    const float clipped = v > hi ? hi : v > lo ? v : lo;  // NaN becomes lo
    y[o] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(clipped)) - step.lo);
  });
  return good;
}

inline bool run_compare(const Plan& plan, const Step& step, const Memory& m) {
  const float* x = real_input(m, step.x);
  uint8_t* y = m.tensors[step.y];
  bool good = true;
  over_channels(step, plan.tensors[step.x].elements, m.count, [&](int32_t c, int64_t i, int64_t o) {
    const int32_t row = step.base.size() > 1 ? c : 0;
    const float* t = step.thresholds.data() + int64_t{row} * step.count;
    int32_t reached = 0;
    for (int32_t k = 0; k < step.count; k++) reached += x[i] >= t[k];
    good &= x[i] == x[i];
    y[o] = static_cast<uint8_t>(step.base.data()[row] + step.step.data()[row] * reached);
  });
  return good;
}

// One byte of one sum. The bytes of unreachable levels wrap around; no sum of a sound plan has one.
inline uint8_t level(const Epilogue& e, int32_t sum, int32_t row, int32_t channel) {
  if (e.kind == EpilogueKind::Multiplier) {
    const int64_t total = int64_t{e.factor.data()[channel]} * sum + e.bias.data()[channel];
    const float v = static_cast<float>(total) * e.multiplier.data()[channel];
    const float lo = static_cast<float>(e.lo - e.zero), hi = static_cast<float>(e.hi - e.zero);
    return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v > hi ? hi : v > lo ? v : lo)) + e.zero);
  }
  const int32_t* t = e.values.data() + int64_t{row} * e.count;
  int32_t reached = 0;
  if (e.count <= 16) {
    for (int32_t k = 0; k < e.count; k++) reached += sum >= t[k];
  } else {
    int32_t size = e.count;  // how many are reached, by halving
    while (size > 0) {
      const int32_t half = size / 2;
      if (t[reached + half] <= sum) {
        reached += half + 1;
        size -= half + 1;
      } else {
        size = half;
      }
    }
  }
  return static_cast<uint8_t>(e.base.data()[row] + e.step.data()[row] * reached);
}

// The input with everything that windows see, one sample after the other; the input itself where nothing is added.
template <class T>
inline const T* padded(const Step& step, const Memory& m, const T* x, T fill, int64_t* sample) {
  const Window& w = step.window;
  const int64_t row = int64_t{w.size[1]} * step.channels, wide = int64_t{w.padded[1]} * step.channels;
  *sample = wide * w.padded[0];
  if (!w.is_padded()) return x;
  T* scratch = reinterpret_cast<T*>(m.scratch);
  for (int32_t n = 0; n < m.count; n++)
    for (int32_t r = 0; r < w.padded[0]; r++) {
      T* to = scratch + n * *sample + r * wide;
      const int32_t from = r - w.pads[0];
      if (from < 0 || from >= w.size[0]) {
        for (int64_t i = 0; i < wide; i++) to[i] = fill;
        continue;
      }
      const int64_t before = int64_t{w.pads[1]} * step.channels;
      for (int64_t i = 0; i < before; i++) to[i] = fill;
      std::memcpy(to + before, x + (int64_t{n} * w.size[0] + from) * row, row * sizeof(T));
      for (int64_t i = before + row; i < wide; i++) to[i] = fill;
    }
  return scratch;
}

template <class T>
inline void product_of(const Step& step, const Memory& m, const T* x, int64_t sample) {
  const int32_t each = step.outputs / step.group;
  const int64_t taps = static_cast<int64_t>(step.taps.size()), terms = taps * step.inputs;
  const int64_t pixels = static_cast<int64_t>(step.pixels.size());
  const bool sums = step.epilogue.kind == EpilogueKind::None;
  int32_t* as_sums = reinterpret_cast<int32_t*>(m.tensors[step.y]);
  uint8_t* as_bytes = m.tensors[step.y];
  for (int32_t n = 0; n < m.count; n++)
    for (int64_t p = 0; p < pixels; p++) {
      const T* at = x + n * sample + step.pixels.data()[p];
      const int64_t to = (n * pixels + p) * step.outputs;
      for (int32_t o = 0; o < step.outputs; o++) {
        const int8_t* w = step.weights.data() + o * terms;
        const T* from = at + o / each * step.inputs;
        int32_t sum = step.offset.data()[o];
        for (int64_t t = 0; t < taps; t++) {
          const T* seen = from + step.taps.data()[t];
          for (int32_t i = 0; i < step.inputs; i++) sum += static_cast<int32_t>(seen[i]) * w[t * step.inputs + i];
        }
        if (sums)
          as_sums[to + o] = sum;
        else
          as_bytes[to + o] = level(step.epilogue, sum, o, o);
      }
    }
}

inline void run_product(const Plan& plan, const Step& step, const Memory& m) {
  int64_t sample = 0;
  const Tensor& x = plan.tensors[step.x];
  if (x.element == Element::Byte) {
    const uint8_t* in = padded<uint8_t>(step, m, m.tensors[step.x], static_cast<uint8_t>(x.zero), &sample);
    product_of(step, m, in, sample);
  } else {
    const int32_t* in = padded<int32_t>(step, m, reinterpret_cast<const int32_t*>(m.tensors[step.x]), 0, &sample);
    product_of(step, m, in, sample);
  }
}

inline void run_requantize(const Plan& plan, const Step& step, const Memory& m) {
  const int32_t* x = reinterpret_cast<const int32_t*>(m.tensors[step.x]);
  const uint8_t* s = step.selector < 0 ? nullptr : m.tensors[step.selector];
  uint8_t* y = m.tensors[step.y];
  const int64_t rows = plan.tensors[step.x].elements * m.count / step.channels;
  for (int64_t p = 0; p < rows; p++)
    for (int32_t c = 0; c < step.channels; c++) {
      const int64_t i = p * step.channels + c;
      const int32_t selected = s == nullptr ? 0 : s[i] < step.epilogue.selected ? s[i] : step.epilogue.selected - 1;
      y[i] = level(step.epilogue, x[i], selected * step.channels + c, c);
    }
}

inline void run_table(const Plan& plan, const Step& step, const Memory& m) {
  const uint8_t* x = m.tensors[step.x];
  uint8_t* y = m.tensors[step.y];
  const int64_t elements = plan.tensors[step.x].elements * m.count;
  const uint8_t* table = step.table.data();
  if (step.table.size() == 256) {
    for (int64_t i = 0; i < elements; i++) y[i] = table[x[i]];
    return;
  }
  for (int64_t i = 0, c = 0; i < elements; i++, c = c + 1 == step.channels ? 0 : c + 1) y[i] = table[c * 256 + x[i]];
}

inline void run_pair_table(const Plan& plan, const Step& step, const Memory& m) {
  const uint8_t *a = m.tensors[step.a], *b = m.tensors[step.b];
  uint8_t* y = m.tensors[step.y];
  const int64_t elements = plan.tensors[step.y].elements * m.count, one = int64_t{step.rows} * step.columns;
  const bool by_channel = static_cast<int64_t>(step.table.size()) > one;
  for (int64_t i = 0, c = 0; i < elements; i++, c = c + 1 == step.channels ? 0 : c + 1) {
    const int32_t row = a[i] < step.rows ? a[i] : step.rows - 1, column = b[i] < step.columns ? b[i] : step.columns - 1;
    y[i] = step.table.data()[(by_channel ? c * one : 0) + row * step.columns + column];
  }
}

template <class T>
inline void largest_of(const Step& step, const Memory& m, const T* x, int64_t sample) {
  T* y = reinterpret_cast<T*>(m.tensors[step.y]);
  const int64_t pixels = static_cast<int64_t>(step.pixels.size());
  for (int32_t n = 0; n < m.count; n++)
    for (int64_t p = 0; p < pixels; p++) {
      const T* at = x + n * sample + step.pixels.data()[p];
      T* to = y + (n * pixels + p) * step.channels;
      std::memcpy(to, at + step.taps.data()[0], step.channels * sizeof(T));
      for (size_t t = 1; t < step.taps.size(); t++) {
        const T* seen = at + step.taps.data()[t];
        for (int32_t c = 0; c < step.channels; c++) to[c] = seen[c] > to[c] ? seen[c] : to[c];
      }
    }
}

inline void run_pool(const Plan& plan, const Step& step, const Memory& m) {
  const Tensor& t = plan.tensors[step.x];
  int64_t sample = 0;
  if (t.element == Element::Sum) {
    const int32_t* in = reinterpret_cast<const int32_t*>(m.tensors[step.x]);
    const int32_t* seen = padded<int32_t>(step, m, in, INT32_MIN, &sample);
    largest_of(step, m, seen, sample);
    return;
  }
  const uint8_t* x = padded<uint8_t>(step, m, m.tensors[step.x], static_cast<uint8_t>(step.maximum ? 0 : t.zero), &sample);
  if (step.maximum) {
    largest_of(step, m, x, sample);
    return;
  }
  int32_t* y = reinterpret_cast<int32_t*>(m.tensors[step.y]);
  const int64_t pixels = static_cast<int64_t>(step.pixels.size());
  const int32_t zeros = t.zero * static_cast<int32_t>(step.taps.size());
  for (int32_t n = 0; n < m.count; n++)
    for (int64_t p = 0; p < pixels; p++) {
      const uint8_t* at = x + n * sample + step.pixels.data()[p];
      int32_t* to = y + (n * pixels + p) * step.channels;
      for (int32_t c = 0; c < step.channels; c++) to[c] = -zeros;
      for (int32_t tap : step.taps)
        for (int32_t c = 0; c < step.channels; c++) to[c] += at[tap + c];
    }
}

template <class T>
inline void moved(const Plan& plan, const Step& step, const Memory& m, T zero) {
  const T* x = reinterpret_cast<const T*>(m.tensors[step.x]);
  T* y = reinterpret_cast<T*>(m.tensors[step.y]);
  const int64_t in = plan.tensors[step.x].elements, out = plan.tensors[step.y].elements;
  for (int32_t n = 0; n < m.count; n++)
    for (int64_t i = 0; i < out; i++) {
      const int32_t from = step.index.data()[i];
      y[n * out + i] = from < 0 ? zero : x[n * in + from];
    }
}

inline void run_move(const Plan& plan, const Step& step, const Memory& m) {
  const Tensor& x = plan.tensors[step.x];
  if (x.element == Element::Byte)
    moved<uint8_t>(plan, step, m, static_cast<uint8_t>(x.zero));
  else
    moved<int32_t>(plan, step, m, 0);
}

inline void run_join(const Plan& plan, const Step& step, const Memory& m) {
  uint8_t* y = m.tensors[step.y];
  const int64_t rows = plan.tensors[step.xs.data()[0]].elements * m.count / step.lengths.data()[0];
  for (int64_t r = 0; r < rows; r++)
    for (size_t part = 0; part < step.xs.size(); part++) {
      const int32_t length = step.lengths.data()[part], shift = step.shifts.data()[part];
      const uint8_t* x = m.tensors[step.xs.data()[part]] + r * length;
      for (int32_t i = 0; i < length; i++) y[i] = static_cast<uint8_t>(x[i] + shift);
      y += length;
    }
}

template <class T>
inline void real_of(const Plan& plan, const Step& step, const Memory& m, int32_t zero) {
  const T* x = reinterpret_cast<const T*>(m.tensors[step.x]);
  float* y = real_output(m, step.y);
  over_channels(step, plan.tensors[step.x].elements, m.count, [&](int32_t c, int64_t o, int64_t i) {
    const double scale = step.wide_scale.data()[step.wide_scale.size() > 1 ? c : 0];
    const double bias = step.wide_bias.data()[step.wide_bias.size() > 1 ? c : 0];
    const double real = (static_cast<double>(x[i]) - zero) * scale / step.divisor + bias;
    y[o] = after(static_cast<float>(real), step.arithmetic, c);
  });
}

template <class T>
inline void looked_up(const Plan& plan, const Step& step, const Memory& m) {
  const T* x = reinterpret_cast<const T*>(m.tensors[step.x]);
  float* y = real_output(m, step.y);
  const bool by_channel = static_cast<int64_t>(step.reals.size()) > step.columns;
  over_channels(step, plan.tensors[step.x].elements, m.count, [&](int32_t c, int64_t o, int64_t i) {
    const int64_t place = int64_t{x[i]} - step.lo;
    const int64_t column = place < 0 ? 0 : place < step.columns ? place : step.columns - 1;
    y[o] = step.reals.data()[(by_channel ? int64_t{c} * step.columns : 0) + column];
  });
}

// Rows of reals, `channels` long.
inline void run_softmax(const Plan& plan, const Step& step, const Memory& m) {
  const float* x = real_input(m, step.x);
  float* y = real_output(m, step.y);
  const int64_t rows = plan.tensors[step.x].elements / step.channels * m.count;
  for (int64_t r = 0; r < rows; r++, x += step.channels, y += step.channels) {
    double most = x[0], total = 0;
    for (int32_t i = 1; i < step.channels; i++) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    for (int32_t i = 0; i < step.channels; i++) total += std::exp(x[i] - most);
    for (int32_t i = 0; i < step.channels; i++) y[i] = static_cast<float>(std::exp(x[i] - most) / total);
  }
}

inline bool run_plain(const Plan& plan, const Step& step, const Memory& m) {
  switch (step.kind) {
    case Kind::Quantize: return run_quantize(plan, step, m);
    case Kind::Compare: return run_compare(plan, step, m);
    case Kind::Product: run_product(plan, step, m); break;
    case Kind::Requantize: run_requantize(plan, step, m); break;
    case Kind::Table: run_table(plan, step, m); break;
    case Kind::PairTable: run_pair_table(plan, step, m); break;
    case Kind::Pool: run_pool(plan, step, m); break;
    case Kind::Move: run_move(plan, step, m); break;
    case Kind::Join: run_join(plan, step, m); break;
    case Kind::Dequantize:
      if (plan.tensors[step.x].element == Element::Byte)
        real_of<uint8_t>(plan, step, m, plan.tensors[step.x].zero);
      else
        real_of<int32_t>(plan, step, m, 0);
      break;
    case Kind::LookUp:
      if (plan.tensors[step.x].element == Element::Byte)
        looked_up<uint8_t>(plan, step, m);
      else
        looked_up<int32_t>(plan, step, m);
      break;
    case Kind::Softmax: run_softmax(plan, step, m); break;
  }
  return true;
}

}  // namespace
}  // namespace anybit
