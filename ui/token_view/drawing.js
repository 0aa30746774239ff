// Elements, and the two figures below the answer. Text goes in through textContent only; the data is `data.py`'s.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150, LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 8; // pixels of the time line

/** An element with a class, a text, attributes and children; a child that is null is left out. */
function el(tag, { kind, text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  setAll(node, attributes);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  setAll(node, attributes);
  if (text !== undefined) node.textContent = text;
  return node;
}

function setAll(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
}

/** A part of the view that can be folded; whether it is stays as the person left it. */
function folding(view, name, title, ...children) {
  const details = el("details", { kind: "ob-part", "data-part": name }, el("summary", { text: title }), ...children);
  details.open = !view.state.folded.has(name);
  details.addEventListener("toggle", () => view.state.folded[details.open ? "delete" : "add"](name));
  return details;
}

// --- log-probabilities along the answer

function timelinePart(view) {
  const line = view.data.timeline;
  if (!line) return null;
  const figure = svg("svg", { class: "ob-line", role: "img", "aria-label": `${line.title}. ${line.about}`, height: HEIGHT });
  const reading = el("p", { kind: "ob-reading ob-quiet", text: line.about });
  const key = el("p", { kind: "ob-quiet ob-key" }, lineKey("with", line), line.without && lineKey("without", line));
  followPointer(view, figure, reading);
  new ResizeObserver(() => drawTimeline(view, figure)).observe(figure);
  view.marker = (n) => markTimeline(view, figure, reading, n);
  return folding(view, "timeline", line.title, key, figure, reading);
}

function lineKey(name, line) {
  const sample = svg("svg", { class: "ob-sample", width: 28, height: 10, "aria-hidden": "true" });
  sample.append(svg("path", { class: `ob-path ob-${name}`, d: "M0 5H28" }));
  return el("span", {}, sample, el("span", { text: line.labels[name] }));
}

function drawTimeline(view, figure) {
  const line = view.data.timeline, width = figure.clientWidth;
  if (!width) return; // folded
  figure.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const place = scale(line, width);
  const parts = line.ticks.flatMap((tick) => gridLine(tick, place.y(tick.value), width));
  if (line.without) parts.push(svg("path", { class: "ob-path ob-without", d: path(line.without, place) }));
  parts.push(svg("path", { class: "ob-path ob-with", d: path(line.with, place) }));
  parts.push(svg("line", { class: "ob-marker", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 }));
  figure.replaceChildren(...parts);
}

function scale(line, width) {
  const last = Math.max(line.with.length - 1, 1), inner = width - LEFT - RIGHT;
  return {
    x: (n) => LEFT + (inner * n) / last,
    y: (value) => TOP + ((HEIGHT - TOP - BOTTOM) * value) / line.low,
    nearest: (x) => Math.min(line.with.length - 1, Math.max(0, Math.round(((x - LEFT) * last) / inner))),
  };
}

function gridLine(tick, y, width) {
  return [
    svg("line", { class: "ob-grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
    svg("text", { class: "ob-tick", x: LEFT - 6, y: y + 4 }, tick.text),
  ];
}

/** Minus infinity has no place on the line: it breaks there. A point between two breaks is drawn as a dot. */
function path(values, place) {
  let drawn = "", pen = "M";
  values.forEach((value, n) => {
    if (value === null) return (pen = "M");
    const at = `${place.x(n).toFixed(1)} ${place.y(value).toFixed(1)}`;
    drawn += pen === "M" ? `M${at}L${at}` : `L${at}`;
    pen = "L";
  });
  return drawn;
}

function followPointer(view, figure, reading) {
  const at = (event) => scale(view.data.timeline, figure.clientWidth).nearest(event.offsetX);
  figure.addEventListener("pointermove", (event) => light(view, [at(event)]));
  figure.addEventListener("pointerleave", () => light(view, []));
  figure.addEventListener("click", (event) => pin(view, at(event)));
}

function markTimeline(view, figure, reading, n) {
  const line = view.data.timeline, marker = figure.querySelector(".ob-marker");
  reading.textContent = n === null ? line.about : `${view.data.tokens[n].name}: ${line.readings[n]}`;
  const x = n === null ? -9 : scale(line, figure.clientWidth).x(n);
  if (marker) setAll(marker, { x1: x, x2: x });
}

// --- sentences by passages

function heatPart(view) {
  const heat = view.data.heat;
  if (!heat) return null;
  const head = el("tr", {}, el("th", { scope: "col", text: heat.sentence }), ...heat.columns.map(heatColumn));
  const body = heat.rows.map((row) => heatRow(view, row));
  const whole = el("tr", { kind: "ob-whole" }, el("th", { scope: "row", text: heat.whole.text }), ...heat.whole.cells.map(heatCell));
  const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...body, whole));
  const list = el("ul", { kind: "ob-passages ob-quiet" });
  list.append(...heat.columns.map((column) => el("li", { text: `${column.mark} ${column.title}`, dir: "auto" })));
  const scroll = el("div", { kind: "ob-scroll", tabindex: "0", role: "region", "aria-label": heat.title }, table);
  return folding(view, "heat", heat.title, el("p", { kind: "ob-quiet", text: heat.about }), scroll, list);
}

function heatColumn(column) {
  return el("th", { scope: "col", text: column.mark, title: column.title });
}

function heatRow(view, row) {
  const line = el("tr", {}, el("th", { scope: "row", text: row.text, dir: "auto" }), ...row.cells.map(heatCell));
  line.addEventListener("pointerenter", () => light(view, row.tokens));
  line.addEventListener("pointerleave", () => light(view, []));
  return line;
}

function heatCell(cell) {
  return el("td", { kind: `ob-heat ob-${cell.band}`, text: cell.text });
}
