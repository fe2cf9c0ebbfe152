// Domain x expert maps and co-activation maps. Up to 16 experts a cell shows its number; with more
// the cells shrink and the number is in the cell's title.

const kNumbersUpTo = 16;
const kPairTableUpTo = 32;

// [domain][expert] -> shares and lift of one layer's choices.
function layerShares(layer) {
  const counts = layer.label_expert;
  const rows = counts.map(sum);
  const columns = counts[0].map((_, e) => sum(counts.map((row) => row[e])));
  const total = sum(rows);
  return counts.map((row, c) => row.map((count, e) => ({
    count,
    ofDomain: share(count, rows[c]),
    ofExpert: share(count, columns[e]),
    lift: share(share(count, columns[e]), share(rows[c], total)),
  })));
}

function heatTable(label, corner, columnNames, rowNames, fillCell) {
  const dense = columnNames.length > kNumbersUpTo;
  const head = columnNames.map((name, i) => el("th", { scope: "col", title: name },
    !dense ? name : i % 8 === 0 ? name.replace("E", "") : ""));
  return el("table", { class: "heat" + (dense ? " dense" : ""), "aria-label": label },
    el("thead", {}, el("tr", {}, el("td", { class: "none" }, corner), head)),
    el("tbody", {}, rowNames.map((name, r) => el("tr", {},
      el("th", { scope: "row", title: typeof name === "string" ? name : null }, name),
      columnNames.map((_, e) => {
        const cell = el("td", {});
        fillCell(cell, r, e, dense);
        return cell;
      })))));
}

function drawDomainMap(holder, layer, view, strongest) {
  const cells = layerShares(layer);
  const experts = layer.experts.map((expert) => "E" + expert.expert);
  const table = heatTable(`Layer ${layer.layer}: domains and experts`, "", experts,
    labels.map((name, index) => el("span", { class: "bar-line" }, swatch(domainColour(index)),
      el("bdi", { title: name }, name))),
    (cell, c, e, dense) => {
      const value = cells[c][e];
      const shown = view === "lift" ? times(value.lift) : percent(value[view]);
      if (!dense) cell.textContent = shown.replace("\u202f%", "");
      cell.title = `${labels[c]}, expert ${e}: ${percent(value.ofDomain, 1)} of the domain, `
        + `${percent(value.ofExpert, 1)} of the expert, ${times(value.lift)} the average`;
      if (view === "lift") paintLift(cell, value.count > 0 || value.lift > 0 ? value.lift : 0);
      else paint(cell, value[view] / strongest[view]);
    });
  holder.replaceChildren(scroller(`Layer ${layer.layer}: domains and experts`, table));
}

function domainMapScale(view, strongest) {
  const strip = (background) => el("i", { style: { background } });
  if (view === "lift") {
    return ["an eighth of the average",
      strip("linear-gradient(to right, rgb(var(--cold)), var(--grid), rgb(var(--heat)))"), "8 times"];
  }
  return ["0\u202f%", strip("linear-gradient(to right, var(--grid), rgb(var(--heat)))"),
    percent(strongest[view])];
}

