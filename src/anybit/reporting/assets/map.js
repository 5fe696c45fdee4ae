// The whole graph beside the view, with the part that is in view; a click or a drag goes there. It is never larger than
// an eighth of the graph, and not there while all of the graph is in view.

const MAP = { scale: 0.125, width: 84, least: 14 };

class OverviewMap {
  constructor(root, go) {
    this.root = root;
    this.go = go;
    this.outlines = [];
    this.dots = svg("g", {});
    this.chosen = svg("path", { class: "dot selected" });
    this.window = svg("rect", { class: "window" });
    root.addEventListener("pointerdown", (e) => { root.setPointerCapture(e.pointerId); this.jump(e); });
    root.addEventListener("pointermove", (e) => { if (e.buttons & 1) this.jump(e); });
  }

  draw(places, sizes, { width, height }) {
    this.size = { width, height };
    this.outlines = places.map(([x, y], i) => `M${x - sizes[i][0] / 2} ${y - sizes[i][1] / 2}h${sizes[i][0]}v${sizes[i][1]}h${-sizes[i][0]}z`);
    fill(this.root, { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, [this.dots, this.chosen, this.window]);
  }

  // One path a colour: thousands of blocks are a few elements.
  colour(names) {
    const by = new Map();
    names.forEach((name, i) => by.set(name, (by.get(name) || "") + this.outlines[i]));
    this.dots.replaceChildren(...[...by].map(([name, d]) => svg("path", { class: "dot", "data-bits": name, d })));
  }

  select(index) {
    this.chosen.setAttribute("d", index === null || index === undefined ? "" : this.outlines[index] || "");
  }

  // A deep graph would be a thread: it is stretched in width, and shows its bit widths from top to bottom.
  fitted(room) {
    const scale = Math.min(MAP.scale, MAP.width / this.size.width, room / this.size.height);
    return [Math.max(MAP.least, scale * this.size.width), scale * this.size.height];
  }

  frame({ x, y, k, root, view }) {
    const pane = root.parentNode.getBoundingClientRect();
    if (!this.size || !pane.height) return; // another tab is open
    const hidden = this.size.width * k <= pane.width + 1 && this.size.height * k <= pane.height + 1;
    const [width, height] = hidden ? [0, 0] : this.fitted(pane.height - 20).map(Math.round);
    if (width !== this.width || height !== this.height) { // each change of it lays out the whole graph again
      Object.assign(this, { width, height });
      this.root.toggleAttribute("hidden", hidden);
      fill(this.root, { width, height }, []);
    }
    if (hidden) return;
    const left = Math.max(0, -x / k), top = Math.max(0, -y / k);
    const right = Math.min(this.size.width, (view.width - x) / k), bottom = Math.min(this.size.height, (view.height - y) / k);
    fill(this.window, { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) }, []);
  }

  jump(e) {
    const matrix = this.root.getScreenCTM();
    if (!matrix) return;
    const { x, y } = new DOMPoint(e.clientX, e.clientY).matrixTransform(matrix.inverse());
    this.go(x, y);
  }
}
