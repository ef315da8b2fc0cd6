"use strict";
// The program of the map page. d3 pans, zooms and finds the nearest point; the
// points are painted pixel by pixel into the canvas, which is as fast without a
// graphics card as with one. Text of the pool enters the page as textContent.
(async () => {
  const byId = (id) => document.getElementById(id);
  const data = await unpack(byId("payload").textContent);
  const { x, y, depth, relative, cell, tokens, rank, round, source, domain,
    roles, state } = data.columns;
  const n = x.length;
  const GREY = "#c9d0d7", SELECTED = 1, REFERENCE = 2;
  const searched = data.texts.map((text, i) =>
    `${text}\n${data.responses[i]}`.toLowerCase());

  async function unpack(text) {
    const bytes = (s) => Uint8Array.from(atob(s), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes(text)]).stream()
      .pipeThrough(new DecompressionStream("gzip"));
    const found = JSON.parse(await new Response(stream).text());
    const real = ["x", "y", "depth", "relative"];
    for (const [name, column] of Object.entries(found.columns)) {
      const kind = real.includes(name) ? Float32Array : Int32Array;
      found.columns[name] = new kind(bytes(column).buffer);
    }
    for (const score of found.scores) {
      score.values = new Float32Array(bytes(score.values).buffer);
    }
    return found;
  }

  // What the dots can be coloured by. Of names: label, colour, group of each
  // dot, which groups lie behind, and whether the first lies on top. Of numbers: a scale from pale to dark.
  const count = d3.format(",");
  const fixed = (value) => d3.format(".3f")(value);
  const short = (value) => Number.isNaN(value) ? "none"
    : Number.isInteger(value) ? count(value) : d3.format(".3~r")(value);

  function groups(labels, colours, groupOf, behind, stacked = false) {
    const of = Uint8Array.from({ length: n }, (_, i) => groupOf(i));
    const sizes = new Array(labels.length).fill(0);
    for (const group of of) sizes[group]++;
    return { labels, colours, of, sizes, behind, stacked };
  }

  function named(names, number) {
    const most = data.categories.length;
    // The most frequent names have a colour, all others share grey.
    const colours = [], labels = [], group = new Map();
    names.forEach((name, k) => {
      if (name !== "" && labels.length < most) {
        group.set(k, labels.length);
        labels.push(name);
        colours.push(data.categories[labels.length - 1]);
      }
    });
    const rest = labels.length;
    const others = names.filter((name) => name !== "").length - rest;
    labels.push(others ? `${count(others)} more` : "none named");
    if (others && names.includes("")) labels[rest] += ", or none named";
    colours.push(GREY);
    return groups(labels, colours, (i) => group.get(number[i]) ?? rest, [rest]);
  }

  function shaded(values, [low, high], label, format = fixed) {
    const last = data.shades.length - 1;
    // What has no number is grey, and lies behind.
    const of = Uint8Array.from(values, (value) => Number.isNaN(value) ? last + 1
      : Math.round(last *
        Math.min(Math.max((value - low) / (high - low), 0), 1)));
    const lacks = values.some(Number.isNaN);
    return { of, colours: [...data.shades, GREY], low, high, behind: [last + 1],
      format, label: lacks ? `${label} (grey: none)` : label };
  }

  function rounds() {
    const labels = ["round 1", "round 2", "rounds 3–4", "rounds 5–8",
      "rounds 9–16", "later rounds", "no candidate"];
    const shade = (k) => data.shades[Math.round((5 - k) / 5 * 63)];
    const colours = labels.map((_, k) => k < 6 ? shade(k) : GREY);
    return groups(labels, colours, (i) =>
      round[i] ? Math.min(Math.ceil(Math.log2(round[i])), 5) : 6, [6], true);
  }

  const modes = {};
  if (state.some((s) => s)) {
    modes.selection = ["selection", () => groups(
      ["selected", "reference", "the rest"], ["#d55e00", "#0072b2", GREY],
      (i) => state[i] & SELECTED ? 0 : state[i] & REFERENCE ? 1 : 2, [2])];
  }
  modes.depth = ["depth", () => shaded(depth, data.depthBounds,
    data.depthLabel)];
  modes.relative = ["relative depth", () => shaded(relative, [0, 1],
    "relative depth: quantile within the domain")];
  if (data.domains.some((name) => name !== "")) {
    modes.domain = ["domain", () => named(data.domains, domain)];
  }
  if (data.sources.length > 1) {
    modes.source = ["source", () => named(data.sources, source)];
  }
  if (round.some((r) => r)) modes.round = ["round", rounds];
  for (const { name, values, bounds } of data.scores) {
    modes[`score:${name}`] = [name, () => shaded(values, bounds,
      `the score ${name}`, short)];
  }

  // What is shown: state that the controls change, and what follows from it.
  const canvas = byId("map"), stage = byId("stage");
  const context = canvas.getContext("2d");
  let mode, off = new Set(), query = "", transform = d3.zoomIdentity;
  let image, pixels, width = 0, height = 0, ratio = 1, pending = 0;
  const bx = new Float32Array(n), by = new Float32Array(n);
  let ground = [], raised = [], tree = null, kept = -1, shown = -1;
  const FAINT = packed("#dfe4e8"), PLAIN = packed("#4d5761");

  function packed(colour) {  // as a little-endian pixel
    const { r, g, b } = d3.rgb(colour);
    return (0xff000000 | b << 16 | g << 8 | r) >>> 0;
  }

  function arrange() {
    const only = byId("only").checked;
    ground = []; raised = [];
    const found = [];
    for (let i = 0; i < n; i++) {
      if (only && !(state[i] & SELECTED)) continue;
      const group = mode.of[i], behind = mode.behind.includes(group);
      if (off.has(group)) continue;
      if (query !== "" && behind && searched[i].includes(query)) found.push(i);
      else if (query === "" ? behind : !searched[i].includes(query)) {
        ground.push(i);
      } else raised.push(i);
    }
    raised = found.concat(raised);
    if (mode.stacked) raised.sort((a, b) => mode.of[b] - mode.of[a]);
    byId("found").textContent = query === "" ? "" :
      `${count(raised.length)} of ${count(ground.length + raised.length)}`;
    tree = null;
    repaint();
  }

  // Offsets, in pixels of the image, of a disc or a cross about its centre.
  function stamp(size, cross = false) {
    const offsets = [], reach = Math.floor(size / 2), middle = (size - 1) / 2;
    for (let v = 0; v < size; v++) {
      for (let u = 0; u < size; u++) {
        const a = u - middle, b = v - middle;
        const wide = Math.abs(Math.abs(a) - Math.abs(b)) < size / 8 + 0.1;
        if (cross ? wide : a * a + b * b <= size * size / 4 + 0.3) {
          offsets.push((v - reach) * width + u - reach);
        }
      }
    }
    return { offsets: Int32Array.from(offsets), reach: reach + 1 };
  }

  // The fewer dots, the larger; they grow with zoom, but less than distances.
  function size(points, least) {
    const room = 0.3 * Math.sqrt(width * height / Math.max(points, 1));
    const grown = Math.max(Math.min(room, 6 * ratio), least * ratio) *
      Math.pow(transform.k, 0.45);
    return Math.max(Math.round(Math.min(grown, 16 * ratio)), 1);
  }

  function draw(points, shape, colours) {
    const { offsets, reach } = shape, { k } = transform;
    const tx = transform.x * ratio, ty = transform.y * ratio;
    const right = width - reach, bottom = height - reach;
    for (const i of points) {
      const u = bx[i] * k + tx | 0, v = by[i] * k + ty | 0;
      if (u < reach || v < reach || u >= right || v >= bottom) continue;
      const centre = v * width + u, colour = colours[mode.of[i]];
      for (let j = 0; j < offsets.length; j++) {
        pixels[centre + offsets[j]] = colour;
      }
    }
  }

  function paint() {
    pending = 0;
    if (!width || !mode) return;
    pixels.fill(0xffffffff);
    const colours = Uint32Array.from(mode.colours, packed);
    const pale = query === "" ? colours : colours.map(() => FAINT);
    const across = size(raised.length, ground.length > raised.length ? 2.6 : 1);
    draw(ground, stamp(Math.min(size(ground.length, 1), across)), pale);
    if (query !== "") for (const group of mode.behind) colours[group] = PLAIN;
    const marked = mode === modes.selection?.made;
    const isCross = (i) => marked && mode.of[i] === 1;
    if (marked) {
      draw(raised.filter(isCross), stamp(across + 2 * ratio, true), colours);
    }
    draw(marked ? raised.filter((i) => !isCross(i)) : raised, stamp(across),
      colours);
    context.putImageData(image, 0, 0);
    placeCard();
  }

  function repaint() { pending ||= requestAnimationFrame(paint); }

  function resize() {
    const box = stage.getBoundingClientRect();
    ratio = Math.min(window.devicePixelRatio || 1, 2);
    width = Math.max(Math.round(box.width * ratio), 1);
    height = Math.max(Math.round(box.height * ratio), 1);
    canvas.width = width; canvas.height = height;
    image = context.createImageData(width, height);
    pixels = new Uint32Array(image.data.buffer);
    const [[left, right], [low, high]] = [d3.extent(x), d3.extent(y)];
    const scale = 0.94 * Math.min(width / Math.max(right - left, 1e-6),
      height / Math.max(high - low, 1e-6));
    for (let i = 0; i < n; i++) {
      bx[i] = width / 2 + (x[i] - (left + right) / 2) * scale;
      by[i] = height / 2 - (y[i] - (low + high) / 2) * scale;
    }
    tree = null;
    repaint();
  }

  // Reading a point: under the pointer, at the centre, or named in the address.
  function nearest(u, v, within) {
    tree ??= d3.quadtree().x((i) => bx[i]).y((i) => by[i])
      .addAll(query === "" ? ground.concat(raised) : raised);
    const { k } = transform;
    return tree.find((u - transform.x) / k * ratio,
      (v - transform.y) / k * ratio, within * ratio / k) ?? -1;
  }

  function describe(i) {
    const rows = [["turns", data.roles[roles[i]]],
      ["source", data.sources[source[i]]],
      ["domain", data.domains[domain[i]]],
      ["depth", fixed(depth[i])], ["relative depth", fixed(relative[i])],
      ["cell", count(cell[i])], ["response", `${count(tokens[i])} tokens`],
      ["rank", rank[i] ? `${count(rank[i])}, round ${count(round[i])}` : ""],
      ["state", state[i] & SELECTED ? "selected" :
        state[i] & REFERENCE ? "reference" : "not selected"],
      ...data.scores.map((score) => [score.name, short(score.values[i])]),
      ["id", data.ids[i]]];
    const list = document.createElement("dl");
    for (const [name, value] of rows.filter((row) => row[1] !== "")) {
      list.append(element("dt", name), element("dd", value));
    }
    const response = element("p", data.responses[i]);
    response.className = "response";
    byId("card").replaceChildren(element("p", data.texts[i]), response, list);
  }

  function element(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  function show(i) {
    if (i !== shown && i >= 0) describe(i);
    shown = i;
    placeCard();
  }

  function placeCard() {
    const card = byId("card"), ring = byId("ring");
    card.hidden = ring.hidden = shown < 0;
    card.classList.toggle("kept", shown >= 0 && shown === kept);
    if (shown < 0) return;
    const u = bx[shown] / ratio * transform.k + transform.x;
    const v = by[shown] / ratio * transform.k + transform.y;
    ring.style.transform = `translate(${u}px, ${v}px)`;
    const w = stage.clientWidth, h = stage.clientHeight;
    const left = u + 18 + card.offsetWidth < w ? u + 18
      : Math.max(u - 18 - card.offsetWidth, 4);
    const top = Math.max(Math.min(v - 20, h - card.offsetHeight - 4), 4);
    card.style.transform = `translate(${left}px, ${top}px)`;
  }

  function keep(i) {
    kept = i;
    show(i);
    history.replaceState(null, "", i < 0 ? "#" : `#${data.ids[i]}`);
  }

  function legend() {
    const box = byId("legend");
    if (!mode.labels) {
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.background = `linear-gradient(90deg, ${data.shades.join()})`;
      const low = mode.low === 0 ? "0" : `≤ ${mode.format(mode.low)}`;
      const high = mode.high === 1 ? "1" : `≥ ${mode.format(mode.high)}`;
      box.replaceChildren(element("span", mode.label), element("small", low),
        bar, element("small", high));
      return;
    }
    box.replaceChildren(...mode.labels.flatMap((label, group) => {
      if (!mode.sizes[group]) return [];
      const button = document.createElement("button");
      const mark = document.createElement("i");
      if (label === "reference" && mode === modes.selection?.made) {
        mark.className = "cross";
        mark.textContent = "×";
        mark.style.color = mode.colours[group];
      } else {
        mark.style.background = mode.colours[group];
      }
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(mark, element("span", label),
        element("small", count(mode.sizes[group])));
      button.addEventListener("click", () => {
        off.has(group) ? off.delete(group) : off.add(group);
        button.setAttribute("aria-pressed", String(!off.has(group)));
        arrange();
      });
      return [button];
    }));
  }

  function choose(name) {
    mode = modes[name].made ??= modes[name][1]();
    off = new Set();
    legend();
    arrange();
  }

  function listen() {
    const map = d3.select(canvas);
    const zoom = d3.zoom().scaleExtent([0.7, 400]).clickDistance(4);
    zoom.on("zoom", (event) => {
      transform = event.transform;
      repaint();
    });
    map.call(zoom).on("dblclick.zoom", null);
    const place = (event) => d3.pointer(event, canvas);
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons || kept >= 0) return;
      show(nearest(...place(event), 12));
    });
    canvas.addEventListener("pointerleave", () => kept < 0 && show(-1));
    map.on("click", (event) => keep(nearest(...place(event), 16)));

    const key = (name) => {
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0],
        ArrowUp: [0, 60], ArrowDown: [0, -60] }[name];
      if (step) zoom.translateBy(map, ...step.map((s) => s / transform.k));
      else if (name === "+" || name === "=") zoom.scaleBy(map, 1.5);
      else if (name === "-") zoom.scaleBy(map, 1 / 1.5);
      else if (name === "0") zoom.transform(map, d3.zoomIdentity);
      else if (name === "Escape") keep(-1);
      else return false;
      return true;
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || !key(event.key)) return;
      event.preventDefault();
      if (event.key === "Escape") return;
      kept = -1;
      show(nearest(stage.clientWidth / 2, stage.clientHeight / 2, Infinity));
    });
    for (const button of document.querySelectorAll("#zoom button")) {
      button.addEventListener("click", () => key(button.dataset.key));
    }
    let timer;
    byId("search").addEventListener("input", (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        query = event.target.value.trim().toLowerCase();
        arrange();
      }, 120);
    });
    byId("only").addEventListener("change", arrange);
    byId("only-label").hidden = !state.some((s) => s & SELECTED);
    byId("controls").addEventListener("submit", (e) => e.preventDefault());
    new ResizeObserver(resize).observe(stage);
  }

  for (const [name, [label]] of Object.entries(modes)) {
    const option = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "mode", value: name,
      checked: name === Object.keys(modes)[0] });
    input.addEventListener("change", () => choose(name));
    option.append(input, element("span", label));
    byId("modes").append(option);
  }
  byId("wait").hidden = true;
  resize();
  listen();
  choose(Object.keys(modes)[0]);
  const follow = () => {
    const linked = data.ids.indexOf(location.hash.slice(1));
    if (linked >= 0) keep(linked);
  };
  follow();
  window.addEventListener("hashchange", follow);
})().catch((error) => {
  document.getElementById("wait").textContent =
    `This browser cannot show the map: ${error.message}`;
});
