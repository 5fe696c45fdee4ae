// Zoom and pan: screen = scale * scene + offset.

const LARGEST = 4, READABLE = 0.72;

class Camera {
  constructor(root, scene, changed) {
    Object.assign(this, { root, scene, changed, x: 0, y: 0, k: 1, width: 1, height: 1, moved: false, fingers: new Map() });
    root.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    root.addEventListener("pointerdown", (e) => this.grab(e));
  }

  get view() {
    const box = this.root.getBoundingClientRect();
    return { width: box.width || 1, height: box.height || 1, left: box.left, top: box.top };
  }

  // The scale at which the whole graph is in view.
  get whole() {
    return Math.min(this.view.width / this.width, this.view.height / this.height, 1);
  }

  limited(k) {
    return Math.min(LARGEST, Math.max(Math.min(this.whole, 0.3), k));
  }

  // Any place of the graph can be brought to the middle of the view, none can be lost.
  set(x, y, k) {
    const { width, height } = this.view, hold = (offset, size, room) => Math.min(room / 2, Math.max(room / 2 - size * this.k, offset));
    this.k = this.limited(k);
    this.x = hold(x, this.width, width);
    this.y = hold(y, this.height, height);
    const place = `translate(${this.x} ${this.y}) scale(${this.k})`;
    if (this.scene.getAttribute("transform") !== place) this.scene.setAttribute("transform", place);
    this.changed(this);
  }

  zoom(factor, at) {
    const { width, height } = this.view, [px, py] = at || [width / 2, height / 2];
    const k = this.limited(this.k * factor), f = k / this.k;
    this.set(px - (px - this.x) * f, py - (py - this.y) * f, k);
  }

  fit() {
    const { width, height } = this.view, k = this.whole;
    this.set((width - this.width * k) / 2, (height - this.height * k) / 2, k);
  }

  // The whole graph if it can be read, else the start of it, as large as its width allows.
  start() {
    if (this.whole >= READABLE) return this.fit();
    const { width } = this.view, k = Math.min(1, Math.max(0.5, width / this.width));
    this.set((width - this.width * k) / 2, 0, k);
  }

  centre(x, y, k = this.k) {
    const { width, height } = this.view;
    this.set(width / 2 - x * k, height / 2 - y * k, k);
  }

  // Brings a place to the middle, near enough to be read.
  show(x, y) {
    this.centre(x, y, Math.max(this.k, READABLE));
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

  // One pointer drags, two pinch.
  grab(e) {
    if (e.button !== 0) return;
    this.fingers.set(e.pointerId, [e.clientX, e.clientY]);
    if (this.fingers.size > 1) return;
    const from = [e.clientX, e.clientY];
    let last = from;
    this.moved = false;
    const move = (m) => {
      if (!this.fingers.has(m.pointerId)) return;
      if (this.fingers.size > 1) return this.pinch(m);
      if (!this.moved && Math.abs(m.clientX - from[0]) + Math.abs(m.clientY - from[1]) < 4) return;
      if (!this.moved) this.root.setPointerCapture(m.pointerId);
      this.moved = true;
      this.root.classList.add("dragging");
      this.set(this.x + m.clientX - last[0], this.y + m.clientY - last[1], this.k);
      last = [m.clientX, m.clientY];
      this.fingers.set(m.pointerId, last);
    };
    const stop = (m) => {
      this.fingers.delete(m.pointerId);
      if (this.fingers.size) {
        [last] = this.fingers.values();
        return;
      }
      this.root.removeEventListener("pointermove", move);
      this.root.removeEventListener("pointerup", stop);
      this.root.removeEventListener("pointercancel", stop);
      this.root.classList.remove("dragging");
    };
    this.root.addEventListener("pointermove", move);
    this.root.addEventListener("pointerup", stop);
    this.root.addEventListener("pointercancel", stop);
  }

  pinch(e) {
    const { left, top } = this.view, spread = () => {
      const [[ax, ay], [bx, by]] = this.fingers.values();
      return { size: Math.hypot(ax - bx, ay - by) || 1, at: [(ax + bx) / 2 - left, (ay + by) / 2 - top] };
    };
    const before = spread();
    this.fingers.set(e.pointerId, [e.clientX, e.clientY]);
    const after = spread();
    this.moved = true;
    this.x += after.at[0] - before.at[0];
    this.y += after.at[1] - before.at[1];
    this.zoom(after.size / before.size, after.at);
  }
}
