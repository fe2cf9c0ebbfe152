// Headline figures, held-out loss of each domain, and one row of figures for each layer.

function factsList() {
  if (report.facts.length === 0) return;
  document.getElementById("main").append(el("dl", { class: "tiles" }, report.facts.map((fact) =>
    el("div", { class: "tile" }, el("dt", {}, el("bdi", {}, fact.name)),
      el("dd", {}, el("bdi", {}, fact.value)),
      fact.note ? el("dd", { class: "tile-note" }, el("bdi", {}, fact.note)) : null))));
}

function heldoutSection() {
  const losses = report.heldout;
  if (losses.length === 0) return;
  const node = section("heldout", "Loss on held-out text",
    "Text of each domain that was not trained on. Lower is better; bits per byte can be compared "
    + "between models with different tokenizers.");
  const most = Math.max(...losses.map((loss) => loss.nats_per_token || 0));
  const withBytes = losses.some((loss) => loss.bits_per_byte !== null);
  node.append(el("div", { class: "card" }, scroller("Held-out loss by domain", plainTable(null,
    [["Domain", false], ["Nats per token", false],
      ...(withBytes ? [["Bits per byte", true]] : []), ["Tokens", true]],
    losses.map((loss) => [domainName(loss.label),
      el("span", { class: "bar-line" }, bar(loss.nats_per_token || 0, most),
        fixed(loss.nats_per_token, 3)), ...(withBytes ? [fixed(loss.bits_per_byte, 3)] : []),
      integer(loss.tokens)])))));
}

// The claim that the experts specialise, in one sentence with its evidence.
function specialisationWords(routing) {
  const { nmi_mean: nmi, nmi_random_mean: random } = routing.overall;
  if (nmi === null) return null;
  const evidence = `the domain of a token and its first expert share ${fixed(nmi, 3)} of their `
    + `information (NMI, 0 to 1, mean of the layers); the same loads handed out at random would `
    + `give ${random < 0.0001 ? "less than 0.0001" : fixed(random, 4)}.`;
  if (nmi > 5 * random && nmi > 0.01) return "The experts specialise: " + evidence;
  return "The experts do not specialise by domain: " + evidence;
}

function layersSection() {
  const routing = report.routing;
  if (!routing) return;
  const node = section("layers", "The layers at a glance", specialisationWords(routing));
  const vio = Math.max(1, ...routing.layers.map((layer) => layer.max_vio));
  const full = Math.log(routing.n_experts);
  const withBar = (value, max, mark, digits) => el("span", { class: "bar-line" },
    bar(value || 0, max, mark), fixed(value, digits));
  const dead = (layer) => (layer.dead_experts.length === 0 ? "none"
    : layer.dead_experts.map((expert) => "E" + expert).join(", "));
  const doubt = (layer) => (layer.router_entropy === null || full === 0 ? "\u2013"
    : el("span", { class: "bar-line" }, bar(layer.router_entropy, full),
      percent(layer.router_entropy / full)));
  node.append(el("div", { class: "card" }, scroller("Figures of each layer", plainTable(null,
    [["Layer", false], ["Imbalance (MaxVio)", false], ["Never chosen", false],
      ["Router's doubt", false], ["Domain and expert (NMI)", false],
      ["Same expert as the token before", false]],
    routing.layers.map((layer) => ["Layer " + layer.layer,
      withBar(layer.max_vio, vio, undefined, 2), dead(layer), doubt(layer),
      withBar(layer.nmi, 1, layer.nmi_random, 3),
      el("span", { class: "bar-line" }, bar(layer.repeat_rate || 0, 1, layer.repeat_rate_random),
        percent(layer.repeat_rate))])))));
  node.append(el("p", { class: "note" },
    `${integer(routing.tokens)} tokens of held-out text. MaxVio: how far the busiest expert is above `
    + "the average load, 0 is perfect balance. Router's doubt: entropy of its scores as a share of "
    + "the largest possible. The mark in a bar is what chance gives."));
}
