// A map of layers (rows) and experts (columns) on a canvas: a cell's strength is a number from 0 to
// 1. A cell can be pointed at, or reached with the arrow keys.
import { css, el, onFrame } from "./base.js";

const kLeft = 34, kTop = 16;
const kCell = { low: 4, high: 22 };  // height
const kMostHeight = 420;

export class HeatMap {
  // `onHover(row, expert)` with -1 for nothing; `onSelect` likewise.
  constructor({ onHover, onSelect }) {
    this.rows = [];  // { layer, experts }
    this.values = [];
    this.marks = [];  // [row, expert]
    this.cursor = null;  // [row, expert]
    this.chosen = null;
    this.onHover = onHover;
    this.onSelect = onSelect;
    this.canvas = el("canvas", { class: "heat", tabindex: "0", role: "application",
      "aria-roledescription": "heat map",
      "aria-label": "Experts of each layer. Arrow keys go from cell to cell, Enter chooses an expert, Escape lets it go." });
    this.draw = onFrame(() => this.drawNow());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.canvas.addEventListener("pointermove", (event) => this.point(event, false));
    this.canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.onHover(-1, -1);
      this.draw();
    });
    this.canvas.addEventListener("click", (event) => this.point(event, true));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    this.canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.draw();
    });
  }

  setRows(rows) {
    this.rows = rows;
    this.columns = Math.max(1, ...rows.map((row) => row.experts));
    const fitting = Math.floor((kMostHeight - kTop) / Math.max(1, rows.length));
    this.cellHeight = Math.max(kCell.low, Math.min(kCell.high, fitting));
    this.canvas.style.height = kTop + this.cellHeight * rows.length + "px";
    this.draw();
  }

  setValues(values) {
    this.values = values;
    this.draw();
  }

  setMarks(marks) {
    this.marks = marks;
    this.draw();
  }

  choose(cell) {
    this.chosen = cell;
    this.draw();
  }

  cellAt(x, y) {
    const width = (this.canvas.clientWidth - kLeft) / this.columns;
    const row = Math.floor((y - kTop) / this.cellHeight);
    const expert = Math.floor((x - kLeft) / width);
    const inside = row >= 0 && row < this.rows.length && expert >= 0 && expert < this.rows[row].experts;
    return inside ? [row, expert] : null;
  }

  point(event, select) {
    const cell = this.cellAt(event.offsetX, event.offsetY);
    this.cursor = cell;
    if (cell && select) this.onSelect(...cell);
    else this.onHover(...(cell || [-1, -1]));
    this.draw();
  }

  onKey(event) {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (step && this.rows.length > 0) {
      event.preventDefault();
      const [row, expert] = this.cursor || this.chosen || [0, -step[1]];
      const to = Math.max(0, Math.min(this.rows.length - 1, row + step[0]));
      this.cursor = [to, Math.max(0, Math.min(this.rows[to].experts - 1, expert + step[1]))];
      this.onHover(...this.cursor);
      this.draw();
    } else if ((event.key === "Enter" || event.key === " ") && this.cursor) {
      event.preventDefault();
      this.onSelect(...this.cursor);
    } else if (event.key === "Escape" && this.chosen) {
      event.stopPropagation();
      this.onSelect(-1, -1);
    }
  }

  drawNow() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width === 0) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const cell = (width - kLeft) / this.columns;
    const gap = cell > 6 ? 1 : 0, gapY = this.cellHeight > 6 ? 1 : 0;
    const box = (row, expert) => [kLeft + expert * cell, kTop + row * this.cellHeight,
      Math.max(0.5, cell - gap), this.cellHeight - gapY];
    this.drawLabels(context, cell);
    const ground = css("--grid"), heat = css("--heat");
    this.rows.forEach((row, r) => {
      for (let e = 0; e < row.experts; e++) {
        context.fillStyle = ground;
        context.fillRect(...box(r, e));
        const strength = this.values[r] ? this.values[r][e] || 0 : 0;
        if (strength <= 0) continue;
        context.fillStyle = `rgba(${heat}, ${Math.min(1, strength).toFixed(3)})`;
        context.fillRect(...box(r, e));
      }
    });
    const outline = (place, colour, line) => {
      const [x, y, w, h] = box(...place);
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
    };
    for (const mark of this.marks) outline(mark, css("--mark"), 2);
    if (this.chosen) outline(this.chosen, css("--ink"), 2.5);
    if (this.cursor) outline(this.cursor, css("--ink"), 1.5);
  }

  drawLabels(context, cell) {
    context.fillStyle = css("--muted");
    context.font = "11px " + getComputedStyle(document.body).fontFamily;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const everyRow = Math.ceil(13 / this.cellHeight);
    this.rows.forEach((row, r) => {
      if (r % everyRow === 0) {
        context.fillText("L" + row.layer, kLeft - 6, kTop + (r + 0.5) * this.cellHeight);
      }
    });
    context.textAlign = "center";
    const every = [1, 2, 4, 8, 16, 32, 64].find((n) => n * cell >= 26) || 64;
    for (let e = 0; e < this.columns; e += every) {
      context.fillText(String(e), kLeft + (e + 0.5) * cell, kTop / 2 - 1);
    }
  }
}
