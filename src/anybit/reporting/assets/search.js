// Search: every node, tensor and format by a part of its name; the first matches in a list, all of them in the graph.

class Search {
  constructor(report, found, previewed, chosen) {
    Object.assign(this, { found, previewed, chosen, input: byId("search"), list: byId("matches"), at: -1, hits: [] });
    this.entries = report.blocks.flatMap(searchEntries);
    this.input.addEventListener("input", () => this.run());
    this.input.addEventListener("focus", () => this.input.value && this.run());
    this.input.addEventListener("keydown", (e) => this.key(e));
    this.input.addEventListener("blur", () => { this.open(false); });
  }

  run() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = words.length ? this.entries.filter((e) => words.every((w) => e.text.includes(w))) : [];
    this.found(words.length ? new Set(all.map((e) => e.block)) : null);
    this.hits = all.slice(0, 40);
    this.at = this.hits.length ? 0 : -1;
    const more = all.length > this.hits.length ? [el("li", { class: "more" }, `and ${whole(all.length - this.hits.length)} more, in the graph`)] : [];
    const none = words.length && !all.length ? [el("li", { class: "more" }, "Nothing by this name.")] : [];
    this.list.replaceChildren(...this.hits.map((h, i) => this.option(h, i)), ...more, ...none);
    this.open(words.length > 0);
    this.mark();
  }

  option(hit, i) {
    // pressing the button must not take the focus from the field, which would close the list
    return el("li", { role: "option", id: `match-${i}`, onmousedown: (e) => e.preventDefault(), onclick: () => this.take(i) },
      el("b", {}, hit.kind), " ", el("bdi", {}, cut(hit.name, 60)));
  }

  mark() {
    this.hits.forEach((_, i) => this.list.children[i].setAttribute("aria-selected", String(i === this.at)));
    const id = this.at < 0 ? "" : `match-${this.at}`;
    this.input.setAttribute("aria-activedescendant", id);
    if (!id) return;
    byId(id).scrollIntoView({ block: "nearest" });
    this.previewed(this.hits[this.at].block);
  }

  open(wanted) {
    this.list.hidden = !wanted;
    this.input.setAttribute("aria-expanded", String(wanted));
  }

  take(i) {
    if (!this.hits[i]) return;
    this.open(false);
    this.chosen(this.hits[i].block);
  }

  clear() {
    this.input.value = "";
    this.run();
  }

  key(e) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step && this.hits.length) {
      this.at = (this.at + step + this.hits.length) % this.hits.length;
      this.mark();
      e.preventDefault();
    }
    if (e.key === "Enter") this.take(this.at);
  }
}

function searchEntries(block, index) {
  const entry = (kind, name, extra = "") => ({ kind, name, block: index, text: `${kind} ${name} ${extra}`.toLowerCase() });
  if (block.ends) return [entry(blockOperator(block), block.ends.name, formatOf(block.ends))];
  return block.operations.flatMap((o) => [
    entry(shortOperator(o.operator), o.name, [...o.outputs.map((t) => `${formatOf(t)} ${t.name}`), ...(o.cost ? o.cost.pairs.map((p) => p.text) : [])].join(" ")),
    ...o.parameters.map((p) => entry("constant", p.name, formatOf(p))),
  ]);
}
