"use strict";
// The page: what is typed -> the answer, its candidates and their probabilities. Texts are put in
// as textContent only, so that nothing that is typed or answered is ever read as HTML.

const CANDIDATES = 5, PAUSE = 40, SLICE = 12, STRANGE = 0.5;
const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const isWords = facts.task === "next-word";
const model = new (isWords ? WordsModel : PairsModel)(facts, bytesOf($("weights").textContent));
$("weights").remove();

function run(steps) {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

// Other programs on this page, such as its tests: charseq.predict("text", { n: 3 })
window.charseq = { facts, predict: (text, options) => run(model.answer(text, options)) };

const percent = (share) =>
  share > 0.9995 ? "> 99.9 %" : share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;

function element(name, { className = "", text = "" } = {}) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function candidate({ text, probability }) {
  const item = element("li"), bar = element("span", { className: "bar" });
  bar.style.inlineSize = `${(100 * probability).toFixed(2)}%`;
  bar.setAttribute("aria-hidden", "true");
  const line = element(isWords ? "button" : "div", { className: "line" });
  const word = element("span", { className: "text", text: text || "(no answer)" });
  word.dir = "auto";
  line.append(word, element("span", { className: "share", text: percent(probability) }));
  if (isWords) {
    line.type = "button";
    line.addEventListener("click", () => append(text));
  }
  item.append(bar, line);
  return item;
}

function append(word) {
  const field = $("text"), { prefix } = shown;
  const before = prefix ? field.value.slice(0, field.value.length - prefix.length) : field.value;
  field.value = `${model.append(before, word)} `;
  field.scrollTop = field.scrollHeight;
  field.focus();
  ask();
}

function tell(place, lead, parts) {
  place.hidden = !lead;
  place.replaceChildren(lead);
  for (const part of parts) place.append(" ", element("mark", { text: part }));
}

let shown = { answers: [] };

function show(found) {
  shown = found;
  const [best] = found.answers, output = $("answer");
  output.textContent = best?.text || (best ? "no answer" : isWords ? "no such word" : "no answer");
  output.className = best?.text ? "" : "empty";
  $("copy").disabled = !best?.text;
  $("candidates").replaceChildren(...found.answers.map(candidate));
  const unseen = isWords ? "Words" : "Symbols";
  tell($("unknown"), found.unknown.length ? `${unseen} that the model has never seen:` : "",
    found.unknown.map((one) => (/^\s$/u.test(one) ? `U+${one.codePointAt(0).toString(16)}` : one)));
  const odd = found.familiarity !== null && found.familiarity < STRANGE;
  const cut = found.truncated ? "The answer was cut: it is longer than those of the training. " : "";
  const strange = odd ? "This text is unlike those that the model was taught." : "";
  tell($("note"), cut + strange, []);
}

function clear() {
  shown = { answers: [] };
  $("answer").textContent = "Type a text to see its answer.";
  $("answer").className = "empty";
  $("copy").disabled = true;
  $("candidates").replaceChildren();
  for (const id of ["unknown", "note"]) $(id).hidden = true;
}

// A word that nothing else begins with is finished: then the word after it is shown.
function* answer(text, options) {
  const found = yield* model.answer(text, options);
  const [best, other] = found.answers;
  const finished = isWords && found.prefix && !other && best?.text === found.prefix;
  return finished ? yield* model.answer(`${text} `, options) : found;
}

// Each keystroke begins anew; a search that is no longer wanted stops at its next step.
let asked = 0;
function ask() {
  const number = ++asked;
  const text = $("text").value.replace(/\n+$/, ""), features = $("features").value;
  if (!text && !isWords) return clear();
  $("answer").classList.add("stale");
  const steps = answer(text, { features, n: CANDIDATES });
  const go = () => {
    const end = performance.now() + SLICE;
    while (number === asked) {
      const { done, value } = steps.next();
      if (done) return show(value);
      if (performance.now() > end) return void setTimeout(go);
    }
  };
  setTimeout(go, PAUSE);
}

async function copy() {
  const button = $("copy"), text = shown.answers[0].text;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // some browsers give no clipboard to a page from a file
    getSelection().selectAllChildren($("answer"));
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function begin() {
  for (const [name, value] of Object.entries(facts.about)) {
    $("about").append(element("dt", { text: name }), element("dd", { text: value }));
  }
  if (model.hasFeatures) {
    $("features-field").hidden = false;
    const { features, feature_separator: separator } = facts.source;
    $("features").placeholder = features.slice(0, 3).join(separator);
    $("features-list").append(...features.slice(0, 200).map((one) => {
      const option = element("option");
      option.value = one;
      return option;
    }));
  }
  if (isWords) $("answer-label").textContent = "Next word";
  $("text").addEventListener("input", ask);
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) event.preventDefault();
  });
  $("features").addEventListener("input", ask);
  $("copy").addEventListener("click", copy);
  isWords ? ask() : clear();
}

begin();
