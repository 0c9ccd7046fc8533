// The views of unstuck.explore.Predict: a question, and what was measured beside the guess. They meet in this browser.

const STEPS = 100; // of the slider
const FOCUSABLE = new Set(["a", "button", "input", "summary"]);
const GUESSED = "unstuck-guess"; // the event: a guess was made or taken back
// For the time that the page is open, where the browser keeps nothing; each widget may load a module of its own.
const guesses = (globalThis[Symbol.for(GUESSED)] ??= new Map());

function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? guesses.get(key);
  } catch {
    return guesses.get(key);
  }
}

function keep(key, guess) {
  guesses.set(key, guess);
  try {
    if (guess === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(guess));
  } catch {
    // a private window
  }
  dispatchEvent(new CustomEvent(GUESSED, { detail: key }));
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  // Else JupyterLab takes the keys; it looks at the very node that has the focus.
  if (FOCUSABLE.has(tag)) node.setAttribute("data-lm-suppress-shortcuts", "true");
  return node;
}

const minus = (text) => text.replace(/(?<!\w)-(?=\d)/g, "−"); // for the hyphen before a number

// What stands in backticks is code.
const marked = (text) => text.split(/`([^`]+)`/).map((part, i) => (i % 2 ? make("code", {}, part) : minus(part)));
const strong = (text) => make("strong", {}, ...marked(text));
const sentence = (begin, text) => [begin, strong(text), /[.!?]$/.test(text) ? " " : ". "];

const isPlain = (value) => value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6);
const written = (value) =>
  minus(
    isPlain(value)
      ? value.toLocaleString("en", { maximumSignificantDigits: 4 })
      : Number(value.toPrecision(4)).toExponential().replace("e+", "e"),
  );

// Below the slider stand its ends; on a logarithmic scale whole decades between them, at most five gaps.
function makeMarks(low, high, log) {
  const decades = log ? Math.round(1e9 * Math.log10(high / low)) / 1e9 : 1;
  const wide = [1, 2, 3, 4, 5, 6].find((n) => decades % n === 0 && decades / n <= 5) ?? decades;
  return Array.from({ length: decades / wide + 1 }, (_, i) => (log ? low * 10 ** (i * wide) : [low, high][i]));
}

function makeScale({ low, high, unit, log }) {
  const [begin, end] = log ? [Math.log(low), Math.log(high)] : [low, high];
  const decimals = Math.min(Math.max(2 - Math.floor(Math.log10(high - low)), 0), 100);
  return {
    // from 0 to 1, and back to a number with few digits
    place: (value) => ((log ? Math.log(value) : value) - begin) / (end - begin),
    at(share) {
      const value = begin + share * (end - begin);
      const short = log ? Number(Math.exp(value).toPrecision(2)) : Number(value.toFixed(decimals));
      return Math.min(Math.max(short, low), high);
    },
    marks: makeMarks(low, high, log).map(written),
    ends: [written(low), written(high)],
    told: (value) => `${written(value)} ${unit}`.trim(),
  };
}

function makeChoices(choices, guess) {
  const name = `unstuck-${Math.random()}`; // the same question may be shown twice
  const labels = choices.map((text) => {
    const input = make("input", { type: "radio", name, value: text, required: "" });
    input.checked = text === guess;
    return make("label", {}, input, make("span", {}, ...marked(text)));
  });
  const chosen = () => labels.find((label) => label.firstChild.checked);
  return { nodes: labels, read: () => chosen().firstChild.value };
}

function makeNumber(spec, guess) {
  const scale = makeScale(spec);
  const field = make("input", { type: "number", min: spec.low, max: spec.high, step: "any", required: "" });
  const slider = make("input", { type: "range", min: 0, max: STEPS, "aria-label": "Your guess, roughly" });
  const follow = () => {
    if (!field.validity.valid) return;
    slider.value = STEPS * scale.place(field.valueAsNumber);
    slider.setAttribute("aria-valuetext", scale.told(field.valueAsNumber));
  };
  field.value = guess ?? "";
  slider.setAttribute("aria-valuetext", "no guess yet");
  follow();
  field.addEventListener("input", follow);
  slider.addEventListener("input", () => {
    field.value = scale.at(slider.valueAsNumber / STEPS);
    slider.setAttribute("aria-valuetext", scale.told(field.valueAsNumber));
  });
  const marks = make("div", { class: "unstuck-predict-marks" }, ...scale.marks.map((text) => make("span", {}, text)));
  const label = make("label", {}, make("span", {}, "Your guess"), field, make("span", {}, spec.unit));
  return { nodes: [make("div", { class: "unstuck-predict-slider" }, slider, marks), label], read: () => field.valueAsNumber };
}

function readModel(model) {
  const names = ["guess", "question", "choices", "replies", "scale", "answer", "shown", "why"];
  const state = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const { guess: key, choices, scale } = state;
  const isGuess = (value) =>
    choices.length ? choices.includes(value) : Number.isFinite(value) && scale.low <= value && value <= scale.high;
  return {
    ...state,
    key,
    recalled() {
      const guess = recall(key);
      return isGuess(guess) ? guess : null; // what was kept may be of another time
    },
    told: (guess) => (choices.length ? guess : makeScale(scale).told(guess)),
  };
}

function verdict({ choices, replies, answer, shown, why, told }, guess) {
  const right = guess === answer;
  const reply = replies[choices.indexOf(guess)];
  const begin = right ? sentence("", "Right.") : sentence("You said: ", told(guess));
  const correction = right ? [] : sentence("Right is: ", shown);
  return [...begin, ...(reply ? [...marked(reply), " "] : []), ...correction, ...marked(why)];
}

function ask(spec, el) {
  const { key, question, choices, scale, answer } = spec;
  const first = spec.recalled();
  const input = choices.length ? makeChoices(choices, first) : makeNumber(scale, first);
  const isQuiz = answer !== null;
  const kind = make("span", { class: "unstuck-predict-kind" }, isQuiz ? "Quiz" : "Predict");
  const legend = make("legend", {}, kind, ...marked(question));
  const fields = make("fieldset", {}, legend, ...input.nodes);
  const button = make("button", { type: "submit" });
  const status = make("p", { role: "status" });
  const look = isQuiz ? "unstuck-predict unstuck-predict-quiz" : "unstuck-predict";
  const form = make("form", { id: key, class: look, autocomplete: "off" }, fields, button, status);
  if (isQuiz) {
    const right = [...sentence("Right is: ", spec.shown), ...marked(spec.why)];
    form.append(make("p", { class: "unstuck-predict-printed" }, ...right)); // paper cannot be asked
  }

  const show = () => {
    const guess = spec.recalled();
    const done = guess !== null;
    fields.disabled = done;
    button.textContent = !done ? "This is my guess" : isQuiz ? "Guess again" : "Change my guess";
    if (!done) status.replaceChildren();
    else if (isQuiz) status.replaceChildren(...verdict(spec, guess));
    else status.replaceChildren(...sentence("You said: ", spec.told(guess)), "What was measured comes further down.");
    for (const label of choices.length ? input.nodes : []) {
      const { value } = label.firstChild;
      label.toggleAttribute("data-chosen", done && value === guess);
      label.toggleAttribute("data-right", done && isQuiz && value === answer);
    }
  };
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
    event.preventDefault(); // the browser would do the same, but not inside JupyterLab
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keep(key, fields.disabled ? null : input.read());
    // What had the focus may be disabled now.
    (fields.disabled ? button : (form.querySelector(":checked") ?? form.querySelector("input"))).focus();
  });
  el.append(form);
  return show;
}

function makeTrack({ scale, answer }, guess) {
  const low = Math.min(scale.low, answer);
  const high = Math.max(scale.high, answer);
  const { place, ends } = makeScale({ ...scale, low, high });
  const mark = (kind, value, text) => {
    const node = make("span", { class: `unstuck-predict-${kind}` }, text);
    node.style.left = `${100 * place(value)}%`;
    return node;
  };
  const line = make("div", { class: "unstuck-predict-line" }, mark("mine", guess, "you"), mark("theirs", answer, "measured"));
  const [begin, end] = ends.map((text) => make("span", {}, text));
  return make("div", { class: "unstuck-predict-track", "aria-hidden": "true" }, begin, line, end); // the text has it all
}

// On the website the result stands below its question already: it is covered until the reader has guessed, or asks
// for it. A question that the whole page answers, with more than a few results below it, covers nothing.
const FEW = 3;
const LIFTED = "-lifted"; // behind the key: the reader wants to see it without a guess

function resultsOf(key, box) {
  const form = document.getElementById(key);
  const follows = (a, b) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING;
  const all = form ? [...(box.closest(".bd-article")?.querySelectorAll(".cell_output") ?? [])] : [];
  const between = all.filter((output) => follows(form, output) && follows(output, box) && !output.contains(box));
  const results = between.filter((output) => !output.querySelector(".anymount")); // sliders are to be moved
  return results.length > FEW ? [] : results;
}

function cover(output, lift) {
  if (output.classList.contains("unstuck-covered")) return;
  for (const part of output.children) part.inert = true;
  const button = make("button", { type: "button", class: "unstuck-lift" }, "Show it without a guess");
  button.addEventListener("click", lift);
  output.classList.add("unstuck-covered");
  output.append(button);
}

function uncover(output) {
  if (!output.classList.contains("unstuck-covered")) return;
  output.classList.remove("unstuck-covered");
  output.querySelector(":scope > .unstuck-lift").remove();
  for (const part of output.children) part.inert = false;
}

function close(spec, el) {
  const { key, question, choices, answer, shown, why } = spec;
  const lift = () => {
    keep(key + LIFTED, true);
    dispatchEvent(new CustomEvent(GUESSED, { detail: key }));
  };
  const kind = make("p", {}, make("strong", { class: "unstuck-predict-kind" }, "What was measured"));
  const body = make("div");
  el.append(make("div", { class: "unstuck-predict", role: "group", "aria-label": `What was measured: ${question}` }, kind, body));

  const pair = (term, text) => make("div", {}, make("dt", {}, term), make("dd", {}, ...marked(text)));
  // The question once more, where it stands far above.
  const asked = () => make("p", { class: "unstuck-predict-question" }, ...marked(question));
  const reason = () => make("p", {}, ...marked(why));
  return () => {
    const guess = spec.recalled();
    const covered = guess === null && !recall(key + LIFTED);
    const results = resultsOf(key, el);
    for (const output of results) (covered ? cover : uncover)(output, lift);
    if (guess === null) {
      // Short: the question stands above, and the reader has not answered it.
      const link = make("a", { href: `#${key}` }, "Make a guess");
      link.addEventListener("click", (event) => {
        const form = document.getElementById(key);
        if (!form) return;
        event.preventDefault(); // JupyterLab would look for a heading
        form.scrollIntoView({ block: "center" });
        form.querySelector("input").focus({ preventScroll: true });
      });
      const answered = [...(results.length ? [] : [asked()]), make("p", {}, strong(shown)), reason()];
      const folded = make("details", {}, make("summary", {}, "Show it without a guess"), ...answered);
      const unread = make("p", { class: "unstuck-predict-unread" }, "You have not guessed yet. ", link, " first.");
      folded.open = !covered;
      folded.addEventListener("toggle", () => folded.open && covered && lift());
      body.replaceChildren(unread, folded);
      return;
    }
    const both = make("dl", {}, pair("You said", spec.told(guess)), pair(choices.length ? "We found" : "We measured", shown));
    const right = choices.length > 0 && guess === answer ? sentence("", "You were right.") : [];
    const reasoned = reason();
    reasoned.prepend(...right);
    body.replaceChildren(...(results.length ? [] : [asked()]), both, ...(choices.length ? [] : [makeTrack(spec, guess)]), reasoned);
  };
}

function render({ model, el }) {
  const spec = readModel(model);
  const show = (model.get("closing") ? close : ask)(spec, el);
  const heard = ({ detail }) => detail === spec.key && show();
  show();
  addEventListener(GUESSED, heard);
  // What closes a question may have been there before it.
  if (!model.get("closing")) dispatchEvent(new CustomEvent(GUESSED, { detail: spec.key }));
  return () => removeEventListener(GUESSED, heard);
}

export default { render };
