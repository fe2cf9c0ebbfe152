// The way of tokens from layer to layer: columns are layers, blocks experts (height: tokens that
// have it as their first), ribbons the tokens that go from one to the next.

const kFlowMaxExperts = 16;
const kFlowMaxLayers = 12;

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Experts of a layer from top to bottom: by the domain that they read most of, so that ribbons of one
// domain run side by side.
function flowOrder(layer) {
  return layer.experts.map((expert, e) => [mainLabel(expert), e])
    .sort((x, y) => x[0] - y[0] || x[1] - y[1]).map((entry) => entry[1]);
}

// Top and height of each expert's block, by expert.
function stack(sizes, order, height, gap) {
  const scale = (height - gap * (sizes.length - 1)) / Math.max(1, sum(sizes));
  const blocks = [];
  let top = 0;
  for (const e of order) {
    blocks[e] = { top, height: sizes[e] * scale, scale };
    top += blocks[e].height + gap;
  }
  return blocks;
}

function ribbon(x0, x1, y0, y1, height0, height1) {
  const bend = (x1 - x0) * 0.5;
  return `M${x0},${y0}C${x0 + bend},${y0} ${x1 - bend},${y1} ${x1},${y1}V${y1 + height1}`
    + `C${x1 - bend},${y1 + height1} ${x0 + bend},${y0 + height0} ${x0},${y0 + height0}Z`;
}

function flowColumn(layer, index, geometry) {
  const order = flowOrder(layer);
  const blocks = stack(layer.experts.map((expert) => expert.top1), order, geometry.height, 6);
  const tops = () => blocks.map((block) => block.top);
  return { layer, order, blocks, x: geometry.x(index), out: tops(), into: tops() };
}

// The ribbons between two columns, the widest first, so that narrow ones stay visible.
function flowRibbons(from, to, geometry) {
  const drawn = [];
  for (const a of from.order) {
    for (const b of to.order) {
      const count = to.layer.flow[a][b];
      if (count === 0) continue;
      const h0 = count * from.blocks[a].scale;
      const h1 = count * to.blocks[b].scale;
      const shape = svg("path", { class: "ribbon", d: ribbon(from.x + geometry.block, to.x,
        from.out[a] + geometry.top, to.into[b] + geometry.top, h0, h1),
        style: `fill:${domainColour(Math.max(0, mainLabel(from.layer.experts[a])))}` });
      shape.append(svg("title", {}, `Layer ${from.layer.layer} expert ${a} to layer `
        + `${to.layer.layer} expert ${b}: ${integer(count)} tokens`));
      from.out[a] += h0;
      to.into[b] += h1;
      drawn.push([count, shape]);
    }
  }
  return drawn.sort((x, y) => y[0] - x[0]).map((entry) => entry[1]);
}

function flowBlocks(column, geometry) {
  const nodes = [svg("text", { class: "name", x: column.x + geometry.block / 2, y: 14,
    "text-anchor": "middle" }, "Layer " + column.layer.layer)];
  column.blocks.forEach((block, e) => {
    const expert = column.layer.experts[e];
    nodes.push(svg("rect", { x: column.x, y: block.top + geometry.top, width: geometry.block,
      height: Math.max(1, block.height), rx: 3,
      style: `fill:${domainColour(Math.max(0, mainLabel(expert)))}` },
      svg("title", {}, `${expert.words} First choice of ${integer(expert.top1)} tokens.`)));
    if (block.height >= 12) {
      nodes.push(svg("text", { x: column.x + geometry.block + 5, class: "name",
        y: block.top + geometry.top + block.height / 2 + 4 }, "E" + expert.expert));
    }
  });
  return nodes;
}

function flowSection() {
  const routing = report.routing;
  if (!routing || routing.layers.length < 2 || routing.layers.length > kFlowMaxLayers
      || routing.n_experts < 2 || routing.n_experts > kFlowMaxExperts || routing.tokens === 0) return;
  if (routing.layers.slice(1).some((layer) => !layer.flow)) return;
  const node = section("flow", "From layer to layer",
    "The way of the tokens through their first experts. A block and the ribbons that leave it have "
    + "the colour of the domain that the expert reads most of.");
  if (labels.length > 1) node.append(domainLegend());
  const width = 1120;
  const count = routing.layers.length;
  const geometry = { height: 420, top: 26, block: 16, x: (i) => 24 + (i * (width - 64)) / (count - 1) };
  const columns = routing.layers.map((layer, i) => flowColumn(layer, i, geometry));
  const picture = svg("svg", { class: "flow", viewBox: `0 0 ${width + 20} ${geometry.height + geometry.top + 4}`,
    role: "img", "aria-label": "Flow of tokens between the first experts of neighbouring layers" });
  for (let i = 1; i < count; i++) picture.append(...flowRibbons(columns[i - 1], columns[i], geometry));
  for (const column of columns) picture.append(...flowBlocks(column, geometry));
  node.append(el("div", { class: "card" }, scroller("Flow of tokens between layers", picture)));
}
