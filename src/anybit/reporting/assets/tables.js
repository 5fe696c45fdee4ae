// The views beside the graph: cost by layer, formats, findings.

function linkTo(block, text, choose) {
  if (block === null) return el("bdi", {}, text);
  return el("button", { type: "button", class: "link", onclick: () => choose(block) }, el("bdi", {}, text));
}

const FIGURES = [["macs", "MACs"], ["bit_operations", "Bit operations"], ["weight_bits", "Weight bits"], ["activation_bits", "Activation bits"]];

function costView(report, choose) {
  const layers = report.blocks.flatMap((block, index) => block.operations.filter((o) => o.cost).map((o) => ({ ...o, block, index })));
  layers.forEach((layer, order) => { layer.order = order; });
  if (!layers.length) return [el("p", { class: "empty" }, "Nothing in this model multiplies tensors.")];
  const most = Object.fromEntries(FIGURES.map(([key]) => [key, Math.max(1, ...layers.map((l) => l.cost.dense[key] || 0))]));
  const body = el("tbody");
  const heads = [["order", "Layer"], [null, "Operator"], [null, "Operands"], ...FIGURES].map(([key, text]) =>
    el("th", { scope: "col", "aria-sort": key === "order" ? "ascending" : null }, key ? el("button", { type: "button", onclick: (e) => sort(key, e.currentTarget.parentNode) }, text) : text));
  const cells = ({ cost, block }, key) => [el("td", { class: "number" }, big(cost.dense[key])), el("td", { class: "barcell" }, cellBar((cost.dense[key] || 0) / most[key], key === "activation_bits" ? classOfBits(block.input_bits).name : classOfBlock(block, "weight_bits").name))];
  const row = (layer) => el("tr", { "data-index": layer.index },
    el("th", { scope: "row" }, linkTo(layer.index, cut(layer.name, 44), choose)),
    el("td", {}, shortOperator(layer.operator)),
    el("td", { class: "operands" }, layer.cost.pairs.map((p) => p.text).join(", ") || "–"),
    FIGURES.map(([key]) => el("td", { class: "figure" }, el("div", {}, cells(layer, key).map((c) => el("span", { class: c.className }, ...c.childNodes))))));
  const sort = (key, head) => {
    const falling = key !== "order" ? head.getAttribute("aria-sort") !== "descending" : head.getAttribute("aria-sort") === "ascending";
    heads.forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (l) => (key === "order" ? l.order : l.cost.dense[key] ?? -1);
    body.replaceChildren(...layers.slice().sort((a, b) => (falling ? value(b) - value(a) : value(a) - value(b)) || a.order - b.order).map(row));
  };
  body.append(...layers.map(row));
  return [...formatShares(report), el("table", { class: "wide cost" }, el("caption", {}, `By layer, ${perText(report)}`), el("thead", {}, el("tr", {}, heads)), body)];
}

const perText = ({ cost_samples: n }) => (n === null ? "for one run" : n === 1 ? "for one sample" : `for one run of ${whole(n)} samples`);

function formatShares(report) {
  const { pairs } = report.cost;
  if (!pairs.length) return [];
  const total = pairs.reduce((sum, p) => sum + p.bit_operations, 0) || 1;
  const parts = pairs.map((p) => ({ text: p.text, amount: p.bit_operations, name: classOfBits(p.weight_bits).name }));
  return [el("figure", { class: "shares" },
    el("figcaption", {}, "Bit operations by pair of number formats (activation × weight)"),
    stackedBar(parts, parts.map((p) => `${p.text} ${percent(p.amount / total)}`).join(", ")),
    el("ul", {}, parts.map((p) => el("li", {}, el("i", { class: `swatch ${p.name}` }), `${p.text} `, el("b", {}, percent(p.amount / total)), ` ${big(p.amount)}`))))];
}

function formatsView(report, choose) {
  const cell = (text) => {
    const [carried, of] = text.split("/").map(Number);
    const state = text === "yes" || carried === of ? "full" : text === "-" ? "none" : "part";
    return el("td", { class: state }, text === "-" ? "–" : text);
  };
  const table = el("table", { class: "wide formats" }, el("caption", {}, "What each format can carry of this model"),
    el("thead", {}, el("tr", {}, ["Format", ...report.shares, "refused"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, report.formats.map((f) => el("tr", {}, el("th", { scope: "row" }, f.format), f.shares.map(cell), el("td", { class: f.refusals.length ? "part" : "full" }, whole(f.refusals.length))))));
  return [table, ...report.formats.filter((f) => f.refusals.length).map((f) => refusals(f, choose))];
}

function refusals(format, choose) {
  const groups = new Map();
  format.refusals.forEach((r) => groups.set(r.text, [...(groups.get(r.text) || []), r]));
  return el("section", {}, el("h3", {}, `${format.format} refuses ${plural(format.refusals.length, "node")}`),
    [...groups].map(([text, found]) => el("details", { open: found.length <= 6 },
      el("summary", {}, el("b", {}, whole(found.length)), " ", el("bdi", {}, text)),
      el("ul", { class: "nodes" }, found.map((r) => el("li", {}, linkTo(r.block, cut(r.node || "the model", 90), choose)))))));
}

function findingsView(report, choose) {
  if (!report.findings.length) return [el("p", { class: "empty" }, "Nothing was found: every node has a meaning, and every figure is known.")];
  return [el("table", { class: "wide findings" }, el("caption", {}, plural(report.findings.length, "finding")),
    el("thead", {}, el("tr", {}, ["Severity", "Rule", "Where", "What"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, report.findings.map((f) => el("tr", { class: f.severity }, el("td", {}, el("span", { class: "tag" }, f.severity)), el("td", {}, f.rule), el("td", {}, linkTo(f.block, cut(f.node || "the model", 60), choose)), el("td", {}, el("bdi", {}, f.text))))))];
}
