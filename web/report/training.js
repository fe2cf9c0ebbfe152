// The training curves: loss, balance, learning rate and speed over steps. dygraphs puts the names of
// series on the page as HTML, so only names that are written here go into it.

function seriesColours(count) {
  return Array.from({ length: count }, (_, i) => css(`--c${i % 10}`));
}

// rows: [step, value...], one value a series; null is a gap.
function lineChart(parent, rows, names, options) {
  const holder = el("div", { class: "chart" + (options.low ? " low" : ""), role: "img",
    "aria-label": options.label });
  const legend = el("ul", { class: "legend", "aria-hidden": "true" },
    names.map((name, i) => el("li", {}, swatch(domainColour(i), "line"), name)));
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  parent.append(names.length > 1 ? legend : "", holder, readout);

  // Touch is left to the page, which must scroll; a tap still shows the values there.
  const interaction = Object.fromEntries(Object.entries(Dygraph.defaultInteractionModel)
    .filter(([event]) => !event.startsWith("touch")));
  const colours = () => ({ colors: seriesColours(names.length), axisLineColor: css("--line"),
    gridLineColor: css("--grid") });
  const chart = new Dygraph(holder, rows, {
    labels: ["Step", ...names],
    xlabel: options.low ? "" : "Step",
    legend: "never",
    connectSeparatedPoints: true,
    strokeWidth: 2,
    axisLabelFontSize: 12,
    xRangePad: 6,
    yRangePad: 6,
    includeZero: options.fromZero,
    interactionModel: interaction,
    highlightCircleSize: 4,
    axes: { x: { axisLabelFormatter: (step) => short(step), drawGrid: false },
      y: { axisLabelFormatter: options.format, axisLabelWidth: 46 } },
    series: options.series || {},
    highlightCallback: (_event, step, points) => {
      readout.textContent = `Step ${integer(step)}: ` + points
        .filter((point) => Number.isFinite(point.yval))
        .map((point) => (names.length > 1 ? point.name + " " : "") + options.format(point.yval))
        .join(", ");
    },
    unhighlightCallback: () => { readout.textContent = ""; },
    ...colours(),
  });
  darkScheme.addEventListener("change", () => chart.updateOptions(colours()));
}

// At most 25 rows of a chart's numbers, for who would rather read them.
function numbersTable(parent, title, rows, names, format) {
  const stride = Math.max(1, Math.ceil(rows.length / 24));
  const chosen = rows.filter((_, i) => i % stride === 0 || i === rows.length - 1);
  parent.append(el("details", { class: "numbers" }, el("summary", {}, "Numbers as a table"),
    scroller(title, plainTable(null, [["Step", false], ...names.map((name) => [name, true])],
      chosen.map((row) => [integer(row[0]),
        ...row.slice(1).map((value) => (value === null ? "\u2013" : format(value)))])))));
}

// Exponential mean over about a fiftieth of the run, corrected for its start at zero.
function smoothed(values) {
  const keep = 1 - 1 / Math.max(1, values.length / 50);
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return mean / weight;
  });
}

function lossCard(history) {
  const card = el("div", { class: "card" }, el("h3", {}, "Loss (nats per token)"));
  const smooth = smoothed(history.map((point) => point.loss));
  const hasHeldout = history.some((point) => point.heldout !== null);
  const names = ["Training"].concat(hasHeldout ? ["Held-out"] : [], ["Training, each point"]);
  const rows = history.map((point, i) => [point.step, smooth[i],
    ...(hasHeldout ? [point.heldout] : []), point.loss]);
  const last = history[history.length - 1];
  lineChart(card, rows, names, {
    label: `Training loss over ${integer(last.step)} steps; the last value is ${fixed(last.loss, 3)}`,
    format: (value) => value.toFixed(3).replace(/0$/, ""),
    series: { "Training, each point": { strokeWidth: 0.7, color: css("--c8") },
      "Held-out": { drawPoints: true, pointSize: 3 } },
  });
  numbersTable(card, "Loss over steps", rows.map((row) => row.slice(0, names.length)),
    names.slice(0, -1), (value) => value.toFixed(4));
  return card;
}

function balanceCard(history) {
  const layers = Math.max(...history.map((point) => point.max_vio.length));
  if (layers === 0) return null;
  const card = el("div", { class: "card" }, el("h3", {}, "Balance (MaxVio) of each layer"));
  const numbers = report.routing && report.routing.layers.length === layers
    ? report.routing.layers.map((layer) => layer.layer) : [...Array(layers).keys()];
  const names = numbers.map((layer) => "Layer " + layer);
  const rows = history.map((point) => [point.step,
    ...names.map((_, i) => (point.max_vio[i] === undefined ? null : point.max_vio[i]))]);
  lineChart(card, rows, names, {
    label: "MaxVio of each layer over training steps; 0 is perfect balance",
    format: (value) => value.toFixed(2), fromZero: true });
  card.append(el("p", { class: "note" },
    "How far the busiest expert is above the average load: 0 is perfect balance, 1 is twice the average."));
  numbersTable(card, "MaxVio over steps", rows, names, (value) => value.toFixed(3));
  return card;
}

function smallCard(history, key, title, format) {
  const rows = history.map((point) => [point.step, point[key]]);
  if (rows.every((row) => !row[1])) return null;
  const card = el("div", { class: "card" }, el("h3", {}, title));
  lineChart(card, rows, [title], { low: true, label: title + " over training steps", format,
    fromZero: true });
  return card;
}

function trainingSection() {
  const history = report.history;
  if (history.length < 2) return;
  const node = section("training", "Training",
    "Drag over a chart to zoom in, double-click to see all of it again.");
  // Charts measure their holder, so the cards must be on the page before they are drawn.
  const grid = el("div", { class: "cards" });
  node.append(grid);
  const add = (card) => { if (card) grid.append(card); };
  add(lossCard(history));
  add(balanceCard(history));
  add(smallCard(history, "lr", "Learning rate", (value) => (value === 0 ? "0" : value.toExponential(1))));
  add(smallCard(history, "tokens_per_second", "Tokens per second", short));
  dispatchEvent(new Event("resize"));
}
