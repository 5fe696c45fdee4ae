// Small charts in SVG.

// Bars of a histogram, one slot for each integer of the grid; a level that nothing uses has a hollow mark.
function histogramChart(held, name) {
  const { start, width, counts } = held.histogram;
  const W = 320, H = 72, base = H - 18, most = Math.max(1, ...counts), slot = W / counts.length;
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": histogramLabel(held) });
  const gap = slot > 4 ? 1 : 0;
  counts.forEach((count, k) => {
    const first = start + k * width, x = k * slot, skipped = held.levels === 2 && counts.length === 3 && first === 0;
    const height = count ? Math.max(1.5, (count / most) * (base - 6)) : 0;
    const range = width === 1 ? whole(first) : `${whole(first)} to ${whole(first + width - 1)}`;
    const title = svg("title", {}, `${range}: ${plural(count, "element")}`);
    const hover = svg("rect", { class: "hover", x, y: 0, width: slot, height: base }, title);
    root.append(svg("rect", { class: `fill ${name}`, x: x + gap / 2, y: base - height, width: slot - gap, height }), hover);
    if (counts.length <= 40 && !skipped) {
      root.append(svg("circle", { class: count ? "level used" : "level", cx: x + slot / 2, cy: base + 4.5, r: 1.8 }));
    }
  });
  const end = start + counts.length * width - 1;
  root.append(svg("line", { class: "axis", x1: 0, x2: W, y1: base + 0.5, y2: base + 0.5 }));
  root.append(svg("text", { class: "tick", x: 0, y: H - 1 }, whole(start)));
  root.append(svg("text", { class: "tick", x: W, y: H - 1, "text-anchor": "end" }, whole(end)));
  const zero = (0 - start + 0.5) / (end - start + 1);
  if (zero > 0.12 && zero < 0.88) {
    root.append(svg("text", { class: "tick", x: zero * W, y: H - 1, "text-anchor": "middle" }, "0"));
  }
  return root;
}

function histogramLabel(held) {
  const used = held.used_levels === null ? "" : `${whole(held.used_levels)} of `;
  return `Histogram of ${plural(held.elements, "element")} on ${used}${plural(held.levels, "level")}`;
}

// Proven range and range on data, on one axis. An infinite end runs out of the picture.
function rangeChart(tensor) {
  const held = tensor.held && tensor.held.lowest !== null ? tensor.held : null;
  const ends = [tensor.lo, tensor.hi, held && held.lowest, held && held.highest].filter((x) => typeof x === "number");
  if (!ends.length) return null;
  const W = 320, H = held ? 46 : 28;
  let lo = Math.min(0, ...ends), hi = Math.max(0, ...ends);
  if (lo === hi) hi = lo + 1;
  const pad = (hi - lo) * 0.04, at = (x) => ((x - lo + pad) / (hi - lo + 2 * pad)) * W;
  const from = tensor.lo === null ? 0 : at(tensor.lo), to = tensor.hi === null ? W : at(tensor.hi);
  const root = svg("svg", { class: "chart range", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": rangeLabel(tensor, held) });
  root.append(svg("line", { class: "axis", x1: at(0), x2: at(0), y1: 0, y2: H - 14 }));
  root.append(svg("rect", { class: "proven", x: from, y: 3, width: Math.max(1.5, to - from), height: 8 }));
  if (held) {
    const left = at(held.lowest);
    root.append(svg("rect", { class: "data", x: left, y: 18, width: Math.max(1.5, at(held.highest) - left), height: 8 }));
  }
  root.append(svg("text", { class: "tick", x: 0, y: H - 2 }, tensor.lo === null ? "−∞" : real(tensor.lo)));
  root.append(svg("text", { class: "tick", x: W, y: H - 2, "text-anchor": "end" }, tensor.hi === null ? "∞" : real(tensor.hi)));
  if (Math.min(at(0), W - at(0)) > 46) {
    root.append(svg("text", { class: "tick", x: at(0), y: H - 2, "text-anchor": "middle" }, "0"));
  }
  return root;
}

function rangeLabel(tensor, held) {
  const proven = `Proven ${tensor.lo === null ? "minus infinity" : real(tensor.lo)} to ${tensor.hi === null ? "infinity" : real(tensor.hi)}`;
  return held ? `${proven}; on data ${real(held.lowest)} to ${real(held.highest)}` : proven;
}

// A bar inside a cell of a table.
function cellBar(share, name) {
  const root = svg("svg", { class: "cellbar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  root.append(svg("rect", { class: "track", x: 0, y: 0, width: 100, height: 8 }));
  root.append(svg("rect", { class: `fill ${name}`, x: 0, y: 0, width: share > 0 ? Math.max(0.8, 100 * share) : 0, height: 8 }));
  return root;
}

// Shares of a whole, as one bar; parts are { text, amount, name }.
function stackedBar(parts, label) {
  const total = parts.reduce((sum, p) => sum + p.amount, 0) || 1;
  const root = svg("svg", { class: "stacked", viewBox: "0 0 1000 22", preserveAspectRatio: "none", role: "img", "aria-label": label });
  let x = 0;
  for (const part of parts) {
    const width = (1000 * part.amount) / total;
    const title = svg("title", {}, `${part.text}: ${big(part.amount)}, ${percent(part.amount / total)}`);
    root.append(svg("rect", { class: `fill ${part.name}`, x, y: 0, width, height: 22 }, title));
    x += width;
  }
  return root;
}
