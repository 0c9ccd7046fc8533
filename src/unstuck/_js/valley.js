// The view of unstuck.explore.Valley: descent on two weights, computed here as the reader moves the feature.

const NEAR = 1e-4; // the share of the excess loss that is left when descent has arrived
const [MOST_STEPS, LOST, DRAWN] = [100_000, 1e12, 2000];
const ANNOUNCE_AFTER = 400; // ms at rest, so that a screen reader is not flooded while a slider moves
const SIZE = 300; // of a panel, in units of its own
const [X_SPAN, Y_LOW, Y_HIGH] = [8, -3, 5]; // what the data's panel shows

// The bowl of y = w x + b for a feature of this mean and scale, and the target 1 + z + noise (see valley.py).
export function bowl(mean, scale) {
  const trace = scale ** 2 + mean ** 2 + 1;
  const steep = (trace + Math.sqrt(trace ** 2 - 4 * scale ** 2)) / 2;
  const flat = scale ** 2 / steep;
  return {
    steep,
    flat,
    kappa: steep / flat,
    border: 2 / steep,
    rate: 2 / (steep + flat), // shrinks the steep and the flat direction equally fast
    angle: Math.atan2(2 * mean, scale ** 2 + mean ** 2 - 1) / 2, // of the steep direction
    best: [1 / scale, 1 - mean / scale],
    excess: (u, v) => ((mean * u + v) ** 2 + (scale * u) ** 2) / 2, // where w and b are that far from the best
  };
}

export function descend(mean, scale, lr) {
  const { best, excess } = bowl(mean, scale);
  let [u, v] = [-best[0], -best[1]];
  const first = excess(u, v);
  let left = first;
  const path = [[0, 0]];
  let steps = 0;
  while (left > NEAR * first && left < LOST * first && steps < MOST_STEPS) {
    const slopes = [(scale ** 2 + mean ** 2) * u + mean * v, mean * u + v];
    u -= lr * slopes[0];
    v -= lr * slopes[1];
    steps += 1;
    left = excess(u, v);
    if (steps < DRAWN) path.push([best[0] + u, best[1] + v]);
  }
  return { steps, path, arrived: left <= NEAR * first };
}

const written = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A slider whose positions are values; logarithmic ones move by a factor of 10 in 50.
function makeSlider(label, [low, high], value, log) {
  const place = log ? (number) => 50 * Math.log10(number) : (number) => 10 * number;
  const number = log ? (position) => 10 ** (position / 50) : (position) => position / 10;
  const ends = { min: Math.round(place(low)), max: Math.round(place(high)) };
  const input = make("input", { type: "range", ...ends, step: "any", "aria-label": label });
  const output = make("output", { "aria-hidden": "true" }); // the input says its value itself
  input.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes the arrow keys
  let now;
  const set = (given) => {
    now = Math.min(Math.max(given, low), high) + 0; // no -0
    input.value = place(now);
    input.setAttribute("aria-valuetext", written(now));
    output.textContent = written(now);
  };
  set(value);
  // With step "any" a key would move it by a hundredth of its length: here it goes to the next round position.
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  input.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    set(number(Math.round(place(now)) + steps[event.key]));
    input.dispatchEvent(new Event("moved", { bubbles: true }));
  });
  input.addEventListener("input", () => {
    set(number(Math.round(input.valueAsNumber)));
    input.dispatchEvent(new Event("moved", { bubbles: true }));
  });
  const node = make("label", {}, make("span", {}, label), output, input);
  return { node, input, set, read: () => now };
}

function makePanel(name, xlabel, ylabel) {
  const inside = draw("g", { "clip-path": `url(#${name})` });
  const frame = draw("rect", { width: SIZE, height: SIZE, class: "unstuck-valley-frame" });
  const clip = draw("clipPath", { id: name }, draw("rect", { width: SIZE, height: SIZE }));
  const across = draw("text", { x: SIZE / 2, y: SIZE + 36 }, xlabel);
  const up = draw("text", { x: -SIZE / 2, y: -34, transform: "rotate(-90)" }, ylabel);
  const ticks = draw("g");
  const node = draw("svg", { viewBox: `-52 -8 ${SIZE + 62} ${SIZE + 52}`, role: "img" });
  node.append(draw("defs", {}, clip), inside, frame, ticks, across, up);
  return { node, inside, ticks };
}

