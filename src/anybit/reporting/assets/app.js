// What holds the views together: what is chosen, tabs, keys, theme.

function figures(report) {
  const { dense } = report.cost, bits = (n) => (n === null ? UNKNOWN : n >= 8192 ? `${big(n / 8)}B` : `${whole(n)} bit`);
  const errors = report.findings.filter((f) => f.severity === "error").length;
  const list = [["Nodes", whole(report.nodes)], ["Parameters", big(report.parameters)], ["MACs", big(dense.macs)], ["Bit operations", big(dense.bit_operations)],
    ["Weights", bits(dense.weight_bits)], ["Activations", bits(dense.activation_bits)], ["Errors", whole(errors)]];
  byId("figures").append(...list.map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v))));
}

function legend(report, by) {
  const used = new Set(report.blocks.map((b) => classOfBlock(b, by)));
  const shown = [...CLASSES, FLOAT, NONE].filter((c) => used.has(c));
  const label = (c) => (CLASSES.includes(c) ? `${c.text} bit` : c === NONE && by === "input_bits" ? "no products" : c.text);
  byId("classes").replaceChildren(...shown.map((c) => el("li", {}, el("i", { class: `swatch ${c.name}` }), label(c))),
    el("li", {}, svg("svg", { class: "line", viewBox: "0 0 18 6", "aria-hidden": "true" }, svg("path", { class: "plain", d: "M0 3h18" })), "float tensor"));
}

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  const open = (tab, focus) => {
    all.forEach((t) => {
      t.setAttribute("aria-selected", String(t === tab));
      t.tabIndex = t === tab ? 0 : -1;
      byId(t.getAttribute("aria-controls")).hidden = t !== tab;
    });
    if (focus) tab.focus();
  };
  all.forEach((tab, i) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (step) open(all[(i + step + all.length) % all.length], true);
    });
  });
  return (name) => open(byId(`tab-${name}`));
}

function themes() {
  const button = byId("theme"), order = ["auto", "light", "dark"], names = { auto: ["Auto", "as the system"], light: ["Light", "light"], dark: ["Dark", "dark"] };
  let now = 0;
  button.addEventListener("click", () => {
    now = (now + 1) % order.length;
    const [text, label] = names[order[now]];
    button.textContent = text;
    button.setAttribute("aria-label", `Theme: ${label}`);
    if (now) document.documentElement.dataset.theme = order[now];
    else delete document.documentElement.dataset.theme;
  });
}

function start() {
  const report = JSON.parse(byId("report").textContent), open = tabs();
  let chosen = null;
  const choose = (index) => {
    chosen = index;
    graph.select(index);
    detail.show(index);
  };
  const go = (index) => {
    open("graph");
    graph.focus(index);
  };
  figures(report);
  themes();
  const detail = new DetailView(report, go);
  const graph = new GraphView(report, choose);
  const search = new Search(report, (found) => graph.highlight(found), go);
  byId("view-cost").append(...costView(report, go));
  byId("view-formats").append(...formatsView(report, go));
  byId("view-findings").append(...findingsView(report, go));
  if (report.findings.length) byId("tab-findings").append(" ", el("span", { class: "count" }, whole(report.findings.length)));
  const colour = byId("colour"), recolour = () => { legend(report, colour.value); graph.colour(colour.value); };
  colour.value = report.blocks.some((b) => classOfBlock(b, "weight_bits") !== NONE) ? "weight_bits" : "output_bits";
  colour.addEventListener("change", recolour);
  recolour();
  byId("zoom-in").addEventListener("click", () => graph.camera.zoom(1.25));
  byId("zoom-out").addEventListener("click", () => graph.camera.zoom(0.8));
  byId("zoom-fit").addEventListener("click", () => graph.camera.fit());
  document.addEventListener("keydown", (e) => {
    const typing = e.target.closest("input, select, textarea");
    if (e.key === "/" && !typing) {
      e.preventDefault();
      search.input.focus();
      search.input.select();
    }
    if (e.key !== "Escape") return;
    if (typing || search.input.value) {
      search.clear();
      if (typing) graph.focus(graph.current);
    } else choose(null);
  });
}

start();
