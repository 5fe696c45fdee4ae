// The whole graph in the corner, with the part that is in view; a click or a drag goes there.

class OverviewMap {
  constructor(root, go) {
    this.root = root;
    this.go = go;
    this.boxes = [];
    this.window = svg("rect", { class: "window" });
    root.addEventListener("pointerdown", (e) => { root.setPointerCapture(e.pointerId); this.jump(e); });
    root.addEventListener("pointermove", (e) => { if (e.buttons & 1) this.jump(e); });
  }

  draw(places, sizes, { width, height }) {
    this.size = { width, height };
    this.boxes = places.map(([x, y], i) => svg("rect", { class: "dot", x: x - sizes[i][0] / 2, y: y - sizes[i][1] / 2, width: sizes[i][0], height: sizes[i][1] }));
    // a deep graph would be a thread: it is stretched in width, and shows its bit widths from top to bottom
    const ratio = height > 12 * width ? "none" : "xMidYMin";
    fill(this.root, { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: ratio }, []);
    this.root.append(...this.boxes, this.window);
  }

  colour(names) {
    this.boxes.forEach((box, i) => { box.dataset.bits = names[i]; });
  }

  select(index) {
    this.boxes.forEach((box, i) => box.classList.toggle("selected", i === index));
  }

  frame({ x, y, k, view }) {
    if (!this.size) return;
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
