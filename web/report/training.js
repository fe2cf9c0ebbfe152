// The training curves: loss, balance, learning rate and speed over steps. dygraphs puts the names of
// series on the page as HTML, so only names that are written here go into it.

// rows: [step, value...], one value a series; null is a gap. `colours`: numbers of the page's ten.
// Charts measure their holder, so `parent` is on the page already.
function lineChart(parent, rows, names, options) {
  const numbers = options.colours || names.map((_, i) => i);
  const holder = el("div", { class: "chart" + (options.low ? " low" : ""), role: "img",
    "aria-label": options.label });
  const legend = el("ul", { class: "legend", "aria-hidden": "true" },
    names.map((name, i) => el("li", {}, swatch(domainColour(numbers[i]), "line"), name)));
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  parent.append(names.length > 1 ? legend : "", holder, readout);

  // Touch is left to the page, which must scroll; a tap still shows the values there.
  const interaction = Object.fromEntries(Object.entries(Dygraph.defaultInteractionModel)
    .filter(([event]) => !event.startsWith("touch")));
  const colours = () => ({ colors: numbers.map((i) => css(`--c${i % 10}`)), axisLineColor: css("--line"),
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

// The mean of each point and its neighbours: as many on both sides, so that it does not lag, but for
// the end, where those that are missing on the right are done without.
function smoothed(values) {
  const widest = Math.floor(values.length / 80);
  return values.map((value, i) => {
    const left = Math.min(widest, i);
    const near = values.slice(i - left, i + left + 1).filter((x) => x !== null);
    return near.length > 0 ? sum(near) / near.length : null;
  });
}

function lossCard(card, history) {
  const hasHeldout = history.some((point) => point.heldout !== null);
  const smooth = smoothed(history.map((point) => point.loss));
  const names = ["Each point", "Training"].concat(hasHeldout ? ["Held-out"] : []);
  const rows = history.map((point, i) => [point.step, point.loss, smooth[i],
    ...(hasHeldout ? [point.heldout] : [])]);
  const last = history[history.length - 1];
  lineChart(card, rows, names, {
    label: `Training loss over ${integer(last.step)} steps; the last value is ${fixed(last.loss, 3)}`,
    format: (value) => value.toFixed(2),
    colours: [8, 0, 1],
    series: { "Each point": { strokeWidth: 0.6 }, "Held-out": { drawPoints: true, pointSize: 2.5 } },
  });
  numbersTable(card, "Loss over steps", rows, names, (value) => value.toFixed(4));
}

function balanceCard(card, history) {
  const layers = Math.max(...history.map((point) => point.max_vio.length));
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
}

function smallCard(card, history, key, title, format) {
  const rows = history.map((point) => [point.step, point[key]]);
  lineChart(card, rows, [title], { low: true, label: title + " over training steps", format,
    fromZero: true });
}

function trainingSection() {
  const history = report.history;
  if (history.length < 2) return;
  const node = section("training", "Training",
    "Drag over a chart with the mouse to zoom in, double-click to see all of it again.");
  const grid = el("div", { class: "cards" });
  node.append(grid);
  const card = (title) => {
    const made = el("div", { class: "card" }, el("h3", {}, title));
    grid.append(made);
    return made;
  };
  lossCard(card("Loss (nats per token)"), history);
  if (history.some((point) => point.max_vio.length > 0)) {
    balanceCard(card("Balance (MaxVio) of each layer"), history);
  }
  if (history.some((point) => point.lr)) {
    smallCard(card("Learning rate"), history, "lr", "Learning rate",
      (value) => (value === 0 ? "0" : value.toExponential(1)));
  }
  if (history.some((point) => point.tokens_per_second)) {
    smallCard(card("Tokens per second"), history, "tokens_per_second", "Tokens per second", short);
  }
  // A scroll bar may have appeared since the first chart was measured.
  dispatchEvent(new Event("resize"));
}
