// The panel beside the graph: one block, or the model where none is chosen.

class DetailView {
  constructor(report, choose, before, changes) {
    Object.assign(this, { report, choose, before, changes });
    this.root = byId("detail");
    this.messages = report.blocks.map(() => []);
    const formats = report.formats.flatMap((f) => f.refusals.map((r) => [r, f.format]));
    const tools = report.tools.flatMap((t) => t.messages.map((m) => [m, t.name]));
    const plan = report.plan ? report.plan.refusals.map((r) => [r, "native"]) : [];
    for (const [message, from] of [...report.findings.map((f) => [f, null]), ...formats, ...tools, ...plan]) {
      if (message.block !== null) this.messages[message.block].push([message, from]);
    }
    this.show(null);
  }

  show(index) {
    this.root.replaceChildren(...(index === null ? this.model() : this.block(this.report.blocks[index], index)));
    this.root.scrollTop = 0;
  }

  // A block of the earlier model that the later one does not have.
  missing(block) {
    this.root.replaceChildren(this.title(blockOperator(block), blockName(block)), el("p", { class: "hint" }, "Only the earlier model has this block."));
  }

  changed(index) {
    if (!this.before) return [];
    const was = this.changes.earlier[index];
    if (was === null) return [el("p", { class: "hint" }, "The earlier model has no such block.")];
    const list = differencesOf(this.report.blocks[index], this.before.blocks[was]);
    return list.length ? [this.section("Changed", el("dl", { class: "change" }, list.map(([name, a, b]) => [el("dt", {}, name), el("dd", {}, el("del", {}, a || "none"), " → ", el("ins", {}, b || "none"))])))] : [el("p", { class: "hint" }, "As in the earlier model.")];
  }

