// The graph: drawn once, then selected, walked through, searched, coloured.

const LARGE = 150; // blocks

class GraphView {
  // A pane has the parts .graph, .scene, .edges, .nodes, .map and .waiting.
  constructor(report, pane, colouring, chosen) {
    Object.assign(this, { report, pane, colouring, chosen, nodes: [], edges: [], places: [], current: 0, selected: null });
    this.root = pane.querySelector(".graph");
    this.next = report.blocks.map(() => []);
    this.previous = report.blocks.map(() => []);
    report.edges.forEach((e) => { this.next[e.source].push(e.target); this.previous[e.target].push(e.source); });
    this.map = new OverviewMap(pane.querySelector(".map"), (x, y) => this.camera.centre(x, y));
    this.camera = new Camera(this.root, pane.querySelector(".scene"), (camera) => this.seen(camera));
    this.root.addEventListener("keydown", (e) => this.key(e));
    this.root.addEventListener("click", (e) => this.click(e));
    this.root.addEventListener("focusin", (e) => this.focused(e));
    this.drawn = new Promise((done) => {
      layout({ sizes: report.blocks.map(sizeOfBlock), edges: report.edges.map((e) => [e.source, e.target]) }, (placed) => { this.draw(placed); done(); });
    });
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
    [this.camera.width, this.camera.height] = placed.size;
    this.map.draw(placed.nodes, sizes, this.camera);
    this.colour(this.colouring);
    if (this.nodes.length) this.nodes[this.current].setAttribute("tabindex", 0);
    this.camera.start();
    this.camera.start(); // beside the map, whose room is known now
    this.pane.querySelector(".nodes").append(...this.nodes);
    this.pane.querySelector(".edges").append(...this.edges);
    this.touched = false; // until someone moves it, the view starts anew whenever its room changes
    new ResizeObserver(([entry]) => entry.contentRect.height && (this.touched ? this.camera.set(this.camera.x, this.camera.y, this.camera.k) : this.camera.start())).observe(this.root);
    this.root.addEventListener("pointerdown", () => { this.touched = true; });
    this.root.addEventListener("wheel", () => { this.touched = true; });
    this.mark();
    this.pane.querySelector(".waiting").hidden = true;
    this.root.removeAttribute("aria-busy");
  }

  // Shows at each distance what can be read there.
  seen(camera) {
    const { name, letters } = distanceOf(camera.k);
    if (name !== this.root.dataset.distance) {
      this.root.dataset.distance = name;
      if (letters) [...this.nodes, ...this.edges].forEach((g) => g.querySelectorAll(".shortened").forEach((t) => { t.textContent = cut(t.whole, Math.floor(t.letters * letters)); }));
    }
    this.cull(camera);
    this.map.frame(camera);
  }

  // Of a large graph only what is in view, or a view away from it, is laid out by the browser.
  cull({ x, y, k, view: { width, height } }) {
    if (this.nodes.length < LARGE) return;
    const left = (-x - width) / k, right = (2 * width - x) / k, top = (-y - height) / k, bottom = (2 * height - y) / k;
    const near = this.places.map(([px, py], i) => i === this.current || (px > left && px < right && py > top && py < bottom));
    const toggle = (node, shown) => { if (node.hasAttribute("display") === shown) shown ? node.removeAttribute("display") : node.setAttribute("display", "none"); };
    this.nodes.forEach((node, i) => toggle(node, near[i]));
    this.edges.forEach((edge, i) => {
      const { source, target } = this.report.edges[i], [, from] = this.places[source], [, to] = this.places[target];
      toggle(edge, near[source] || near[target] || (from < bottom && to > top));
    });
  }

  // From here on the view stays where it is put; one that was not seen yet begins at the start.
  begin() {
    if (!this.touched) this.camera.start();
    this.touched = true;
  }

  // What the buttons do.
  zoom(factor) {
    this.begin();
    if (factor) this.camera.zoom(factor);
    else this.camera.fit();
  }

  // Brings a block into view without the focus of the keyboard.
  bring(index) {
    if (!this.nodes[index]) return;
    this.begin();
    this.camera.reveal(...this.places[index], ...sizeOfBlock(this.report.blocks[index]));
  }

  // Brings a block to the middle of the view.
  show(index) {
    if (!this.nodes[index]) return;
    this.begin();
    this.camera.show(...this.places[index]);
  }

  colour(by) {
    this.colouring = by;
    if (!this.nodes.length) return; // not drawn yet
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
    this.begin();
    if (reveal) this.camera.reveal(...this.places[index], ...sizeOfBlock(this.report.blocks[index]));
    this.cull(this.camera);
    this.nodes[index].focus({ preventScroll: true });
    this.chosen(index);
  }

  select(index) {
    this.selected = index;
    this.mark();
  }

  mark() {
    const near = new Set(this.selected === null ? [] : [this.selected]);
    this.nodes.forEach((node, i) => {
      node.classList.toggle("selected", near.has(i));
      if (near.has(i)) node.setAttribute("aria-pressed", "true");
      else node.removeAttribute("aria-pressed");
    });
    this.edges.forEach((edge, i) => {
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
    const zooms = { "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), 0: () => this.zoom(0) };
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
