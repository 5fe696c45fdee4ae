// Zoom and pan: screen = scale * scene + offset.

const SMALLEST = 0.16, LARGEST = 3;

class Camera {
  constructor(root, scene, changed) {
    Object.assign(this, { root, scene, changed, x: 0, y: 0, k: 1, width: 1, height: 1, moved: false });
    root.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    root.addEventListener("pointerdown", (e) => this.grab(e));
  }

  get view() {
    const box = this.root.getBoundingClientRect();
    return { width: box.width || 1, height: box.height || 1, left: box.left, top: box.top };
  }

  // The scale at which the whole graph is in view, but not so small that no numeral can be read.
  get whole() {
    return Math.max(SMALLEST, Math.min(this.view.width / this.width, this.view.height / this.height, 1));
  }

  limited(k) {
    return Math.min(LARGEST, Math.max(Math.min(this.whole, 0.3), k));
  }

  set(x, y, k) {
    const { width, height } = this.view;
    this.k = this.limited(k);
    const hold = (offset, size, room) => {
      const spare = room - size * this.k, slack = spare < 0 ? 60 : 0;
      return Math.min(Math.max(0, spare) + slack, Math.max(Math.min(0, spare) - slack, offset));
    };
    this.x = hold(x, this.width, width);
    this.y = hold(y, this.height, height);
    this.scene.setAttribute("transform", `translate(${this.x} ${this.y}) scale(${this.k})`);
    this.root.classList.toggle("far", this.k < 0.34);
    this.root.classList.toggle("mid", this.k >= 0.34 && this.k < 0.72);
    this.changed(this);
  }

  zoom(factor, at) {
    const { width, height } = this.view, [px, py] = at || [width / 2, height / 2];
    const k = this.limited(this.k * factor), f = k / this.k;
    this.set(px - (px - this.x) * f, py - (py - this.y) * f, k);
  }

  fit() {
    const { width, height } = this.view, k = this.whole, middle = (height / 2 - this.y) / this.k;
    const y = this.height * k > height ? height / 2 - middle * k : (height - this.height * k) / 2;
    this.set((width - this.width * k) / 2, y, k);
  }

  // The start of the graph, as large as its width allows, but readable.
  start() {
    const { width } = this.view, k = Math.min(1, Math.max(0.5, (width - 40) / this.width));
    this.set((width - this.width * k) / 2, 0, k);
  }

  centre(x, y) {
    const { width, height } = this.view;
    this.set(width / 2 - x * this.k, height / 2 - y * this.k, this.k);
  }

  // Shows a box of the scene; where it is in view already nothing moves.
  reveal(x, y, w, h) {
    const { width, height } = this.view, margin = 16;
    const left = this.x + (x - w / 2) * this.k, top = this.y + (y - h / 2) * this.k;
    const inside = left >= margin && top >= margin && left + w * this.k <= width - margin && top + h * this.k <= height - margin;
    if (!inside) this.centre(x, y);
  }

  wheel(e) {
    e.preventDefault();
    const unit = e.deltaMode === 1 ? 16 : 1, { left, top } = this.view;
    if (e.ctrlKey || e.metaKey) return this.zoom(Math.exp(-e.deltaY * unit * 0.006), [e.clientX - left, e.clientY - top]);
    const [dx, dy] = e.shiftKey && !e.deltaX ? [e.deltaY, 0] : [e.deltaX, e.deltaY];
    this.set(this.x - dx * unit, this.y - dy * unit, this.k);
  }

  grab(e) {
    if (e.button !== 0) return;
    const from = [e.clientX, e.clientY, this.x, this.y];
    this.moved = false;
    const move = (m) => {
      const dx = m.clientX - from[0], dy = m.clientY - from[1];
      if (!this.moved && Math.abs(dx) + Math.abs(dy) < 4) return;
      if (!this.moved) this.root.setPointerCapture(m.pointerId);
      this.moved = true;
      this.root.classList.add("dragging");
      this.set(from[2] + dx, from[3] + dy, this.k);
    };
    const stop = () => {
      this.root.removeEventListener("pointermove", move);
      this.root.removeEventListener("pointerup", stop);
      this.root.removeEventListener("pointercancel", stop);
      this.root.classList.remove("dragging");
    };
    this.root.addEventListener("pointermove", move);
    this.root.addEventListener("pointerup", stop);
    this.root.addEventListener("pointercancel", stop);
  }
}
