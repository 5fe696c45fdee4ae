// Two models: what changed from the earlier to the later one, and where their results depart.

function changesView(report, before, changes, choose) {
  return [el("h2", {}, "What changed"), ...departures(changes, choose), el("div", { class: "sideways" }, changesTable(report, before, changes, choose))];
}

function departures({ compared }, choose) {
  if (compared.failure) return [el("p", { class: "departs" }, `The results are not compared: ${compared.failure}`)];
  const text = (d) => `${whole(d.departing)} of ${plural(d.elements, "element")} depart, at most by ${real(d.largest)}${d.steps === null ? "" : `, ${real(d.steps)} steps of the grid`}`;
  const rows = compared.outputs.map((d) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, cut(d.name, 44))), el("td", { class: d.departing ? "part" : "full" }, d.departing ? text(d) : d.unequal ? `equal within ${real(compared.tolerance)} of the largest magnitude` : "the same numbers")));
  const first = compared.first, where = first && linkTo(first.block, cut(first.name, 60), choose);
  return [
    el("p", { class: "departs" }, first ? ["The first tensor that departs is ", where, `: ${text(first)}.`] : compared.outputs.some((d) => d.departing) ? "Outputs depart; every tensor before them that is in both models is equal." : "No tensor departs."),
    el("div", { class: "sideways" }, el("table", { class: "wide" }, el("caption", {}, `Outputs on ${plural(compared.samples, "sample")} ${compared.random ? "drawn at random" : "of the data"}`), el("tbody", {}, rows)))];
}

// What of a block a reader compares, by its name.
function aspectsOf(block) {
  const layer = block.operations.find((o) => o.cost), tensor = lastTensor(block);
  const accumulator = layer ? accumulatorBits(layer) : null;
  return [
    ["operations", block.ends ? blockOperator(block) : block.operations.map((o) => shortOperator(o.operator)).join(", ")],
    ["widths", (widthsOf(block) || []).join(" ")],
    ["output", tensor ? formatOf(tensor) : ""],
    ["shape", tensor ? tensor.shape : ""],
    ["scale", tensor && tensor.scale ? tensor.scale : ""],
    ["MACs", layer ? big(layer.cost.dense.macs) : ""],
    ["bit operations", layer ? big(layer.cost.dense.bit_operations) : ""],
    ["weight bits", layer ? big(layer.cost.dense.weight_bits) : ""],
    ["accumulator", accumulator === null ? "" : plural(accumulator, "bit")],
  ];
}

function differencesOf(now, was) {
  const old = aspectsOf(was);
  return aspectsOf(now).map(([name, text], i) => [name, old[i][1], text]).filter(([, a, b]) => a !== b);
}

function changesTable(report, before, { earlier }, choose) {
  const pairs = report.blocks.map((block, index) => ({ block, index, was: earlier[index] === null ? null : before.blocks[earlier[index]] }));
  const known = new Set(earlier.filter((i) => i !== null));
  const gone = before.blocks.filter((_, i) => !known.has(i));
  const change = (list) => el("dl", { class: "change" }, list.map(([name, a, b]) => [el("dt", {}, name), el("dd", {}, el("del", {}, a || "none"), " → ", el("ins", {}, b || "none"))]));
  const changed = pairs.filter((p) => p.was && differencesOf(p.block, p.was).length), added = pairs.filter((p) => !p.was);
  const row = (kind, where, operator, what) => el("tr", {}, el("td", {}, el("span", { class: `tag ${kind}` }, kind)), el("th", { scope: "row" }, where), el("td", {}, operator), el("td", {}, what));
  const rows = [
    ...changed.map(({ block, index, was }) => row("changed", linkTo(index, cut(blockName(block), 44), choose), blockOperator(block), change(differencesOf(block, was)))),
    ...added.map(({ block, index }) => row("new", linkTo(index, cut(blockName(block), 44), choose), blockOperator(block), "")),
    ...gone.map((block) => row("gone", el("bdi", {}, cut(blockName(block), 44)), blockOperator(block), "")),
  ];
  const same = pairs.length - changed.length - added.length;
  return el("table", { class: "wide changes" }, el("caption", {}, `${plural(changed.length, "block")} changed, ${added.length} new, ${gone.length} gone, ${same} as before`),
    el("thead", {}, el("tr", {}, ["Change", "Where", "Operator", "From → to"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, rows));
}
