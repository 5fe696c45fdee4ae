// What colours mean: above the graph, and on every chart.

const legendItem = (c) => el("li", {}, el("i", { class: `swatch ${c.name}` }), c.text);

// The classes that occur, in the order of their scale.
const legendOf = (classes, used) => classes.filter((c) => used.has(c.name)).map(legendItem);

function graphLegend(blocks, by) {
  const used = new Set(blocks.map((b) => classOfBlock(b, by).name));
  const line = svg("svg", { class: "line", viewBox: "0 0 18 6", "aria-hidden": "true" }, svg("path", { class: "plain", d: "M0 3h18" }));
  return [...legendOf(classesBy(by), used), el("li", {}, line, "float tensor")];
}

const chartLegend = (classes, used) => el("ul", { class: "legend-list", "aria-label": "Colours" }, legendOf(classes, used));
