// Steps as they come in, looked through part by part; whether they fit together is for compile.cpp.
#include "read.hpp"

#include <cstring>
#include <limits>

namespace anybit {

int32_t small(int64_t n) {
  if (n < std::numeric_limits<int32_t>::min() || n > std::numeric_limits<int32_t>::max()) throw Invalid("a number of more than 32 bits");
  return static_cast<int32_t>(n);
}

int32_t Parts::next() {
  if (place_ >= ints_.size()) throw Invalid("a step with too few numbers");
  return small(ints_[place_++]);
}

int32_t Parts::count(int32_t most) {
  const int32_t n = next();
  if (n < 0 || n > most) throw Invalid("a number of parts");
  return n;
}

void Parts::done() {
  if (place_ != ints_.size() || array_ != arrays_.size()) throw Invalid("a step with too many parts");
}

namespace {

template <class T>
constexpr Array::Type kTypeOf = Array::Type::Float64;
template <>
constexpr Array::Type kTypeOf<int8_t> = Array::Type::Int8;
template <>
constexpr Array::Type kTypeOf<uint8_t> = Array::Type::UInt8;
template <>
constexpr Array::Type kTypeOf<int32_t> = Array::Type::Int32;
template <>
constexpr Array::Type kTypeOf<float> = Array::Type::Float32;

}  // namespace

template <class T>
std::vector<T> Parts::array() {
  if (array_ >= arrays_.size()) throw Invalid("a step with too few arrays");
  const Array& array = arrays_[array_++];
  if (array.type != kTypeOf<T> || array.bytes.size() % sizeof(T) != 0) throw Invalid("an array of another element type");
  std::vector<T> found(array.bytes.size() / sizeof(T));
  if (!found.empty()) std::memcpy(found.data(), array.bytes.data(), array.bytes.size());
  return found;
}

namespace {

void read_arithmetic(Parts& parts, Step& step) {
  const int32_t count = parts.count(64);
  for (int32_t i = 0; i < count; i++) {
    const int32_t operation = parts.count(static_cast<int32_t>(Arithmetic::Divide));
    step.arithmetic.push_back({static_cast<Arithmetic>(operation), parts.array<float>()});
  }
}

void read_epilogue(Parts& parts, Epilogue& e) {
  e.kind = static_cast<EpilogueKind>(parts.count(2));
  if (e.kind == EpilogueKind::Thresholds) {
    e.selected = parts.next();
    e.count = parts.next();
    e.base = parts.array<int32_t>();
    e.step = parts.array<int32_t>();
    e.values = parts.array<int32_t>();
  } else if (e.kind == EpilogueKind::Multiplier) {
    e.zero = parts.next();
    e.lo = parts.next();
    e.hi = parts.next();
    e.factor = parts.array<int32_t>();
    e.bias = parts.array<int32_t>();
    e.multiplier = parts.array<float>();
  }
}

void read_window(Parts& parts, Window& w) {
  for (int32_t* pair : {w.size, w.kernel, w.strides, w.dilations, w.pads, w.output})
    for (int i = 0; i < 2; i++) pair[i] = parts.next();
}

}  // namespace

Tensor read_tensor(const std::vector<int64_t>& t) {
  if (t.size() != 6 || t[1] < 0 || t[1] > 2) throw Invalid("a tensor of no kind");
  return {t[0], static_cast<Element>(t[1]), small(t[2]), small(t[3]), small(t[4]), t[5]};
}

Step read_step(int64_t kind, Parts parts) {
  if (kind < 0 || kind > static_cast<int64_t>(Kind::Softmax)) throw Invalid("a step of no kind");
  Step s;
  s.kind = static_cast<Kind>(kind);
  s.y = parts.next();
  if (s.kind == Kind::Join) {
    const int32_t count = parts.count(1 << 16);
    for (std::vector<int32_t>* list : {&s.xs, &s.lengths, &s.shifts})
      for (int32_t i = 0; i < count; i++) list->push_back(parts.next());
    parts.done();
    return s;
  }
  if (s.kind == Kind::PairTable) {
    s.a = parts.count(1 << 30);
    s.b = parts.count(1 << 30);
  } else {
    s.x = parts.count(1 << 30);
  }
  s.channels = parts.next();
  switch (s.kind) {
    case Kind::Quantize:
      s.channels_first = parts.count(1) == 1;
      s.lo = parts.next();
      s.hi = parts.next();
      s.scale = parts.array<float>();
      s.zero_point = parts.array<float>();
      read_arithmetic(parts, s);
      break;
    case Kind::Compare:
      s.channels_first = parts.count(1) == 1;
      s.count = parts.next();
      s.base = parts.array<int32_t>();
      s.step = parts.array<int32_t>();
      s.thresholds = parts.array<float>();
      break;
    case Kind::Product:
      s.group = parts.next();
      s.inputs = parts.next();
      s.outputs = parts.next();
      read_window(parts, s.window);
      s.weights = parts.array<int8_t>();
      s.offset = parts.array<int32_t>();
      read_epilogue(parts, s.epilogue);
      break;
    case Kind::Requantize:
      s.selector = parts.next();
      if (s.selector < -1) throw Invalid("a tensor that is not there");
      read_epilogue(parts, s.epilogue);
      break;
    case Kind::Table:
      s.table = parts.array<uint8_t>();
      break;
    case Kind::PairTable:
      s.rows = parts.next();
      s.columns = parts.next();
      s.table = parts.array<uint8_t>();
      break;
    case Kind::Pool:
      s.maximum = parts.count(1) == 1;
      read_window(parts, s.window);
      break;
    case Kind::Move:
      s.index = parts.array<int32_t>();
      break;
    case Kind::Dequantize:
      s.channels_first = parts.count(1) == 1;
      s.wide_scale = parts.array<double>();
      s.wide_bias = parts.array<double>();
      {
        const std::vector<double> divisor = parts.array<double>();
        if (divisor.size() != 1) throw Invalid("a divisor that is not one number");
        s.divisor = divisor[0];
      }
      read_arithmetic(parts, s);
      break;
    case Kind::LookUp:
      s.channels_first = parts.count(1) == 1;
      s.lo = parts.next();
      s.columns = parts.next();
      s.reals = parts.array<float>();
      break;
    default:
      break;
  }
  parts.done();
  return s;
}

}  // namespace anybit
