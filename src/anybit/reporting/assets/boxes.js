// A block as it is drawn, at several distances: its colour; its width in bits; its operator; all of its operations; and
// nearer still, more of its names.

const BOX = { width: 224, head: 40, row: 15, end: 34, letters: 30 };
const DISTANCES = [
  { name: "dots", from: 0 }, { name: "far", from: 0.1 }, { name: "mid", from: 0.34 }, { name: "near", from: READABLE, letters: 1 },
  { name: "close", from: 1.5, letters: 1.5 }, { name: "closest", from: 2.6, letters: 2.5 },
];
const distanceOf = (k) => DISTANCES.filter((d) => k >= d.from).pop();

// A text that is shortened in its middle, and longer where the letters are smaller.
function shortened(attributes, text, letters) {
  const node = svg("text", { ...attributes, class: `${attributes.class} shortened` }, cut(text, letters));
  Object.assign(node, { whole: text, letters });
  return node;
}

function sizeOfBlock(block) {
  if (block.ends) return [BOX.width, BOX.end];
  const rows = block.operations.length - 1;
  return [BOX.width, BOX.head + (rows ? rows * BOX.row + 8 : 0)];
}

function drawBlock(block, index, [x, y]) {
  const [w, h] = sizeOfBlock(block), left = -w / 2, top = -h / 2;
  const group = svg("g", { class: `node ${block.kind}`, transform: `translate(${x} ${y})`, role: "button", tabindex: -1, "data-index": index, "aria-label": blockLabel(block) });
  group.append(svg("title", {}, cut(blockName(block), 300)));
  group.append(svg("rect", { class: "box", x: left, y: top, width: w, height: h, rx: block.ends ? h / 2 : 4 }));
  if (block.ends) group.append(drawEnd(block, top));
  else group.append(...drawHead(block, left, top, h), ...drawRows(block, left, top));
  group.append(svg("text", { class: h < 60 ? "numeral flat" : "numeral", x: 0, y: 0 }, numeral(block)));
  return group;
}

function drawEnd(block, top) {
  return svg("g", { class: "detailed" },
    shortened({ class: "operator", x: 0, y: top + 15, "text-anchor": "middle" }, `${blockOperator(block)} ${blockName(block)}`, 24),
    shortened({ class: "small", x: 0, y: top + 27, "text-anchor": "middle" }, `${formatOf(block.ends)}  ${block.ends.shape}`, 34));
}

function drawHead(block, left, top, h) {
  const widths = widthsOf(block), operator = cut(blockOperator(block), widths ? 19 : 26);
  const parts = [
    svg("path", { class: "stripe", d: `M${left + 4} ${top}h3v${h}h-3a4 4 0 0 1 -4 -4v${8 - h}a4 4 0 0 1 4 -4z` }),
    svg("text", { class: "operator detailed", x: left + 16, y: top + 17 }, operator),
    shortened({ class: "small detailed", x: left + 16, y: top + 31 }, blockName(block), BOX.letters),
    svg("text", { class: "middling", x: left + 16, y: top + Math.min(h / 2, 26) + 5 }, cut(blockOperator(block), widths ? 9 : 14)),
  ];
  const tensor = lastTensor(block);
  if (tensor && h > 50) parts.push(svg("text", { class: "middling format", x: left + 16, y: top + 54 }, `→ ${cut(formatOf(tensor), 12)}`));
  if (!widths) return parts;
  const right = -left - 8, text = widths.join(" "), width = 12 + text.length * 6.6;
  parts.push(svg("g", { class: "chip" },
    svg("rect", { x: right - width, y: top + 6, width, height: 16, rx: 3 }),
    svg("text", { x: right - width / 2, y: top + 18, "text-anchor": "middle" }, text)));
  return parts;
}

function drawRows(block, left, top) {
  const rows = block.operations.slice(1).map((operation, i) => {
    const y = top + BOX.head + 12 + i * BOX.row, out = operation.outputs[0];
    const before = block.operations[i].outputs[0], name = shortOperator(operation.operator);
    const changed = out && out.bits !== null && /quant|trunc|threshold/i.test(name) && before;
    return svg("g", {},
      svg("text", { class: "follower", x: left + 16, y }, cut(name, 20)),
      changed && svg("text", { class: "small", x: -left - 10, y, "text-anchor": "end" }, cut(formatOf(out), 14)));
  });
  if (!rows.length) return [];
  const line = svg("line", { class: "rule", x1: left + 7, x2: -left, y1: top + BOX.head, y2: top + BOX.head });
  return [svg("g", { class: "detailed" }, line, rows)];
}

function numeral(block) {
  const widths = widthsOf(block);
  if (widths) return widths[0];
  return cut(blockOperator(block), 7);
}

function blockLabel(block) {
  const widths = widthsOf(block), tensor = lastTensor(block);
  const parts = [`${blockOperator(block)} ${cut(blockName(block), 120)}`];
  if (widths) parts.push(block.has_weights ? `weights ${bitsText(block.weight_bits)} bits` : "no weights", `inputs ${bitsText(block.input_bits)} bits`);
  if (tensor) parts.push(`output ${formatOf(tensor)}`);
  if (block.operations.length > 1) parts.push(`then ${block.operations.slice(1).map((o) => shortOperator(o.operator)).join(", ")}`);
  return parts.join(", ");
}

// A smooth line through the points, straight at both ends.
function drawEdge(edge, index, points, labelled) {
  const path = [`M${points[0][0]} ${points[0][1]}`];
  for (let i = 1; i < points.length - 1; i++) {
    const [x, y] = points[i], [nx, ny] = points[i + 1];
    const last = i === points.length - 2;
    path.push(`Q${x} ${y} ${last ? nx : (x + nx) / 2} ${last ? ny : (y + ny) / 2}`);
  }
  if (points.length === 2) path.push(`L${points[1][0]} ${points[1][1]}`);
  const [mx, my] = points[Math.floor(points.length / 2)];
  const plain = edge.format === "?" || /^FLOAT(16|32)$|^FLOAT<(11,52|8,7)/.test(edge.format);
  return svg("g", { class: plain ? "edge plain" : "edge", "data-index": index },
    svg("path", { d: path.join("") }),
    labelled && shortened({ class: "label", x: mx + 6, y: my + 3 }, `${edge.format}  ${edge.shape}`, 36));
}
