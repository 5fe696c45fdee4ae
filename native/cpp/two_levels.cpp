// find_two_levels: the tensors of bytes that hold two levels alone, by what their steps can make.
#include <bitset>

#include "plan.hpp"

namespace anybit {
namespace {

using Levels = std::bitset<256>;

void add_range(Levels& levels, int32_t lo, int32_t hi) {
  for (int32_t level = lo; level <= hi; level++) levels.set(static_cast<uint8_t>(level));
}

// Those behind k thresholds of each row, for each k that something reaches: equal thresholds are reached together.
template <class T>
void add_thresholds(Levels& levels, const std::vector<int32_t>& base, const std::vector<int32_t>& step, const T* values,
                    int32_t count) {
  for (size_t row = 0; row < base.size(); row++, values += count)
    for (int32_t k = 0; k <= count; k++)
      if (k == 0 || k == count || !(values[k - 1] == values[k])) levels.set(static_cast<uint8_t>(base[row] + step[row] * k));
}

void add_epilogue(Levels& levels, const Epilogue& e) {
  if (e.kind == EpilogueKind::Thresholds)
    add_thresholds(levels, e.base, e.step, e.values.data(), e.count);
  else
    add_range(levels, e.lo, e.hi);
}

Levels made_by(const Plan& plan, const Step& step, const std::vector<Levels>& known) {
  Levels made;
  switch (step.kind) {
    case Kind::Quantize: add_range(made, 0, step.hi - step.lo); break;
    case Kind::Compare: add_thresholds(made, step.base, step.step, step.thresholds.data(), step.count); break;
    case Kind::Product:
    case Kind::Requantize: add_epilogue(made, step.epilogue); break;
    case Kind::Table:
    case Kind::PairTable:
      for (uint8_t level : step.table) made.set(level);
      break;
    case Kind::Pool:
      made = known[step.x];
      if (step.window.is_padded()) made.set(0);
      break;
    case Kind::Move:
      made = known[step.x];
      for (int32_t from : step.index)
        if (from < 0) made.set(static_cast<uint8_t>(plan.tensors[step.x].zero));
      break;
    default: made.set();
  }
  return made;
}

}  // namespace

void find_two_levels(Plan& plan) {
  std::vector<Levels> known(plan.tensors.size());
  for (const Step& step : plan.steps) {
    Tensor& y = plan.tensors[step.y];
    if (y.element != Element::Byte) continue;
    const Levels levels = made_by(plan, step, known);
    known[step.y] = levels;
    if (levels.count() != 2) continue;
    for (int32_t level = 255; level >= 0; level--)
      if (levels[static_cast<size_t>(level)]) y.second = y.first >= 0 ? y.first : level, y.first = level;
  }
}

}  // namespace anybit
