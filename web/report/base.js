"use strict";
// What every section uses: the data, elements, numbers, colours. Everything from outside reaches the
// page through `el` as text, never as HTML.
const report = JSON.parse(document.getElementById("report-data").textContent);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// A section with its entry in the contents. Returns the section.
function section(id, title, lead) {
  document.getElementById("contents").append(el("a", { href: "#" + id }, title));
  const node = el("section", { id, "aria-labelledby": id + "-title" },
    el("h2", { id: id + "-title" }, title), lead ? el("p", { class: "lead" }, lead) : null);
  document.getElementById("main").append(node);
  return node;
}

// Content that may be wider than the screen: scrolls by touch, mouse and keyboard.
function scroller(label, content) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, content);
}

const fixed = (value, digits) => (value === null ? "\u2013" : value.toFixed(digits));
const integer = (value) => value.toLocaleString("en-US");
const percent = (share, digits = 0) =>
  share === null ? "\u2013" : (share * 100).toFixed(digits) + "\u202f%";
const times = (lift) => (lift >= 100 ? lift.toFixed(0) : lift.toFixed(1)) + "\u00d7";

// 1234567 as "1.23 M".
function short(value) {
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [size, unit] of units) {
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(3)) + " " + unit;
  }
  return String(Number(value.toPrecision(3)));
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const darkScheme = matchMedia("(prefers-color-scheme: dark)");

// Ten colours for domains; later ones start again from the first.
const domainColour = (index) => `var(--c${index % 10})`;
const labels = report.routing ? report.routing.labels.map((label) => label.name)
  : report.heldout.map((loss) => loss.label);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const share = (part, whole) => (whole > 0 ? part / whole : 0);
const swatch = (colour, extra) =>
  el("span", { class: "swatch" + (extra ? " " + extra : ""), "aria-hidden": "true",
    style: { background: colour } });

// A domain's name with its colour, where it is one of the analysed ones.
function domainName(name) {
  const index = labels.indexOf(name);
  return el("span", { class: "bar-line" }, index < 0 ? null : swatch(domainColour(index)),
    el("bdi", { title: name }, name));
}

function domainLegend() {
  return el("ul", { class: "legend", "aria-label": "Colours of the domains" },
    labels.map((name, index) => el("li", {}, swatch(domainColour(index)), el("bdi", {}, name))));
}

// A bar from 0 to `max`, with a mark where chance or the average would be.
function bar(value, max, mark) {
  const width = (x) => (max > 0 ? Math.max(0, Math.min(100, (x / max) * 100)) : 0) + "%";
  return el("span", { class: "bar", "aria-hidden": "true" },
    el("i", { style: { width: width(value) } }),
    mark === undefined || mark === null ? null : el("b", { style: { left: `calc(${width(mark)} - 1px)` } }));
}

// A table with headers. columns: [title, numeric?]; rows: arrays of nodes or text, the first one the
// row's header.
function plainTable(caption, columns, rows) {
  const cell = (tag, content, numeric, scope) =>
    el(tag, { class: numeric ? "number" : null, scope }, content);
  return el("table", { class: "plain wide" }, caption ? el("caption", {}, caption) : null,
    el("thead", {}, el("tr", {}, columns.map(([title, numeric]) => cell("th", title, numeric, "col")))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content, i) =>
      i === 0 ? cell("th", content, false, "row") : cell("td", content, columns[i][1]))))));
}

// Cell colours: `strength` 0..1 of the warm or the cold hue, laid over the cell's own grey.
function paint(cell, strength, hue = "heat") {
  const alpha = Math.max(0, Math.min(1, strength)).toFixed(3);
  const layer = `rgba(var(--${hue}), ${alpha})`;
  cell.style.backgroundImage = `linear-gradient(${layer}, ${layer})`;
  cell.classList.toggle("strong", alpha > 0.72);
  cell.classList.toggle("middling", alpha > 0.55 && alpha <= 0.72);
}

// Lift has no zero: the hue says more or less than average, the strength by how many doublings
// (three fill it).
function paintLift(cell, lift) {
  if (lift === 1) return paint(cell, 0);
  const doublings = lift > 0 ? Math.log2(lift) : -3;
  return paint(cell, Math.abs(doublings) / 3, doublings > 0 ? "heat" : "cold");
}

// Choices that change how a figure is drawn, as a group of radio buttons.
function views(name, legend, choices, onChange) {
  return el("fieldset", { class: "views" }, el("legend", {}, legend),
    choices.map(([value, text], index) => {
      const input = el("input", { type: "radio", name, value, checked: index === 0 });
      input.addEventListener("change", () => onChange(value));
      return el("label", {}, input, text);
    }));
}
