// What holds the views together: what is chosen, tabs, keys, theme.

function figures({ report, before }) {
  const bits = (n) => (n === null ? UNKNOWN : n >= 8192 ? `${big(n / 8)}B` : `${whole(n)} bit`);
  const errors = (r) => r.findings.filter((f) => f.severity === "error").length;
  const list = [["Nodes", (r) => whole(r.nodes)], ["Parameters", (r) => big(r.parameters)], ["MACs", (r) => big(r.cost.dense.macs)], ["Bit operations", (r) => big(r.cost.dense.bit_operations)],
    ["Weights", (r) => bits(r.cost.dense.weight_bits)], ["Activations", (r) => bits(r.cost.dense.activation_bits)], ["Errors", (r) => whole(errors(r))]];
  const was = (of) => before && of(before) !== of(report) && el("dd", { class: "was" }, `was ${of(before)}`);
  byId("figures").append(...list.map(([k, of]) => el("div", {}, el("dt", {}, k), el("dd", {}, of(report)), was(of) || [])));
}

function tabs() {
  const all = () => [...document.querySelectorAll("[role=tab]")];
  const open = (tab, focus) => {
    all().forEach((t) => {
      t.setAttribute("aria-selected", String(t === tab));
      t.tabIndex = t === tab ? 0 : -1;
      byId(t.getAttribute("aria-controls")).hidden = t !== tab;
    });
    document.body.dataset.view = tab.id.slice(4);
    tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (focus) tab.focus();
  };
  all().forEach((tab) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key], now = all();
      if (step) open(now[(now.indexOf(tab) + step + now.length) % now.length], true);
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

// A view with a tab of its own; a number in the tab tells how much there is.
function view(name, content, count) {
  byId(`view-${name}`).append(...content);
  if (count) byId(`tab-${name}`).append(" ", el("span", { class: "count" }, whole(count)));
}

// The choices of the colouring; losses have one for each width that was tried.
function colourings(report) {
  const widths = noiseWidths(report.losses);
  return [["weight_bits", "weight bits"], ["input_bits", "input bits"], ["output_bits", "output bits"],
    ...widths.map((bits) => [`noise ${bits ?? ""}`, bits === null ? "sensitivity" : `sensitivity at ${bits} bit`])];
}

function start() {
  const { report, before, changes } = JSON.parse(byId("report").textContent), open = tabs();
  const graphs = [], select = byId("colour");
  const choose = (index) => {
    graph.select(index);
    detail.show(index);
    if (earlier) earlier.select(index === null ? null : changes.earlier[index]);
    if (earlier && index !== null && changes.earlier[index] !== null) earlier.bring(changes.earlier[index]);
  };
  const chooseEarlier = (index) => {
    const here = index === null ? null : changes.earlier.indexOf(index);
    if (here !== null && here >= 0) {
      choose(here);
      return graph.bring(here);
    }
    choose(null);
    earlier.select(index);
    if (index !== null) detail.missing(before.blocks[index]);
  };
  const go = (index) => {
    open("graph");
    graph.focus(index);
    graph.show(index);
  };
  figures({ report, before });
  themes();
  // what is broken is said before anything else
  // A figure that free dimensions leave open makes no broken model.
  if (report.findings.some((f) => f.severity === "error" && f.rule !== "cost")) {
    byId("tabs").prepend(byId("tab-findings"));
    open("findings");
  } else open(before ? "changes" : "graph");
  const detail = new DetailView(report, go, before, changes);
  const graph = new GraphView(report, byId("pane"), "weight_bits", choose);
  const earlier = before ? new GraphView(before, byId("pane-before"), "weight_bits", chooseEarlier) : null;
  graphs.push(graph, ...(earlier ? [earlier] : []));
  const search = new Search(report, (found) => graph.highlight(found), (index) => graph.show(index), go);
  if (before) view("changes", changesView(report, before, changes, go));
  view("cost", bitsView(report, go));
  if (report.formats.length) view("targets", targetsView(report, go));
  if (report.plan) view("plan", planView(report, go));
  if (report.losses || report.front.length) view("loss", lossView(report, go));
  view("findings", findingsView(report, go), report.findings.length);
  select.append(...colourings(report).map(([value, text]) => el("option", { value }, text)));
  const recolour = () => {
    const [by, bits] = select.value.split(" ");
    if (by === "noise") report.blocks.forEach((block, i) => { block.noise = noiseOf(report.losses, i, bits ? Number(bits) : null); });
    byId("classes").replaceChildren(...graphLegend([...report.blocks, ...(before && by !== "noise" ? before.blocks : [])], by));
    graphs.forEach((g) => g.report === before && by === "noise" ? g.colour("weight_bits") : g.colour(by));
  };
  select.value = report.blocks.some((b) => classOfBlock(b, "weight_bits") !== NONE) ? "weight_bits" : "output_bits";
  select.addEventListener("change", recolour);
  recolour();
  Promise.all(graphs.map((g) => g.drawn)).then(() => {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  });
  byId("zoom-in").addEventListener("click", () => graphs.forEach((g) => g.zoom(1.25)));
  byId("zoom-out").addEventListener("click", () => graphs.forEach((g) => g.zoom(0.8)));
  byId("zoom-fit").addEventListener("click", () => graphs.forEach((g) => g.zoom(0)));
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
