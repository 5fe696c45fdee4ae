// Where the bits are: shares of the model by bit width, and every layer with its size, its work and its accumulator.

const FIGURES = [["macs", "MACs"], ["bit_operations", "Bit operations"], ["weight_bits", "Weight bits"], ["activation_bits", "Activation bits"]];

const layersOf = (report) => report.blocks.flatMap((block, index) => block.operations.filter((o) => o.cost).map((o) => ({ ...o, block, index })));

// Sums of a figure by the class of the blocks that it belongs to; what is not known counts as nothing.
function sharesBy(layers, figure, by) {
  const totals = new Map();
  layers.forEach(({ cost, block }) => {
    const c = classOfBlock(block, by);
    if (cost.dense[figure]) totals.set(c, (totals.get(c) || 0) + cost.dense[figure]);
  });
  return classesBy(by).flatMap((c) => [...totals].filter(([k]) => k.name === c.name).map(([, amount]) => ({ ...c, amount })));
}

function shareChart(title, parts) {
  const total = parts.reduce((sum, p) => sum + p.amount, 0);
  if (!total) return [];
  return [el("figure", { class: "shares" }, el("figcaption", {}, title), stackedBar(parts, parts.map((p) => `${p.text} ${percent(p.amount / total)}`).join(", ")),
    el("ul", { class: "legend-list" }, parts.map((p) => el("li", {}, el("i", { class: `swatch ${p.name}` }), `${p.text} `, el("b", {}, percent(p.amount / total)), ` ${big(p.amount)}`))))];
}

const perText = ({ cost_samples: n }) => (n === null ? "for one run" : n === 1 ? "for one sample" : `for one run of ${whole(n)} samples`);

function bitsView(report, choose) {
  const layers = layersOf(report);
  layers.forEach((layer, order) => {
    Object.assign(layer, { order, accumulator: accumulatorBits(layer), noise: noiseOf(report.losses, layer.index, null) });
  });
  if (!layers.length) return [el("p", { class: "empty" }, "Nothing in this model multiplies tensors.")];
  const pairs = report.cost.pairs.map((p) => ({ text: p.text, amount: p.bit_operations, name: classOfBits(p.weight_bits, WEIGHTS).name }));
  return [el("h2", {}, "Where the bits are"),
    el("div", { class: "charts" },
      shareChart("Weights: bits stored, by width", sharesBy(layers, "weight_bits", "weight_bits")),
      shareChart("Activations: bits read, by width", sharesBy(layers, "activation_bits", "input_bits")),
      shareChart("Bit operations, by width of the weights", sharesBy(layers, "bit_operations", "weight_bits")),
      shareChart("Bit operations, by number formats (activation × weight)", pairs)),
    layerTable(report, layers, choose)];
}

function layerTable(report, layers, choose) {
  const most = Object.fromEntries(FIGURES.map(([key]) => [key, Math.max(1, ...layers.map((l) => l.cost.dense[key] || 0))]));
  const widest = Math.max(1, ...layers.map((l) => l.accumulator || 0)), body = el("tbody");
  const scaleBy = (key) => (key === "activation_bits" ? "input_bits" : "weight_bits");
  const figure = ({ cost, block }, key) => barCell(big(cost.dense[key]), (cost.dense[key] || 0) / most[key], classOfBlock(block, scaleBy(key)).name);
  const columns = [
    { key: "order", title: "Layer", cell: (l) => el("th", { scope: "row" }, linkTo(l.index, cut(l.name, 44), choose)) },
    { title: "Operator", cell: (l) => el("td", {}, shortOperator(l.operator)) },
    { title: "Operands", cell: (l) => el("td", { class: "operands" }, l.cost.pairs.map((p) => p.text).join(", ") || "–") },
    ...FIGURES.map(([key, title]) => ({ key, title, value: (l) => l.cost.dense[key], cell: (l) => figure(l, key) })),
    { key: "accumulator", title: "Accumulator", cell: (l) => barCell(l.accumulator === null ? "–" : plural(l.accumulator, "bit"), (l.accumulator || 0) / widest, "plainbar") },
    ...(report.losses ? [{ key: "noise", title: "Sensitivity", cell: (l) => el("td", { class: "number" }, l.noise === null ? "–" : noiseText(l.noise)) }] : []),
  ];
  const value = (l, { key, value: of }) => (of ? of(l) : l[key]) ?? -Infinity;
  const row = (layer) => el("tr", { "data-index": layer.index }, columns.map((c) => c.cell(layer)));
  const heads = columns.map((column) => el("th", { scope: "col", "aria-sort": column.key === "order" ? "ascending" : null },
    column.key ? el("button", { type: "button", onclick: (e) => sort(column, e.currentTarget.parentNode) }, column.title) : column.title));
  const sort = (column, head) => {
    const falling = column.key !== "order" ? head.getAttribute("aria-sort") !== "descending" : head.getAttribute("aria-sort") === "ascending";
    heads.forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const less = (a, b) => (value(a, column) === value(b, column) ? 0 : value(a, column) < value(b, column) ? -1 : 1);
    body.replaceChildren(...layers.slice().sort((a, b) => (falling ? less(b, a) : less(a, b)) || a.order - b.order).map(row));
  };
  body.append(...layers.map(row));
  const used = (by) => new Set(layers.map(({ block }) => classOfBlock(block, by).name));
  return el("div", { class: "sideways" }, el("table", { class: "wide cost" },
    el("caption", {}, `By layer, ${perText(report)}`,
      el("div", { class: "keys" }, el("span", {}, "weights"), chartLegend(classesBy("weight_bits"), used("weight_bits")), el("span", {}, "activations"), chartLegend(classesBy("input_bits"), used("input_bits")))),
    el("thead", {}, el("tr", {}, heads)), body));
}

const barCell = (text, share, name) => el("td", { class: "figure" }, el("div", {}, el("span", { class: "number" }, text), el("span", { class: "barcell" }, cellBar(share, name))));
