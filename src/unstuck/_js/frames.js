// The view of unstuck.explore.Frames: the sliders' positions together pick one picture.

const ANNOUNCE_AFTER = 400; // ms at rest, so that a screen reader is not flooded while a slider moves

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function makeControl({ label, texts, start }) {
  const input = make("input", { type: "range", min: 0, max: texts.length - 1, step: 1, value: start, "aria-label": label });
  input.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes the arrow keys
  // The input says its value itself; read from the output as well, it would be heard twice.
  const output = make("output", { "aria-hidden": "true" });
  const tell = () => {
    const text = texts[input.valueAsNumber];
    input.setAttribute("aria-valuetext", text);
    output.textContent = text;
  };
  tell();
  input.addEventListener("input", tell);
  return { input, count: texts.length, node: make("label", {}, make("span", {}, label), output, input) };
}

function render({ model, el }) {
  const alts = model.get("alts");
  // Held on to, so that every picture is at hand when its turn comes.
  const pictures = model.get("frames").map((frame) => {
    const picture = new Image();
    picture.src = `data:image/webp;base64,${frame}`;
    return picture;
  });
  const shown = make("img", { width: model.get("width"), height: model.get("height"), decoding: "sync" });
  const news = make("p", { class: "unstuck-frames-news", "aria-live": "polite" });
  const controls = model.get("sliders").map(makeControl);

  const show = () => {
    const frame = controls.reduce((index, { input, count }) => index * count + input.valueAsNumber, 0);
    shown.src = pictures[frame].src;
    shown.alt = alts[frame];
  };
  show();

  const panel = make("div", { class: "unstuck-frames-controls" }, ...controls.map(({ node }) => node));
  let timer;
  panel.addEventListener("input", () => {
    show();
    clearTimeout(timer);
    timer = setTimeout(() => (news.textContent = shown.alt), ANNOUNCE_AFTER);
  });

  const title = model.get("title");
  const heading = make("p", { class: "unstuck-frames-title", "aria-hidden": "true" }, title);
  el.append(make("div", { class: "unstuck-frames", role: "group", "aria-label": title }, heading, panel, shown, news));
  return () => clearTimeout(timer);
}

export default { render };
