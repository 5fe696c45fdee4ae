// What quantisation costs: the sensitivity of each tensor, and the plans that a search could choose from.

const noiseText = (decibels) => (decibels === Infinity ? "nothing lost" : `${decibels.toFixed(1)} dB`);
const decibelsOf = (loss) => (loss.sqnr === null ? Infinity : loss.sqnr);

// Widths that tensors were tried at; [null] where each tensor has the one of its model.
function noiseWidths(losses) {
  if (!losses) return [];
  const tensors = new Set(losses.tensors.map((t) => t.tensor));
  return tensors.size === losses.tensors.length ? [null] : [...new Set(losses.tensors.map((t) => t.bits))].sort((a, b) => a - b);
}

// The worst of the tensors of a block, in decibels; at the narrowest width where none is named.
function noiseOf(losses, index, bits) {
  if (!losses) return null;
  const [narrowest] = noiseWidths(losses), at = bits ?? narrowest;
  const found = losses.tensors.filter((t) => t.block === index && (at === null || t.bits === at)).map(decibelsOf);
  return found.length ? Math.min(...found) : null;
}

function lossView(report, choose) {
  return [el("h2", {}, "What quantisation costs"), ...(report.front.length ? [frontChart(report)] : []), ...(report.losses ? lossTables(report, choose) : [])];
}

function lossTables({ losses }, choose) {
  const widths = noiseWidths(losses), tensors = new Map();
  losses.tensors.forEach((t) => tensors.set(t.tensor, [...(tensors.get(t.tensor) || []), t]));
  const cell = (rows, bits) => {
    const row = rows.find((r) => bits === null || r.bits === bits);
    if (!row) return el("td", {}, "–");
    const decibels = decibelsOf(row), accuracy = row.accuracy === null ? "" : `, accuracy ${percent(row.accuracy)}`;
    return el("td", { class: "noise", title: `${plural(row.bits, "bit")}: KL ${real(row.kl)}, ${percent(row.changed)} of the classes change${accuracy}` },
      el("span", { class: `chip ${NOISE.find((c) => c.holds(decibels)).name}` }, decibels === Infinity ? "∞" : decibels.toFixed(1)));
  };
  const used = new Set(losses.tensors.map((t) => NOISE.find((c) => c.holds(decibelsOf(t))).name));
  const caption = `Signal to quantisation noise of the outputs in dB, with one tensor quantised alone, on ${plural(losses.samples, "sample")}`;
  return [el("div", { class: "sideways" }, el("table", { class: "wide losses" }, el("caption", {}, caption, losses.accuracy === null ? [] : `; the float model reaches ${percent(losses.accuracy)}`, chartLegend(NOISE, used)),
    el("thead", {}, el("tr", {}, ["Tensor", "Kind", ...widths.map((b) => (b === null ? "its width" : `${b} bit`))].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, [...tensors].map(([name, rows]) => el("tr", {}, el("th", { scope: "row" }, linkTo(rows[0].block, cut(name, 44), choose)), el("td", {}, rows[0].is_weight ? "weight" : "activation"), widths.map((b) => cell(rows, b)))))))];
}

const costName = (name) => (name === "bops" ? "bit operations" : name.replace(/_/g, " "));

// Loss against cost, both by powers of ten; the axis of costs is that of the first cost.
function frontChart({ front }) {
  const W = 640, H = 300, left = 64, right = W - 16, top = 12, bottom = H - 40, [name] = front[0].costs[0];
  const costs = front.map((p) => p.costs[0][1]), losses = front.map((p) => Math.max(p.loss, 1e-12));
  const axis = (numbers, from, to) => {
    const lo = Math.log10(Math.min(...numbers)), hi = Math.log10(Math.max(...numbers)), pad = Math.max(0.05, (hi - lo) * 0.06);
    return (n) => from + ((Math.log10(n) - lo + pad) / (hi - lo + 2 * pad)) * (to - from);
  };
  const x = axis(costs, left, right), y = axis(losses, bottom, top);
  const root = svg("svg", { class: "front", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Loss against ${costName(name)} of ${plural(front.length, "plan")}` });
  root.append(svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }), svg("line", { class: "axis", x1: left, x2: left, y1: top, y2: bottom }));
  const ends = [...new Set([Math.min(...costs), Math.max(...costs)])], heights = [...new Set([Math.min(...losses), Math.max(...losses)])];
  ends.forEach((c) => root.append(svg("text", { class: "tick", x: x(c), y: bottom + 15, "text-anchor": "middle" }, big(c))));
  heights.forEach((l) => root.append(svg("text", { class: "tick", x: left - 6, y: y(l) + 4, "text-anchor": "end" }, real(l))));
  root.append(svg("text", { class: "tick", x: (left + right) / 2, y: H - 6, "text-anchor": "middle" }, costName(name)));
  root.append(svg("polyline", { class: "frontline", points: front.map((p, i) => `${x(costs[i])},${y(losses[i])}`).join(" ") }));
  front.forEach((p, i) => {
    const widths = p.bits.map(([bits, count]) => `${count} at ${bits} bit`).join(", "), all = p.costs.map(([n, c]) => `${costName(n)} ${whole(c)}`).join(", ");
    root.append(svg("circle", { class: "frontpoint", cx: x(costs[i]), cy: y(losses[i]), r: 5, tabindex: 0 }, svg("title", {}, `loss ${real(p.loss)}; ${all}; ${widths}`)));
  });
  const rows = front.map((p) => el("tr", {}, el("td", {}, real(p.loss)), p.costs.map(([, c]) => el("td", {}, big(c))), el("td", {}, p.bits.map(([bits, count]) => `${count} × ${bits}`).join(", "))));
  return el("figure", { class: "pareto" }, el("figcaption", {}, "Pareto front: squared error of the outputs against cost, one point a plan"),
    el("ul", { class: "legend-list" }, el("li", {}, el("i", { class: "swatch w4 round" }), "a plan that no other one beats")), root,
    el("div", { class: "sideways" }, el("table", { class: "wide" }, el("thead", {}, el("tr", {}, ["Loss", ...front[0].costs.map(([n]) => costName(n)), "Tensors × bits"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, rows))));
}
