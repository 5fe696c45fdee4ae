// What each target takes: formats of files, and hardware tools.

function linkTo(block, text, choose) {
  if (block === null || block === undefined) return el("bdi", {}, text);
  return el("button", { type: "button", class: "link", onclick: () => choose(block) }, el("bdi", {}, text));
}

function targetsView(report, choose) {
  const cell = (text) => {
    const [carried, of] = text.split("/").map(Number);
    const state = text === "yes" || carried === of ? "full" : text === "-" ? "none" : "part";
    return el("td", { class: state }, text === "-" ? "–" : text);
  };
  const formats = el("table", { class: "wide formats" }, el("caption", {}, "What each format can carry of this model"),
    el("thead", {}, el("tr", {}, ["Format", ...report.shares, "refused"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, report.formats.map((f) => el("tr", {}, el("th", { scope: "row" }, f.format), f.shares.map(cell), el("td", { class: f.refusals.length ? "part" : "full" }, whole(f.refusals.length))))));
  return [el("h2", {}, "What each target takes"), toolsTable(report.tools), ...report.tools.filter((t) => t.messages.length).map((t) => toolMessages(t, choose)),
    el("div", { class: "sideways" }, formats), ...report.formats.filter((f) => f.refusals.length).map((f) => refusals(`${f.format} refuses ${plural(f.refusals.length, "node")}`, f.refusals, choose))];
}

const TOOLS = { FINN: "FPGA dataflow", hls4ml: "FPGA and ASIC, high-level synthesis", da4ml: "FPGA, distributed arithmetic", C: "microcontrollers, C99 without dependencies" };

function toolsTable(tools) {
  const worst = (t) => t.messages.filter((m) => m.severity !== "warning").length;
  return el("div", { class: "sideways" }, el("table", { class: "wide tools" }, el("caption", {}, "Hardware tools, by their rules; anybit prepare also compares results"),
    el("thead", {}, el("tr", {}, ["Tool", "For", "This model", "Rewrites", "In the way", "To know"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, tools.map((t) => el("tr", {}, el("th", { scope: "row" }, t.name), el("td", {}, TOOLS[t.name]),
      el("td", { class: t.ready ? "full ready" : "part" }, t.ready ? "ready" : "not ready"), el("td", {}, whole(t.rewrites)), el("td", {}, whole(worst(t))), el("td", {}, whole(t.messages.length - worst(t))))))));
}

const toolMessages = (tool, choose) => refusals(`${tool.name}: ${tool.ready ? "to know" : "in the way"}`, tool.messages, choose);

function refusals(title, messages, choose) {
  const groups = new Map();
  messages.forEach((r) => groups.set(r.text, [...(groups.get(r.text) || []), r]));
  return el("section", {}, el("h3", {}, title),
    [...groups].map(([text, found]) => el("details", { open: found.length <= 6 },
      el("summary", {}, el("b", {}, whole(found.length)), " ", el("bdi", {}, text)),
      el("ul", { class: "nodes" }, found.map((r) => el("li", {}, linkTo(r.block, cut(r.node || "the model", 90), choose)))))));
}

function findingsView(report, choose) {
  if (!report.findings.length) return [el("p", { class: "empty" }, "Nothing was found: every node has a meaning, and every figure is known.")];
  return [el("div", { class: "sideways" }, el("table", { class: "wide findings" }, el("caption", {}, plural(report.findings.length, "finding")),
    el("thead", {}, el("tr", {}, ["Severity", "Rule", "Where", "What"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, report.findings.map((f) => el("tr", { class: f.severity }, el("td", {}, el("span", { class: "tag" }, f.severity)), el("td", {}, f.rule), el("td", {}, linkTo(f.block, cut(f.node || "the model", 60), choose)), el("td", {}, el("bdi", {}, f.text)))))))];
}
