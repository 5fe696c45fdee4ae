// Elements, numbers and texts. Texts of the model only ever become text nodes or attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

const UNKNOWN = "not known";

function big(n) {
  if (n === null || n === undefined) return UNKNOWN;
  const units = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const unit = units.find(([size]) => Math.abs(n) >= size);
  return unit ? `${significant(n / unit[0])} ${unit[1]}` : String(n);
}

function significant(n) {
  return n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2);
}

function real(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(2).replace("e+", "e") : String(Number(x.toPrecision(4)));
}

const whole = (n) => (n === null || n === undefined ? UNKNOWN : n.toLocaleString("en-US"));
const percent = (x) => (x === 0 ? "0 %" : x > 0 && x < 0.0005 ? "< 0.1 %" : `${(100 * x).toFixed(1)} %`);
const plural = (n, one, many) => `${whole(n)} ${n === 1 ? one : many || one + "s"}`;

// A text in so many characters: the end of a name says more than its middle.
function cut(text, length) {
  const letters = Array.from(text);
  if (letters.length <= length) return text;
  const head = Math.floor((length - 1) * 0.35);
  return letters.slice(0, head).join("") + "…" + letters.slice(letters.length - (length - 1 - head)).join("");
}

const shortOperator = (operator) => operator.slice(operator.lastIndexOf(":") + 1);