function domainSection() {
  const routing = report.routing;
  if (!routing || labels.length === 0 || routing.layers.length === 0) return;
  const node = section("domains", "Which experts read what",
    "One map for each layer: a row is a domain of text, a column an expert. A row with a few strong "
    + "cells is a domain that has experts of its own; an even row is one that all of them share.");
  const strongest = { ofDomain: 0, ofExpert: 0 };
  for (const layer of routing.layers) {
    for (const cell of layerShares(layer).flat()) {
      strongest.ofDomain = Math.max(strongest.ofDomain, cell.ofDomain);
      strongest.ofExpert = Math.max(strongest.ofExpert, cell.ofExpert);
    }
  }
  const holders = routing.layers.map(() => el("div", {}));
  const scale = el("p", { class: "scale", "aria-hidden": "true" });
  const draw = (view) => {
    scale.replaceChildren(...domainMapScale(view, strongest));
    routing.layers.forEach((layer, i) => drawDomainMap(holders[i], layer, view, strongest));
  };
  const even = percent(1 / routing.n_experts, 1);
  node.append(...[views("domain-view", "A cell shows", [
    ["ofDomain", "where a domain goes (% of its choices)"],
    ["ofExpert", "what an expert reads (% of its choices)"],
    ["lift", "times the average"]], draw), scale,
    el("div", { class: "cards" + (routing.n_experts > kNumbersUpTo ? " single" : "") },
      routing.layers.map((layer, i) => el("div", { class: "card" },
        el("h3", {}, "Layer " + layer.layer), holders[i]))),
    routing.n_experts < 2 ? null : el("p", { class: "note" }, `A router that ignores the text would send ${even} of every domain to `
      + `each of the ${integer(routing.n_experts)} experts.`)].filter((child) => child));
  draw("ofDomain");
}

function pairLift(layer, a, b) {
  const expected = layer.coactivation_expected[a][b];
  return expected > 0 ? layer.coactivation[a][b] / expected : null;
}

function pairCanvas(layer) {
  const n = layer.experts.length;
  const canvas = el("canvas", { class: "pairs", width: n, height: n, role: "img",
    "aria-label": `Layer ${layer.layer}: how often each pair of ${n} experts is chosen together, `
      + "against chance" });
  const draw = () => {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, n, n);
    for (let a = 0; a < n; a++) {
      for (let b = 0; b < n; b++) {
        const lift = a === b ? null : pairLift(layer, a, b);
        if (lift === null || lift === 1) continue;
        const doublings = lift > 0 ? Math.max(-2, Math.min(2, Math.log2(lift))) : -2;
        context.fillStyle = `rgba(${css(doublings > 0 ? "--heat" : "--cold")}, ${Math.abs(doublings) / 2})`;
        context.fillRect(b, a, 1, 1);
      }
    }
  };
  draw();
  darkScheme.addEventListener("change", draw);
  return canvas;
}

function pairTable(layer) {
  const names = layer.experts.map((expert) => "E" + expert.expert);
  return heatTable(`Layer ${layer.layer}: pairs of experts, times chance`, "", names, names,
    (cell, a, b, dense) => {
      const lift = a === b ? null : pairLift(layer, a, b);
      if (lift === null) {
        cell.className = "none";
        cell.textContent = dense ? "" : "\u00b7";
        return;
      }
      if (!dense) cell.textContent = lift.toFixed(1);
      cell.title = `E${a} with E${b}: ${integer(layer.coactivation[a][b])} tokens, ${times(lift)} chance`;
      paintLift(cell, lift);
    });
}

function pairsSection() {
  const routing = report.routing;
  if (!routing || routing.k < 2 || routing.k === routing.n_experts) return;
  const shown = routing.layers.filter((layer) => layer.coactivation || layer.top_pairs.length > 0);
  if (shown.length === 0) return;
  const node = section("pairs", "Experts that work together",
    `Each token is read by ${routing.k} experts. A cell says how often two are chosen for the same `
    + "token, in multiples of what chance gives at their loads: above 1 they seek each other, below 1 "
    + "they avoid each other.");
  node.append(el("div", { class: "cards" }, shown.map((layer) => el("div", { class: "card" },
    el("h3", {}, "Layer " + layer.layer),
    !layer.coactivation ? null : layer.experts.length <= kPairTableUpTo
      ? scroller(`Layer ${layer.layer}: pairs of experts`, pairTable(layer)) : pairCanvas(layer),
    layer.top_pairs.length === 0 ? null : el("p", { class: "note" }, "Most together: " + layer.top_pairs
      .map((pair) => `E${pair.a} and E${pair.b} (${times(pair.lift)})`).join(", ") + ".")))));
}
