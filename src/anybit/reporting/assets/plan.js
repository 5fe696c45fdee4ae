// What runs natively: the integer plan, layer by layer, and what is outside it.

function planView(report, choose) {
  const { macs, arena, nodes, steps, refusals: outside } = report.plan, all = report.cost.dense.macs;
  const title = el("h2", {}, "What runs natively");
  if (!steps.length) return [title, el("p", { class: "empty" }, "No part of this model is a plan of integers: it runs by the other engines."), refusals("Why", outside, choose)];
  const share = [{ text: "native integers", amount: macs, name: "w8" }, ...(all !== null && all > macs ? [{ text: "outside the plan", amount: all - macs, name: "float" }] : [])];
  const table = el("table", { class: "wide plan" }, el("caption", {}, `${plural(steps.length, "step")} for ${plural(nodes, "node")}, ${whole(arena)} bytes between them for one sample`),
    el("thead", {}, el("tr", {}, ["Step", "Tensor", "Elements are", "MACs", "Weights", "Levels by"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, steps.map((s) => el("tr", {}, el("td", {}, s.kind), el("th", { scope: "row" }, linkTo(s.block, cut(s.tensor, 44), choose)), el("td", {}, s.element),
      el("td", {}, s.macs ? big(s.macs) : "–"), el("td", {}, s.weight_bits === null ? "–" : [el("i", { class: `swatch ${classOfBits(s.weight_bits, WEIGHTS).name}` }), ` ${plural(s.weight_bits, "bit")}`]), el("td", {}, s.epilogue || "–")))));
  return [title, ...shareChart("Multiply-accumulates", share), el("div", { class: "sideways" }, table), ...(outside.length ? [refusals("Outside the plan", outside, choose)] : [])];
}
