// The graph: drawn once, then selected, walked through, searched, coloured.

class GraphView {
  constructor(report, chosen) {
    this.report = report;
    this.chosen = chosen;
    this.root = byId("graph");
    this.nodes = [];
    this.places = [];
    this.current = 0;
    this.next = report.blocks.map(() => []);
    this.previous = report.blocks.map(() => []);
    report.edges.forEach((e) => { this.next[e.source].push(e.target); this.previous[e.target].push(e.source); });
    this.map = new OverviewMap(byId("map"), (x, y) => this.camera.centre(x, y));
    this.camera = new Camera(this.root, byId("scene"), (camera) => this.map.frame(camera));
    this.root.addEventListener("keydown", (e) => this.key(e));
    this.root.addEventListener("click", (e) => this.click(e));
    this.root.addEventListener("focusin", (e) => this.focused(e));
    new ResizeObserver(() => this.places.length && this.camera.set(this.camera.x, this.camera.y, this.camera.k)).observe(this.root);
    const edges = report.edges.map((e) => [e.source, e.target]);
    layout({ sizes: report.blocks.map(sizeOfBlock), edges }, (placed) => this.draw(placed));
  }

  draw(placed) {
    this.places = placed.nodes;
    const sizes = this.report.blocks.map(sizeOfBlock);
    this.nodes = this.report.blocks.map((b, i) => drawBlock(b, i, placed.nodes[i]));
    const named = new Set(); // a tensor that several blocks read has its label at the first of them
    this.edges = this.report.edges.map((e, i) => {
      const labelled = !named.has(e.name);
      named.add(e.name);
      return drawEdge(e, i, placed.edges[i], labelled);
    });
    byId("nodes").append(...this.nodes);
    byId("edges").append(...this.edges);
    this.camera.width = 24 + Math.max(0, ...placed.nodes.map(([x], i) => x + sizes[i][0] / 2));
    this.camera.height = 24 + Math.max(0, ...placed.nodes.map(([, y], i) => y + sizes[i][1] / 2));
    this.map.draw(placed.nodes, sizes, this.camera);
    this.colour(byId("colour").value);
    if (this.nodes.length) this.nodes[this.current].setAttribute("tabindex", 0);
    this.camera.start();
    this.mark();
    byId("waiting").hidden = true;
    this.root.removeAttribute("aria-busy");
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }

  colour(by) {
    const names = this.report.blocks.map((b) => classOfBlock(b, by).name);
    this.nodes.forEach((node, i) => { node.dataset.bits = names[i]; });
    this.map.colour(names);
  }

  click(e) {
    if (this.camera.moved) return; // the end of a drag
    const node = e.target.closest(".node");
    if (node) this.focus(Number(node.dataset.index), false);
    else this.chosen(null);
  }

  focused(e) {
    const node = e.target.closest(".node");
    if (node && Number(node.dataset.index) !== this.selected) this.chosen(Number(node.dataset.index));
  }

  // Moves the keyboard's focus to a block, which selects it.
  focus(index, reveal = true) {
    if (!this.nodes[index]) return;
    this.nodes[this.current].setAttribute("tabindex", -1);
    this.current = index;
    this.nodes[index].setAttribute("tabindex", 0);
    if (reveal) this.camera.reveal(...this.places[index], ...sizeOfBlock(this.report.blocks[index]));
    this.nodes[index].focus({ preventScroll: true });
    this.chosen(index);
  }

  select(index) {
    this.selected = index;
    this.mark();
  }

  mark() {
    const near = new Set(this.selected === null || this.selected === undefined ? [] : [this.selected]);
    this.nodes.forEach((node, i) => {
      node.classList.toggle("selected", near.has(i));
      if (near.has(i)) node.setAttribute("aria-pressed", "true");
      else node.removeAttribute("aria-pressed");
    });
    (this.edges || []).forEach((edge, i) => {
      const { source, target } = this.report.edges[i];
      edge.classList.toggle("touched", near.has(source) || near.has(target));
    });
    this.map.select(this.selected);
  }

  // Fades all blocks but these; null shows all alike.
  highlight(found) {
    this.root.classList.toggle("searching", found !== null);
    this.nodes.forEach((node, i) => node.classList.toggle("found", found !== null && found.has(i)));
  }

  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const moves = {
      ArrowDown: () => this.along(this.next), ArrowUp: () => this.along(this.previous),
      ArrowLeft: () => this.sideways(-1), ArrowRight: () => this.sideways(1),
      Home: () => 0, End: () => this.nodes.length - 1,
      PageDown: () => this.current + 1, PageUp: () => this.current - 1,
    };
    const zooms = { "+": () => this.camera.zoom(1.25), "=": () => this.camera.zoom(1.25), "-": () => this.camera.zoom(0.8), 0: () => this.camera.fit() };
    const act = moves[e.key] || zooms[e.key];
    if (e.key === "Enter" || e.key === " ") this.focus(this.current);
    else if (!act) return;
    else if (moves[e.key]) this.focus(Math.max(0, Math.min(this.nodes.length - 1, act())));
    else act();
    e.preventDefault();
  }

  // Along an edge to the nearest block: layer by layer, not by the residual around them.
  along(ways) {
    const [, y] = this.places[this.current], far = (i) => Math.abs(this.places[i][1] - y);
    return ways[this.current].reduce((best, i) => (best === null || far(i) < far(best) ? i : best), null) ?? this.current;
  }

  // The nearest block to the left or right that is about as far down.
  sideways(sign) {
    const [x, y] = this.places[this.current];
    let best = this.current, least = Infinity;
    this.places.forEach(([px, py], i) => {
      const dx = (px - x) * sign, dy = Math.abs(py - y), distance = dx + 3 * dy;
      if (dx > 8 && dy < 160 && distance < least) [best, least] = [i, distance];
    });
    return best;
  }
}
