// The explorer: numbers of `explorerTables`, images corrupted here. Its tables come as a
// script, since a page that is opened from a file may load nothing else.
(() => {
  "use strict";
  const tables = window.explorerTables;
  const $ = name => document.getElementById(`explorer-${name}`);
  const { levels, n_train: sizes, size, curves, low, high } = tables;
  const pixels = size * size;
  const short = (x, digits = 2) => x.toFixed(digits).replace(/^0/, "");
  const settings = {
    p: $("p"), n: $("n"), activation: $("activation"), noise: $("noise"),
    networks: $("networks"), digit: $("digit"),
  };

  // Two pixels in a byte, sixteen shades between the least and the largest.
  function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const images = new Float32Array(2 * bytes.length);
    bytes.forEach((byte, i) => {
      images[2 * i] = low + (high - low) * (byte >> 4) / 15;
      images[2 * i + 1] = low + (high - low) * (byte & 15) / 15;
    });
    return images;
  }
  const train = unpacked(tables.train), test = unpacked(tables.test);
  const labels = [...tables.labels].map(Number);

  // Uniform numbers of a seed: mulberry32.
  function generator(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  // Which pixels go first, and by what they are replaced: drawn once for all levels, so
  // that a slider changes only what it says.
  function drawn(seed) {
    const uniform = generator(seed);
    const order = new Float32Array(train.length);
    const replacement = new Float32Array(train.length);
    const normal = new Float32Array(train.length);
    for (let i = 0; i < train.length; i++) {
      order[i] = uniform();
      replacement[i] = Math.sqrt(3) * (2 * uniform() - 1);
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      normal[i] = radius * Math.cos(2 * Math.PI * uniform());
    }
    return { order, replacement, normal };
  }
  let seed = 1, noise = drawn(seed);

  function corrupted(i, p, kind) {
    if (kind === "additive") return (1 - p) * train[i] + p * noise.normal[i];
    return noise.order[i] < p ? noise.replacement[i] : train[i];
  }

  // One image of each class, and the mean of each class over n of them.
  function images(p, n, kind) {
    const seen = [...Array(10)].map(() => null);
    const means = [...Array(10)].map(() => new Float32Array(pixels));
    const count = Array(10).fill(0);
    for (let k = 0; k < n; k++) count[labels[k]]++;
    for (let k = 0; k < n; k++) {
      const image = Float32Array.from(
        { length: pixels }, (_, i) => corrupted(k * pixels + i, p, kind));
      seen[labels[k]] ??= image;
      image.forEach((x, i) => { means[labels[k]][i] += x / count[labels[k]]; });
    }
    return { seen, means, each: count[0] };
  }

  function paint(canvas, image, from, to) {
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    const data = context.createImageData(size, size);
    for (let i = 0; i < pixels; i++) {
      const shade = 255 * (image[i] - from) / (to - from);
      data.data.set([shade, shade, shade, 255], 4 * i);  // clamped there
    }
    context.putImageData(data, 0, 0);
  }

  function paintRow(row, ten, from, to, what) {
    ten.forEach((image, digit) => {
      const canvas = row.children[digit];
      paint(canvas, image, from, to);
      canvas.setAttribute("aria-label", `${what} ${digit}`);
    });
  }

  // The chart ----------------------------------------------------------------------
  const SVG = "http://www.w3.org/2000/svg";
  const TICKS = [0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99];
  const NAMES = { mean: "mean of all", one: "one network" };

  function put(parent, tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) {
      made.setAttribute(name, value);
    }
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function axes(chart, width, height) {
    const left = 36, right = 92, top = 12, bottom = 40;
    const ends = [levels[0], levels[levels.length - 1]].map(p => -Math.log(1 - p));
    const x = p => left + (width - left - right) *
      (-Math.log(1 - p) - ends[0]) / (ends[1] - ends[0]);
    const y = a => height - bottom - (height - top - bottom) * a;
    for (const a of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      put(chart, "line", { class: "grid", x1: left, x2: width - right, y1: y(a), y2: y(a) });
      put(chart, "text", { x: left - 6, y: y(a) + 4, "text-anchor": "end" },
        a === 0 || a === 1 ? a : short(a, 1));
    }
    for (const p of TICKS) {
      put(chart, "text", { x: x(p), y: height - bottom + 16, "text-anchor": "middle" },
        short(p).replace(/0$/, ""));
    }
    put(chart, "text", { x: (left + width - right) / 2, y: height - 6,
      "text-anchor": "middle" }, "corruption p");
    put(chart, "line", { class: "chance", x1: left, x2: width - right,
      y1: y(0.1), y2: y(0.1) });
    put(chart, "text", { x: width - right + 6, y: y(0.1) + 14 }, "chance");
    return { x, y };
  }

  function curve(chart, { x, y }, points, networks, chosen, at) {
    const group = put(chart, "g", { class: `${networks}${chosen ? " chosen" : ""}` });
    const of = points.map((point, i) => ({
      p: levels[i], valid: !point.doubts.length, ...point[networks] }));
    const path = side => of.map(o => `${x(o.p)},${y(o.accuracy + side * o.std)}`);
    if (chosen) {
      put(group, "polygon", { class: "band",
        points: [...path(1), ...path(-1).reverse()].join(" ") });
    }
    put(group, "polyline", { points: path(0).join(" ") });
    if (chosen) {
      const now = of[at];
      put(group, "line", { class: "bar", x1: x(now.p), x2: x(now.p),
        y1: y(now.accuracy - now.std), y2: y(now.accuracy + now.std) });
    }
    of.forEach((o, i) => put(group, "circle", { cx: x(o.p), cy: y(o.accuracy),
      r: chosen && i === at ? 7 : 4, class: o.valid ? "valid" : "doubted" }));
    return { group, end: y(of[of.length - 1].accuracy) };
  }

  function drawChart(points, at, networks) {
    const chart = $("chart");
    const width = Math.max(280, Math.min(680, chart.parentElement.clientWidth));
    const height = Math.round(Math.min(320, 0.8 * width));
    chart.replaceChildren();
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.setAttribute("width", width);
    chart.setAttribute("height", height);
    const scale = axes(chart, width, height);
    const other = networks === "mean" ? "one" : "mean";
    const found = Object.fromEntries([other, networks].map(each =>
      [each, curve(chart, scale, points, each, each === networks, at)]));
    // direct labels, apart from each other and from "chance"
    const chance = scale.y(0.1) + 14;
    const one = Math.min(found.one.end, chance - 15);
    const mean = Math.min(found.mean.end, one - 15);
    for (const [each, end] of [["mean", mean], ["one", one]]) {
      put(found[each].group, "text", { x: width - 86, y: end + 4 }, NAMES[each]);
    }
    const said = points.map((point, i) =>
      `${short(point[networks].accuracy)} at ${short(levels[i])}`).join(", ");
    chart.setAttribute("aria-label",
      `Accuracy, ${NAMES[networks]}, by corruption level: ${said}.`);
  }

  // All of it ----------------------------------------------------------------------
  function say(point, networks, digit) {
    const told = point[networks];
    $("accuracy").textContent = `${short(told.accuracy)} ± ${short(told.std)}`;
    $("accuracy-note").textContent = networks === "one"
      ? "on clean digits, of one network; ± over noises and starts. Chance is .10."
      : "on clean digits, of the mean of all networks; ± over noises. Chance is .10.";
    const doubts = $("doubts");
    doubts.className = point.doubts.length ? "doubted" : "";
    doubts.textContent = point.doubts.length
      ? `The law calls itself not valid here: ${point.doubts.join("; ").replaceAll("`", "")}.`
      : "The law calls itself valid here.";
    paint($("test"), test.subarray(digit * pixels, (digit + 1) * pixels), low, high);
    $("test").setAttribute("aria-label", `test image of a ${digit}`);
    $("right").textContent =
      `This clean ${digit} is told right with probability ${short(told.right[digit])}.`;
  }

  function show() {
    const at = Number(settings.p.value), p = levels[at];
    const n = sizes[Number(settings.n.value)], kind = settings.noise.value;
    const networks = settings.networks.value;
    $("p-value").textContent = short(p);
    $("n-value").textContent = n;
    settings.p.setAttribute("aria-valuetext", `${Math.round(100 * p)} percent`);
    settings.n.setAttribute("aria-valuetext", `${n} images`);
    const points = curves[`${settings.activation.value} ${kind} ${n}`];
    say(points[at], networks, Number(settings.digit.value));
    drawChart(points, at, networks);
    const { seen, means, each } = images(p, n, kind);
    paintRow($("seen"), seen, -2, 2.6, "corrupted image of a");
    const all = means.flatMap(mean => [...mean]);
    const least = Math.min(...all), most = Math.max(...all);
    paintRow($("means"), means, least, most, "mean of the corrupted images of class");
    $("means-note").textContent = `The mean of each class over its ${each} corrupted ` +
      `images, from black at ${least.toFixed(2)} to white at ${most.toFixed(2)}.`;
  }

  function fill(select, values) {
    select.replaceChildren(...values.map(value => new Option(value, value)));
  }
  for (const row of [$("seen"), $("means")]) {
    for (let digit = 0; digit < 10; digit++) {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      row.append(canvas);
    }
  }
  fill(settings.activation, [...new Set(Object.keys(curves).map(key => key.split(" ")[0]))]);
  fill(settings.digit, [...Array(10).keys()]);
  settings.p.max = levels.length - 1;
  settings.n.max = sizes.length - 1;
  settings.p.value = levels.indexOf(0.9);
  settings.n.value = sizes.length - 1;
  settings.activation.value = "erf";
  settings.digit.value = 3;
  for (const slider of [settings.p, settings.n]) slider.disabled = false;
  $("settings").addEventListener("submit", event => event.preventDefault());
  $("settings").addEventListener("input", show);
  $("draw").addEventListener("click", () => { noise = drawn(++seed); show(); });
  let width = 0;
  new ResizeObserver(() => {
    const now = $("chart").parentElement.clientWidth;
    if (now !== width) { width = now; show(); }
  }).observe($("chart").parentElement);
  show();
})();