  losses(index) {
    const found = this.report.losses ? this.report.losses.tensors.filter((t) => t.block === index) : [];
    if (!found.length) return [];
    const rows = found.map((t) => el("tr", {}, el("th", { scope: "row" }, `${t.is_weight ? "weight" : "activation"}, ${plural(t.bits, "bit")}`), el("td", {}, noiseText(decibelsOf(t))), el("td", {}, t.accuracy === null ? "–" : percent(t.accuracy))));
    return [this.section("Sensitivity: quantised alone", el("table", {}, el("thead", {}, el("tr", {}, ["", "outputs", "accuracy"].map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows)))];
  }

  model() {
    const { facts, version, samples, nodes, blocks } = this.report;
    const lines = facts.map((f) => [el("dt", {}, f.label), f.text.split("\n").map((t) => el("dd", {}, el("bdi", {}, t)))]);
    const drawn = blocks.filter((b) => !b.ends).length;
    return [
      el("h2", {}, "Model"),
      el("dl", { class: "facts" }, lines, el("dt", {}, "Drawn"), el("dd", {}, `${plural(nodes, "node")} in ${plural(drawn, "block")}`),
        samples ? [el("dt", {}, "Data"), el("dd", {}, plural(samples, "sample"))] : []),
      el("p", { class: "hint" }, "Choose a block for its number formats, ranges, accumulators, cost and weights. Keys: / searches, arrows follow edges, + − 0 zoom, Esc leaves."),
      el("details", { class: "about" }, el("summary", {}, `anybit ${version}; graph layout by dagre`), el("pre", {}, byId("licence").textContent)),
    ];
  }

  block(block, index) {
    if (block.ends) {
      return [this.title(blockOperator(block), block.ends.name), ...this.changed(index), ...this.neighbours(index), ...this.losses(index), ...this.tensor(block.ends)];
    }
    const [first, ...rest] = block.operations;
    return [
      this.title(shortOperator(first.operator), first.name, first.operator),
      ...this.changed(index),
      ...this.neighbours(index),
      ...this.messages[index].length ? [this.section("Findings and refusals", this.messageList(index))] : [],
      ...this.losses(index),
      ...block.operations.filter((o) => o.cost).map((o) => this.cost(o)),
      ...this.operation(first, rest.length > 0),
      ...rest.flatMap((o) => [this.follower(o), ...this.operation(o, true)]),
      ...block.folded ? [el("p", { class: "hint" }, `${plural(block.folded, "node")} that compute${block.folded === 1 ? "s" : ""} its constants are folded into it.`)] : [],
    ];
  }

  title(operator, name, full = operator) {
    return el("header", {}, el("h2", { title: full }, operator), longText(name));
  }

  follower(operation) {
    return el("header", { class: "next" }, el("h3", { title: operation.operator }, `then ${shortOperator(operation.operator)}`), longText(operation.name));
  }

  neighbours(index) {
    const { edges, blocks } = this.report;
    const link = (i) => el("li", {}, el("button", { type: "button", class: "link", onclick: () => this.choose(i) }, `${blockOperator(blocks[i])} `, el("bdi", {}, cut(blockName(blocks[i]), 28))));
    const list = (label, found) => (found.length ? el("div", { class: "near-by" }, el("span", {}, label), el("ul", {}, [...new Set(found)].slice(0, 12).map(link), found.length > 12 && el("li", {}, `and ${found.length - 12} more`))) : null);
    return [list("from", edges.filter((e) => e.target === index).map((e) => e.source)), list("to", edges.filter((e) => e.source === index).map((e) => e.target))].filter(Boolean);
  }

  section(title, ...content) {
    return el("section", {}, el("h4", {}, title), content);
  }

  messageList(index) {
    return el("ul", { class: "messages" }, this.messages[index].map(([m, from]) =>
      el("li", { class: m.severity }, el("b", {}, from || `${m.severity}${m.rule ? ` [${m.rule}]` : ""}`), " ", el("bdi", {}, m.node ? `${cut(m.node, 60)}: ` : ""), el("bdi", {}, m.text))));
  }

  cost(operation) {
    const total = this.report.cost.dense, { dense, sparse, pairs } = operation.cost;
    const row = (label, key) => el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, big(dense[key])),
      el("td", {}, dense[key] !== null && total[key] ? percent(dense[key] / total[key]) : "–"),
      el("td", {}, sparse[key] === dense[key] ? "–" : big(sparse[key])));
    return this.section("Cost",
      el("table", {}, el("thead", {}, el("tr", {}, ["", "for one sample", "of the model", "without zeros"].map((t) => el("th", { scope: "col" }, t)))),
        el("tbody", {}, row("MACs", "macs"), row("Bit operations", "bit_operations"), row("Weight bits", "weight_bits"), row("Activation bits", "activation_bits"))),
      pairs.length ? el("p", { class: "hint" }, `multiplies ${pairs.map((p) => p.text).join(", ")}`) : []);
  }

  operation(operation, titled) {
    const parts = [];
    if (operation.attributes) parts.push(el("p", { class: "attributes" }, operation.attributes));
    operation.accumulators.forEach((a) => parts.push(this.accumulator(a)));
    const weights = operation.cost ? operation.parameters.find((p) => p.held) : null;
    operation.parameters.forEach((p) => parts.push(...this.parameter(p, p === weights)));
    operation.outputs.forEach((t) => parts.push(this.section(titled ? `Output of ${shortOperator(operation.operator)}` : "Output", longText(t.name), this.tensor(t))));
    return parts;
  }

  accumulator(accumulator) {
    const rows = accumulator.bounds.map((b) => el("tr", {}, el("th", { scope: "row" }, `by ${b.by}`), el("td", {}, b.bits), el("td", {}, b.partial_bits), el("td", {}, `${b.lo} … ${b.hi}`)));
    return this.section("Accumulator",
      el("p", { class: "hint" }, `sums of ${plural(accumulator.terms, "product")} ${accumulator.operands.join(" × ")}`),
      el("table", {}, el("thead", {}, el("tr", {}, ["", "bits", "any order", "sums"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, rows)));
  }

  parameter(tensor, isWeight) {
    if (tensor.held) return [this.section(isWeight ? "Weights" : "Quantised constant", longText(tensor.name), this.tensor(tensor, WEIGHTS))];
    const range = tensor.lo === null || tensor.hi === null ? "" : `, ${real(tensor.lo)} … ${real(tensor.hi)}`;
    return [el("p", { class: "parameter" }, el("bdi", {}, cut(tensor.name, 40)), ` ${tensor.format} [${tensor.shape}]${range}`)];
  }

  tensor(tensor, scale = ACTIVATIONS) {
    const { held } = tensor;
    const lines = [["Format", tensor.format], ["Shape", tensor.shape], ["Integers", tensor.integers && tensor.integer_range ? `${tensor.integers}, ${tensor.integer_range.join(" … ")}` : tensor.integers],
      ["Scale", tensor.scale], ["Zero point", tensor.zero_point === "0" ? null : tensor.zero_point], ["Stuck channels", tensor.stuck_channels || null]];
    return [
      el("dl", { class: "tensor" }, lines.filter(([, t]) => t !== null).map(([k, t]) => [el("dt", {}, k), el("dd", {}, String(t))])),
      held ? [histogramChart(held, classOfBits(tensor.bits, scale).name), el("ul", { class: "legend-list" }, legendItem(classOfBits(tensor.bits, scale)), held.levels <= 40 && el("li", {}, "○ level that nothing uses")), this.counts(held)] : [],
      this.range(tensor),
    ].flat().filter(Boolean);
  }

  range(tensor) {
    const chart = rangeChart(tensor);
    if (!chart) return tensor.format === "?" ? null : el("p", { class: "hint" }, "No bound is proven.");
    const keys = [el("span", { class: "key proven" }, "proven")];
    if (tensor.held && tensor.held.lowest !== null) keys.push(el("span", { class: "key data" }, this.isWeight(tensor) ? "actual" : "on data", `: ${real(tensor.held.lowest)} … ${real(tensor.held.highest)}`));
    return el("figure", {}, el("figcaption", {}, "Range ", keys), chart);
  }

  isWeight(tensor) {
    this.weights ||= new Set(this.report.blocks.flatMap((b) => b.operations.flatMap((o) => o.parameters)));
    return this.weights.has(tensor);
  }

  counts(held) {
    const used = held.used_levels === null ? `${whole(held.levels)} levels` : `${whole(held.used_levels)} of ${plural(held.levels, "level")} used`;
    const parts = [used, `${percent(held.zeros)} zero`];
    if (held.saturated !== null) parts.push(`${percent(held.saturated)} at the ends`);
    parts.push(`${whole(held.dead_channels)} of ${plural(held.channels, "channel")} dead`);
    return el("p", { class: "hint" }, parts.join(" · "));
  }
}

// A name: whole, but no longer than a few lines until it is asked for.
function longText(text) {
  const node = el("p", { class: "name" }, el("bdi", {}, cut(text, 160)));
  if (Array.from(text).length <= 160) return node;
  const more = el("button", { type: "button", class: "link", onclick: () => node.replaceChildren(el("bdi", {}, text)) }, "all of it");
  node.append(" ", more);
  return node;
}
