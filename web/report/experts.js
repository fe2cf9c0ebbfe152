// One card an expert: what it does in words, the mix of domains it reads, its tokens. A layer's
// cards are made when it is opened: large models have thousands of experts.

function tokenChips(tokens, detail) {
  return el("ul", { class: "chips" }, tokens.map((token) =>
    el("li", { title: `id ${token.id}, ${integer(token.count)} times, ${times(token.lift)} the average` },
      el("bdi", {}, token.text), el("small", {}, detail(token)))));
}

// The label whose colour stands for the expert: most of its choices, or none where it has none.
function mainLabel(expert) {
  if (expert.choices === 0) return -1;
  let best = 0;
  expert.labels.forEach((label, i) => {
    if (label.share > expert.labels[best].share) best = i;
  });
  return best;
}

function mixBar(expert) {
  const text = expert.labels.filter((label) => label.share > 0)
    .map((label) => `${labels[label.label]} ${percent(label.share)}`).join(", ");
  return el("div", { class: "mix", role: "img", "aria-label": "Mix of domains: " + text, title: text },
    expert.labels.map((label, i) => el("i", { style: { width: label.share * 100 + "%",
      background: domainColour(i) } })));
}

function expertCard(expert) {
  const main = mainLabel(expert);
  return el("article", { class: "card expert" },
    el("header", {}, el("h4", {}, main < 0 ? null : swatch(domainColour(main)),
      "Expert " + expert.expert),
      el("span", { class: "load" }, percent(expert.load_share, 1) + " of the layer's choices")),
    expert.choices > 0 ? mixBar(expert) : null,
    el("p", {}, el("bdi", {}, expert.words)),
    expert.favourites.length === 0 ? null : [el("h5", {}, "Favourite tokens (times the average)"),
      tokenChips(expert.favourites, (token) => times(token.lift))],
    expert.frequent.length === 0 ? null : [el("h5", {}, "Most frequent tokens (share)"),
      tokenChips(expert.frequent, (token) => percent(token.share, 1))]);
}

function expertsSection() {
  const routing = report.routing;
  if (!routing || routing.layers.length === 0) return;
  const node = section("experts", "What each expert does",
    "The bar is the mix of domains that an expert reads. Favourite tokens come to it more often than "
    + "to the others: \u2423 is a space, \u21b5 a new line.");
  if (labels.length > 1) node.append(domainLegend());
  const few = routing.layers.length * routing.n_experts <= 64 && matchMedia("(min-width: 700px)").matches;
  routing.layers.forEach((layer, i) => {
    const cards = el("div", { class: "experts" });
    const fill = () => {
      if (cards.childElementCount === 0) cards.append(...layer.experts.map(expertCard));
    };
    const details = el("details", { class: "layer", open: few || i === 0 }, el("summary", {},
      "Layer " + layer.layer, el("small", {}, layer.experts.length + (layer.experts.length === 1 ? " expert" : " experts"))), cards);
    if (details.open) fill();
    details.addEventListener("toggle", () => { if (details.open) fill(); });
    node.append(details);
  });
}
