// agrees: whether a path gives what plain C++ gives, on a few layers, before anything else is run by it.
#include <cstring>

#include "isa.hpp"

namespace anybit {
namespace {

struct Layer {
  int32_t size[2], kernel[2], strides[2], dilations[2], pads[2];
  int32_t group, inputs, outputs;
  EpilogueKind epilogue;
  int32_t thresholds;
  int32_t most;     // largest byte and magnitude of a weight
  int64_t samples;
};

constexpr Layer kLayers[] = {
    {{6, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, 5, 21, EpilogueKind::Thresholds, 3, 255, 3},
    {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, 1, 131, 53, EpilogueKind::None, 0, 255, 1},
    {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, 1, 131, 53, EpilogueKind::Multiplier, 0, 255, 17},
    {{7, 9}, {2, 3}, {2, 1}, {1, 2}, {0, 1}, 2, 3, 18, EpilogueKind::Multiplier, 0, 127, 3},
    {{5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 19, 1, 19, EpilogueKind::Thresholds, 7, 15, 2},
    {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, 1, 70, 33, EpilogueKind::Thresholds, 30, 15, 5},
    {{6, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, 37, 35, EpilogueKind::Multiplier, 0, 14, 3},
    {{6, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, 37, 35, EpilogueKind::Thresholds, 3, 1, 3},
    {{2, 20}, {2, 2}, {1, 1}, {1, 1}, {0, 0}, 1, 32, 48, EpilogueKind::Multiplier, 0, 255, 1},
};

// Numbers that look like chance, the same everywhere.
class Numbers {
 public:
  int32_t below(int32_t most) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int32_t>((state_ >> 33) % static_cast<uint64_t>(most));
  }

 private:
  uint64_t state_ = 1;
};

int32_t place(int64_t* arena, int64_t bytes) {
  const int64_t at = *arena;
  *arena += (bytes + 63) / 64 * 64;
  return static_cast<int32_t>(at);
}

Epilogue epilogue_of(const Layer& layer, int32_t reach, Numbers& numbers) {
  Epilogue e;
  e.kind = layer.epilogue;
  e.count = layer.thresholds;
  for (int32_t o = 0; o < layer.outputs; o++) {
    if (layer.epilogue == EpilogueKind::Thresholds) {
      e.step.push_back(o % 3 == 1 ? -1 : 1);
      e.base.push_back(o % 3 == 1 ? 200 : 3);
      int32_t at = -reach;
      for (int32_t k = 0; k < layer.thresholds; k++) e.values.push_back(at += numbers.below(2 * reach / layer.thresholds + 1));
    } else if (layer.epilogue == EpilogueKind::Multiplier) {
      e.factor.push_back(1 + o % 2);
      e.bias.push_back(numbers.below(99) - 49);
      e.multiplier.push_back(static_cast<float>(1 + o % 5) * 100.0f / static_cast<float>(reach));
    }
  }
  e.zero = 128;
  return e;
}

void build(Plan& plan, const Layer& layer, const Kernels& kernels) {
  Numbers numbers;
  Step product;
  product.kind = Kind::Product;
  Window& w = product.window;
  int64_t in = 1, out = 1;
  for (int i = 0; i < 2; i++) {
    w.size[i] = layer.size[i];
    w.kernel[i] = layer.kernel[i];
    w.strides[i] = layer.strides[i];
    w.dilations[i] = layer.dilations[i];
    w.pads[i] = layer.pads[i];
    w.output[i] = (layer.size[i] + 2 * layer.pads[i] - (layer.kernel[i] - 1) * layer.dilations[i] - 1) / layer.strides[i] + 1;
    in *= w.size[i];
    out *= w.output[i];
  }
  in *= int64_t{layer.group} * layer.inputs;
  out *= layer.outputs;
  product.group = layer.group;
  product.inputs = layer.inputs;
  product.outputs = layer.outputs;
  const int32_t terms = layer.kernel[0] * layer.kernel[1] * layer.inputs;
  const int32_t largest = layer.most < 128 ? layer.most : 128;
  for (int32_t i = 0; i < terms * layer.outputs; i++) {
    int32_t value = numbers.below(2 * largest + 1) - largest;
    if (layer.most == 1) value = value < 0 ? -1 : 1;  // signs, as bits are
    product.weights.push_back(static_cast<int8_t>(i % 5 == 0 ? -largest : value < 128 ? value : 127));
  }
  for (int32_t o = 0; o < layer.outputs; o++) product.offset.push_back(numbers.below(2001) - 1000);
  product.epilogue = epilogue_of(layer, terms * layer.most * largest / 8 + 1, numbers);
  const bool sums = layer.epilogue == EpilogueKind::None;
  Step levels, reals;
  levels.kind = Kind::Quantize;
  levels.x = 0;
  levels.y = product.x = 1;
  levels.scale = {1.0f};
  levels.zero_point = {0.0f};
  levels.hi = layer.most;
  reals.kind = Kind::Dequantize;
  product.y = reals.x = 2;
  reals.y = 3;
  reals.wide_scale = {1.0};
  reals.wide_bias = {0.0};
  plan.tensors.push_back({in, Element::Real, 0, 0, 0, -1});
  plan.tensors.push_back({in, Element::Byte, layer.most / 2, 0, layer.most, place(&plan.arena, in)});
  const int32_t at = place(&plan.arena, sums ? 4 * out : out);
  plan.tensors.push_back({out, sums ? Element::Sum : Element::Byte, 0, 0, 255, at});
  plan.tensors.push_back({out, Element::Real, 0, 0, 0, -1});
  plan.inputs.push_back({"x", 0, {in}});
  plan.outputs.push_back({"y", 3, {out}});
  plan.steps.push_back(std::move(levels));
  plan.steps.push_back(std::move(product));
  plan.steps.push_back(std::move(reals));
  plan.kernels = &kernels;
  finish(plan);
}

std::vector<float> outputs_of(const Layer& layer, const Kernels& kernels) {
  Plan plan;
  build(plan, layer, kernels);
  Numbers numbers;
  std::vector<float> x, y(static_cast<size_t>(plan.tensors[3].elements * layer.samples), -1.0f);
  for (int64_t i = 0; i < plan.tensors[0].elements * layer.samples; i++) x.push_back(static_cast<float>(numbers.below(layer.most + 1)));
  for (size_t i = 0; i < x.size(); i += 7) x[i] = static_cast<float>(layer.most);
  const float* input = x.data();
  float* output = y.data();
  execute(plan, {&input, &output}, layer.samples, 1);
  return y;
}

}  // namespace

bool agrees(const Kernels& kernels) {
  if (&kernels == &scalar_kernels) return true;
  for (const Layer& layer : kLayers) {
    const std::vector<float> wanted = outputs_of(layer, scalar_kernels), found = outputs_of(layer, kernels);
    if (std::memcmp(wanted.data(), found.data(), wanted.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

}  // namespace anybit
