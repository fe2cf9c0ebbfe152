// What every part uses. Everything from outside reaches the page through `el` as text, never as
// HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") Object.assign(node.style, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// "token": { answer }; "focus-token": { answer, index } or null; "answers": the list changed.
export const events = new EventTarget();
export const emit = (name, detail) => events.dispatchEvent(new CustomEvent(name, { detail }));
export const on = (name, work) => events.addEventListener(name, (event) => work(event.detail));

export const integer = (value) => Math.round(value).toLocaleString("en-US");
export const percent = (share, digits = 0) => (share * 100).toFixed(digits) + "\u202f%";
export const times = (lift) => (lift >= 99.5 ? lift.toFixed(0) : lift.toFixed(1)) + "\u00d7";

// 1234567 as "1.23 M".
export function short(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(3)) + "\u202f" + unit;
  }
  return String(Number(value.toPrecision(3)));
}

export function bytes(value) {
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return Number((value / size).toPrecision(3)) + "\u202f" + unit;
  }
  return value + "\u202fB";
}

export const css = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A token's text where its spaces and line ends can be seen.
export function shown(text) {
  return text === "" ? "\u2205" : text.replaceAll("\n", "\u23ce").replaceAll("\t", "\u21e5")
    .replace(/^ +| +$/g, (spaces) => "\u2423".repeat(spaces.length));
}

// Runs `work` once before the next picture, however often it is asked for.
export function onFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
