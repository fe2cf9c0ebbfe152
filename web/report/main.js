// The samples, and the order of the page.

function samplesSection() {
  if (report.samples.length === 0) return;
  const node = section("samples", "What it writes",
    "The start in grey was given, the rest is the model's.");
  node.append(el("div", { class: "cards" }, report.samples.map((sample) =>
    el("article", { class: "card sample" },
      sample.label ? el("h3", {}, domainName(sample.label)) : null,
      el("pre", { tabindex: "0", dir: "auto" }, el("span", { class: "prompt" }, sample.prompt),
        sample.text)))));
}

factsList();
heldoutSection();
trainingSection();
layersSection();
domainSection();
expertsSection();
flowSection();
pairsSection();
samplesSection();
if (document.getElementById("contents").childElementCount === 0) {
  document.getElementById("contents").remove();
}