// Round numbers in an interval, at most six.
function rounds(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const begin = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - begin + 1 }, (_, i) => Number(((begin + i) * step).toPrecision(6)));
}

function markAxes(ticks, xs, ys, toX, toY) {
  const mark = (value, attributes) => draw("text", { ...attributes, class: "unstuck-valley-tick" }, written(value));
  ticks.replaceChildren(
    ...xs.map((x) => mark(x, { x: toX(x), y: SIZE + 16 })),
    ...ys.map((y) => mark(y, { x: -6, y: toY(y) + 4, "text-anchor": "end" })),
  );
}

function showData({ inside, ticks }, points, mean, scale, best) {
  const toX = (x) => (SIZE * (x + X_SPAN)) / (2 * X_SPAN);
  const toY = (y) => (SIZE * (Y_HIGH - y)) / (Y_HIGH - Y_LOW);
  const at = (x) => `${toX(x)},${toY(best[0] * x + best[1])}`;
  inside.replaceChildren(
    draw("path", { d: `M${toX(0)},0V${SIZE}M0,${toY(0)}H${SIZE}`, class: "unstuck-valley-zero" }),
    draw("polyline", { points: `${at(-X_SPAN)} ${at(X_SPAN)}`, class: "unstuck-valley-fit" }),
    ...points.map(([z, noise]) => draw("circle", { cx: toX(mean + scale * z), cy: toY(1 + z + noise), r: 4 })),
  );
  markAxes(ticks, [-8, -4, 0, 4, 8], [-2, 0, 2, 4], toX, toY);
}

function showLoss({ inside, ticks }, { steep, flat, angle, best, excess }, path) {
  const reach = 1.1 * Math.hypot(...best); // descent that arrives never gets farther from the best than it starts
  const unit = SIZE / (2 * reach);
  const toX = (w) => SIZE / 2 + unit * (w - best[0]);
  const toY = (b) => SIZE / 2 - unit * (b - best[1]);
  const double = 2 * excess(...best);
  const turn = `translate(${SIZE / 2} ${SIZE / 2}) rotate(${(-180 * angle) / Math.PI})`;
  const rings = [1, 2, 3, 4, 5, 6, 7, 8].map((k) => {
    const axis = (curvature) => (unit * k * Math.sqrt(double / curvature)) / 4;
    return draw("ellipse", { rx: axis(steep), ry: axis(flat), transform: turn });
  });
  const places = path.map(([w, b]) => `${toX(w).toFixed(1)},${toY(b).toFixed(1)}`);
  inside.replaceChildren(
    ...rings,
    draw("polyline", { points: places.join(" "), class: "unstuck-valley-path" }),
    ...path.slice(0, 300).map(([w, b]) => draw("circle", { cx: toX(w), cy: toY(b), r: 2.2 })),
    draw("path", { d: `M${SIZE / 2 - 6},${SIZE / 2 - 6}l12,12m0,-12l-12,12`, class: "unstuck-valley-best" }),
    draw("circle", { cx: toX(0), cy: toY(0), r: 5, class: "unstuck-valley-start" }),
  );
  const ticksOf = (middle) => rounds(middle - reach, middle + reach);
  markAxes(ticks, ticksOf(best[0]), ticksOf(best[1]), toX, toY);
}

