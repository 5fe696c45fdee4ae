// Bit widths as the classes that colours stand for: one scale for weights, one for activations.

const WIDTHS = [
  { width: "1", text: "1", holds: (n) => n <= 1 },
  { width: "2", text: "2", holds: (n) => n === 2 },
  { width: "3", text: "3", holds: (n) => n === 3 },
  { width: "4", text: "4", holds: (n) => n === 4 },
  { width: "6", text: "5–6", holds: (n) => n <= 6 },
  { width: "8", text: "7–8", holds: (n) => n <= 8 },
  { width: "16", text: "9–16", holds: (n) => n <= 16 },
  { width: "32", text: "17 and more", holds: () => true },
];
const scaleOf = (letter) => WIDTHS.map((c) => ({ name: letter + c.width, text: `${c.text} bit`, holds: c.holds }));
const WEIGHTS = scaleOf("w"), ACTIVATIONS = scaleOf("a");
const FLOAT = { name: "float", text: "not quantised" };
const MIXED = { name: "mixed", text: "mixed" };
const NONE = { name: "none", text: "no weights" };
// Signal to quantisation noise; the worst is the darkest of the scale of activations.
const NOISE = [
  { name: "a1", text: "under 10 dB", holds: (x) => x < 10 },
  { name: "a3", text: "10 to 20 dB", holds: (x) => x < 20 },
  { name: "a6", text: "20 to 30 dB", holds: (x) => x < 30 },
  { name: "a16", text: "30 to 40 dB", holds: (x) => x < 40 },
  { name: "a32", text: "40 dB and more", holds: () => true },
];

const classOfBits = (bits, scale) => (bits === null ? FLOAT : scale.find((c) => c.holds(bits)));

// Every class that a colouring can show, in the order of its legend.
const classesBy = (by) => (by === "weight_bits" ? [...WEIGHTS, MIXED, FLOAT, NONE]
  : by === "noise" ? [...NOISE, { ...NONE, text: "not measured" }]
    : [...ACTIVATIONS, MIXED, FLOAT, { ...NONE, text: "no products" }]);

const multiplies = (block) => block.kind === "layer" && block.operations.some((o) => o.cost && o.cost.pairs.length);

// The class of a block, where colours stand for one of its widths or for what it loses.
function classOfBlock(block, by) {
  if (by === "output_bits") return classOfBits(block.output_bits, ACTIVATIONS);
  if (by === "noise") return block.noise === null ? NONE : NOISE.find((c) => c.holds(block.noise));
  if (!multiplies(block)) return NONE;
  if (by === "weight_bits") return !block.has_weights ? NONE : block.weights_mixed ? MIXED : classOfBits(block.weight_bits, WEIGHTS);
  return block.inputs_mixed ? MIXED : classOfBits(block.input_bits, ACTIVATIONS);
}

const bitsText = (bits) => (bits === null ? "float" : String(bits));

// W4 A8: bits of the weights and of what they are multiplied by; A8 A8 where both operands depend on the input.
function widthsOf(block) {
  if (!multiplies(block)) return null;
  const second = block.has_weights ? "W" : "A";
  const text = (bits, mixed) => (mixed ? `≤${bits ?? "f"}` : bits ?? "f");
  return [`${second}${text(block.weight_bits, block.weights_mixed)}`, `A${text(block.input_bits, block.inputs_mixed)}`];
}

// The accumulator of a block: bits of the tightest bound of its widest sum; null where none is proven.
function accumulatorBits(operation) {
  const bits = operation.accumulators.filter((a) => a.bounds.length).map((a) => a.bounds[a.bounds.length - 1].bits);
  return bits.length ? Math.max(...bits) : null;
}

function blockName(block) {
  return block.ends ? block.ends.name : block.operations[0].name;
}

function blockOperator(block) {
  return block.ends ? (block.kind === "input" ? "Input" : "Output") : shortOperator(block.operations[0].operator);
}

function lastTensor(block) {
  if (block.ends) return block.ends;
  const outputs = block.operations[block.operations.length - 1].outputs;
  return outputs.length ? outputs[0] : null;
}

const formatOf = (tensor) => tensor.integers || tensor.format;
