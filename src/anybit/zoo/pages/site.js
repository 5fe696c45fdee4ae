"use strict";
(() => {
  const body = document.querySelector("tbody");
  const rows = [...body.rows];
  const points = new Map([...document.querySelectorAll(".chart [data-name]")].map((p) => [p.dataset.name, p]));
  const text = document.getElementById("text");
  const selects = [...document.querySelectorAll("select[data-field]")];
  const count = document.getElementById("count");
  const contents = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = selects.every((s) => !s.value || row.dataset[s.dataset.field] === s.value);
      row.hidden = !(fits && words.every((word) => contents.get(row).includes(word)));
      points.get(row.dataset.name)?.toggleAttribute("hidden", row.hidden);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown === rows.length ? `${shown} models` : `${shown} of ${rows.length} models`;
  }

  // Cells without a value stay last, whichever way the others go.
  function sort(header) {
    const falling = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => row.cells[header.cellIndex].dataset.value ?? row.cells[header.cellIndex].textContent.trim();
    const keys = new Map(rows.map((row) => [row, key(row)]));
    const compare = header.classList.contains("number")
      ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, "en", { numeric: true });
    const sorted = [...rows].sort((one, two) => {
      const [a, b] = [keys.get(one), keys.get(two)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return falling ? compare(b, a) : compare(a, b);
    });
    body.append(...sorted);
  }

  text.addEventListener("input", filter);
  for (const select of selects) select.addEventListener("change", filter);
  for (const button of document.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sort(button.parentNode));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
      event.preventDefault();
      text.focus();
    } else if (event.key === "Escape" && document.activeElement === text) {
      text.value = "";
      filter();
    }
  });
  filter();
})();