// The cloud itself can be taken and moved, sideways.
function dragCloud(node, mean, moved) {
  let held = null;
  const at = (event) => ((event.clientX - node.getBoundingClientRect().x) / node.getBoundingClientRect().width) * (SIZE + 62);
  node.addEventListener("pointerdown", (event) => {
    held = { from: at(event), mean: mean.read() };
    node.setPointerCapture(event.pointerId);
  });
  node.addEventListener("pointermove", (event) => {
    if (!held) return;
    mean.set(Math.round(10 * (held.mean + ((at(event) - held.from) * 2 * X_SPAN) / SIZE)) / 10);
    moved();
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (held = null));
}

let count = 0;

function render({ model, el }) {
  const limits = model.get("limits");
  const points = model.get("points");
  const title = model.get("title");
  count += 1;
  const stem = `unstuck-valley-${Math.random().toString(36).slice(2)}-${count}`; // a page may show it twice

  const mean = makeSlider("mean of the feature", limits.mean, model.get("mean"), false);
  const scale = makeSlider("scale of the feature", limits.scale, model.get("scale"), true);
  const rate = makeSlider("learning rate", limits.lr, 1, true);
  const box = make("input", { type: "checkbox" });
  box.checked = true;
  box.setAttribute("data-lm-suppress-shortcuts", "true");
  const follow = make("label", { class: "unstuck-valley-check" }, box, make("span", {}, "keep it at 2/(λmax + λmin)"));

  const data = makePanel(`${stem}-data`, "feature x", "target y");
  const weights = makePanel(`${stem}-weights`, "weight w", "bias b");
  data.node.classList.add("unstuck-valley-data");
  const told = {};
  const pair = (key, term) => make("div", {}, make("dt", {}, term), (told[key] = make("dd")));
  const numbers = make(
    "dl",
    {},
    pair("kappa", "condition number κ"),
    pair("border", "border 2/λmax"),
    pair("steps", "steps needed"),
  );
  const news = make("p", { class: "unstuck-valley-news", "aria-live": "polite" });

  const show = () => {
    const [m, s] = [mean.read(), scale.read()];
    const here = bowl(m, s);
    if (box.checked) rate.set(here.rate);
    const lr = box.checked ? here.rate : rate.read();
    const { steps, path, arrived } = descend(m, s, lr);
    const end = arrived ? steps.toLocaleString("en") : lr >= here.border ? "diverges" : `more than ${written(MOST_STEPS)}`;
    told.kappa.textContent = written(here.kappa);
    told.border.textContent = written(here.border);
    told.steps.textContent = end;
    showData(data, points, m, s, here.best);
    showLoss(weights, here, path);
    const where = `mean ${written(m)}, scale ${written(s)}`;
    data.node.setAttribute("aria-label", `The data: a feature of ${where}, against the target, with the best line.`);
    const shape = here.kappa < 1.5 ? "round" : here.kappa < 10 ? "long" : "a narrow valley";
    const so = end === "diverges" ? "Descent diverges" : `Descent needs ${end} step${end === "1" ? "" : "s"}`;
    const text = `The lines of equal loss are ${shape}, condition number ${written(here.kappa)}. ${so} at learning rate ${written(lr)}. The border is ${written(here.border)}.`;
    weights.node.setAttribute("aria-label", text);
    return `Feature of ${where}. ${text}`;
  };

  let timer;
  const moved = () => {
    const text = show();
    clearTimeout(timer);
    timer = setTimeout(() => (news.textContent = text), ANNOUNCE_AFTER);
  };
  const controls = make("div", { class: "unstuck-valley-controls" }, mean.node, scale.node, rate.node, follow);
  rate.input.addEventListener("moved", () => (box.checked = false));
  controls.addEventListener("moved", moved);
  box.addEventListener("change", moved);
  dragCloud(data.node, mean, moved);
  show();

  const heading = make("p", { class: "unstuck-valley-title", "aria-hidden": "true" }, title);
  const panels = make("div", { class: "unstuck-valley-panels" }, data.node, weights.node);
  el.append(make("div", { class: "unstuck-valley", role: "group", "aria-label": title }, heading, controls, numbers, panels, news));
  return () => clearTimeout(timer);
}

export default { render };
