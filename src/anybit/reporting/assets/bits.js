// Bit widths as the classes that colours stand for.

const CLASSES = [
  { name: "b1", text: "1", holds: (n) => n <= 1 },
  { name: "b2", text: "2", holds: (n) => n === 2 },
  { name: "b3", text: "3", holds: (n) => n === 3 },
  { name: "b4", text: "4", holds: (n) => n === 4 },
  { name: "b6", text: "5–6", holds: (n) => n <= 6 },
  { name: "b8", text: "7–8", holds: (n) => n <= 8 },
  { name: "b16", text: "9–16", holds: (n) => n <= 16 },
  { name: "b32", text: "17 and more", holds: () => true },
];
const FLOAT = { name: "float", text: "not quantised" };
const NONE = { name: "none", text: "no weights" };

const classOfBits = (bits) => (bits === null ? FLOAT : CLASSES.find((c) => c.holds(bits)));

// The class of a block, where colours stand for one of its three widths.
function classOfBlock(block, by) {
  if (by === "output_bits") return classOfBits(block.output_bits);
  if (block.kind !== "layer" || !block.operations.some((o) => o.cost && o.cost.pairs.length)) return NONE;
  return by === "weight_bits" && !block.has_weights ? NONE : classOfBits(block[by]);
}

const bitsText = (bits) => (bits === null ? "float" : String(bits));

// W4 A8: bits of the weights and of what they are multiplied by; A8 A8 where both operands depend on the input.
function widthsOf(block) {
  if (classOfBlock(block, "input_bits") === NONE) return null;
  const second = block.has_weights ? "W" : "A";
  return [`${second}${block.weight_bits ?? "f"}`, `A${block.input_bits ?? "f"}`];
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
