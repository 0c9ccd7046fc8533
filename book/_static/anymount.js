// Mounts a notebook's anywidgets on its static page from the state stored in it: no kernel, no require.js, no request.
(() => {
  const find = (kind) => document.querySelectorAll(`script[type="application/vnd.jupyter.widget-${kind}+json"]`);
  const once = (make, made = new Map()) => (key) => (made.has(key) ? made : made.set(key, make(key))).get(key);

  // What a view asks of its model (https://anywidget.dev/en/afm/), without a kernel behind it.
  function makeModel({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const parent = path.slice(0, -1).reduce((node, key) => node[key], state);
      parent[path.at(-1)] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    }
    const events = new EventTarget();
    return {
      get: (key) => state[key],
      set(key, value) {
        if (state[key] === value) return;
        state[key] = value;
        events.dispatchEvent(new Event(`change:${key}`));
        events.dispatchEvent(new Event("change"));
      },
      on: (name, callback) => events.addEventListener(name, callback),
      off: (name, callback) => events.removeEventListener(name, callback),
      save_changes() {},
      send() {},
    };
  }

  const loadModule = once(async (source) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    try {
      const { default: widget } = await import(url);
      return typeof widget === "function" ? await widget() : widget;
    } finally {
      URL.revokeObjectURL(url);
    }
  });

  const addStyle = once((css) => {
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
  });

  async function mountAll() {
    const states = Object.assign({}, ...[...find("state")].map((script) => JSON.parse(script.textContent).state));

    const load = once(async (id) => {
      if (states[id]?.model_module !== "anywidget") throw new Error("the page holds no state of such an anywidget");
      const model = makeModel(states[id]);
      if (model.get("_css")) addStyle(model.get("_css"));
      const widget = await loadModule(model.get("_esm"));
      await widget.initialize?.({ model });
      return { model, widget };
    });

    for (const script of find("view")) {
      const el = document.createElement("div");
      el.className = "anymount";
      script.after(el);
      const id = JSON.parse(script.textContent).model_id;
      load(id)
        .then(({ model, widget }) => widget.render?.({ model, el }))
        .catch((error) => {
          console.error(`widget ${id}:`, error);
          el.textContent = "This interactive figure could not be shown.";
        });
    }
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", mountAll);
  else mountAll();
})();
