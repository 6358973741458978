import { $, fault, latest, make, meter, percent, post, say, setMeter } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const EXAMPLES = { pairs: ["3. März 2021", "le 14 juillet 1789", "2021年3月3日"], "next-word": ["I love ", "Thank you for your "] };
let models, limits;
const model = () => models.find((one) => one.name === $("text-model").value);

export function startText(known, bounds) {
  models = known;
  limits = bounds;
  $("text").maxLength = limits.text;
  const ask = latest(answer, 90);
  for (const id of ["text", "features"]) $(id).addEventListener("input", ask);
  for (const id of ["text-n", "text-model"]) $(id).addEventListener("change", () => { prepare(); ask(); });
  $("text").addEventListener("keydown", takeFirst);
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("best").dataset.text);
      $("copy").textContent = "Copied";
    } catch { $("copy").textContent = "Not allowed"; }
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  });
  addEventListener("resize", () => draw());
  prepare();
}

function prepare() {
  const one = model();
  $("features-label").hidden = !one.has_features;
  $("hint").textContent = one.task === "pairs" ? "The answer comes as you type." : "Words come as you type.";
  $("text").placeholder = one.task === "pairs" ? "Type a text to be rewritten" : "Begin a sentence";
  if (!$("text").value) nothing();
}

function nothing() {
  $("rewritten").hidden = true;
  const one = model();
  $("continued").hidden = one.task === "pairs";
  const shipped = { dates: "pairs", sentences: "next-word" }[one.name];
  const tries = shipped === one.task ? EXAMPLES[shipped] : [];
  $("empty").replaceChildren(...(tries.length ? ["Try: "] : ["Nothing typed yet."]), ...tries.map((text) =>
    make("button", { type: "button", class: "quiet", onclick: () => type(text) }, make("bdi", {}, text))));
  $("empty").hidden = false;
}

function type(text) {
  $("text").value = text;
  $("text").focus();
  $("text").dispatchEvent(new Event("input"));
}

async function answer(signal) {
  fault("");
  const one = model(), text = $("text").value.replaceAll("\n", " "), n = Number($("text-n").value);
  $("count").textContent = text.length > limits.text * 0.8 ? `${text.length} of ${limits.text} characters` : "";
  if (!text && one.task === "pairs") return nothing();
  const whole = one.has_features ? `${text}\t${$("features").value}` : text;
  $("rewritten").classList.add("stale");
  try {
    const words = one.task === "next-word";
    const completes = words && text.trim() && !/\s$/.test(text);
    const asked = { model: one.name, texts: [whole], n, ...(words ? {} : { align: true }) };
    const found = await (await post(completes ? "v1/complete" : "v1/predict", asked, signal)).json();
    $("empty").hidden = Boolean(text) || !words;
    if (words) continued(found.answers[0], completes, text);
    else rewritten(found.answers[0], one);
    if (!text) nothing();
  } finally {
    if (!signal.aborted) $("rewritten").classList.remove("stale");
  }
}

function rewritten(found, one) {
  $("continued").hidden = true;
  $("rewritten").hidden = false;
  const best = $("best"), sure = found.probability ?? 0;
  best.dataset.text = found.prediction;
  best.classList.toggle("none", !found.prediction);
  best.textContent = found.prediction || (found.unsure ? "withheld" : "no answer");
  setMeter($("sure"), sure, percent(sure));
  $("sure-value").textContent = percent(sure);
  $("familiar-row").hidden = found.familiarity === null;
  if (found.familiarity !== null) {
    setMeter($("familiar"), found.familiarity, percent(found.familiarity));
    $("familiar-value").textContent = percent(found.familiarity);
  }
  const facts = [];
  if (found.from && found.from !== "model") facts.push(make("li", {}, `from the ${found.from}`));
  if (found.truncated) facts.push(make("li", { class: "warn" }, "cut at the longest length learnt"));
  if (found.unknown.length) {
    facts.push(make("li", { class: "warn" }, "never seen in training: ", make("bdi", {}, found.unknown.map(visible).join(" "))));
  }
  if (found.familiarity !== null && found.familiarity < 0.1) facts.push(make("li", { class: "warn" }, "unlike the texts of the training"));
  $("facts").replaceChildren(...facts);
  $("candidates-card").hidden = found.candidates.length < 2;
  $("candidates").replaceChildren(...found.candidates.map((each) => make("li", {},
    make("span", {}, each.prediction ? make("bdi", {}, each.prediction) : make("span", { class: "none" }, "no answer"),
      ...(each.from === "model" ? [] : [make("span", { class: "tag" }, each.from)])),
    meter(each.probability), make("span", { class: "value" }, percent(each.probability)))));
  align(found.alignment, new Set(found.unknown), one);
  const notes = found.unknown.length ? `, ${found.unknown.length} unknown symbols` : "";
  say(found.prediction ? `${found.prediction}, ${percent(sure)}${notes}` : "no answer");
}

const visible = (symbol) => symbol === " " ? "␣" : /^\p{M}/u.test(symbol) ? `◌${symbol}` : symbol;

function sign(symbol, kind) {
  return make("span", { class: `sign${symbol.trim() ? "" : " space"}${kind}` }, visible(symbol));
}

let drawn = null;

function align(found, unknown, one) {
  drawn = null;
  $("alignment-card").hidden = !found || !found.target.length;
  if (!found || !found.target.length) return;
  const above = make("div", { class: "row", dir: "auto" }, ...found.source.map((symbol) => sign(symbol, unknown.has(symbol) ? " unknown" : "")));
  const below = make("div", { class: "row", dir: "auto" }, ...found.target.map((symbol) => sign(symbol, "")));
  const lines = document.createElementNS(SVG, "svg");
  lines.setAttribute("aria-hidden", "true");
  $("alignment").replaceChildren(make("div", { class: "plane" }, above, lines, below));
  drawn = { above, below, lines, weights: found.weights };
  const joined = found.pairs.map(([from, to]) => `${[...from].map(visible).join("") || "∅"}→${[...to].map(visible).join("")}`);
  $("pairs").replaceChildren(...joined.flatMap((pair) => [make("bdi", {}, pair), "  "]));
  $("alignment").setAttribute("aria-label", `Alignment: ${found.pairs.map(([from, to]) => `${to} from ${from || "the end"}`).join(", ")}`);
  [...below.children].forEach((node, place) => light(node, (row) => row === place));
  [...above.children].forEach((node, place) => light(node, (_row, column) => column === place));
  draw();
}

function light(node, chosen) {
  const set = (on) => {
    if (!drawn) return;
    drawn.lines.classList.toggle("dim", on);
    for (const path of drawn.lines.children) {
      const row = Number(path.dataset.row), column = Number(path.dataset.column);
      const lit = on && chosen(row, column);
      path.classList.toggle("lit", lit);
      if (lit || !on) {
        drawn.below.children[row].classList.toggle("lit", lit);
        drawn.above.children[column].classList.toggle("lit", lit);
      }
    }
  };
  node.addEventListener("pointerenter", () => set(true));
  node.addEventListener("pointerleave", () => set(false));
}

function draw() {
  if (!drawn) return;
  const { above, below, lines, weights } = drawn;
  const left = lines.getBoundingClientRect().left, height = lines.clientHeight;
  const middle = (node) => { const box = node.getBoundingClientRect(); return box.left + box.width / 2 - left; };
  const from = [...above.children].map(middle), to = [...below.children].map(middle);
  const paths = [];
  weights.forEach((row, j) => row.forEach((weight, i) => {
    if (weight < 0.08) return;
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${from[i]} 3C${from[i]} ${height / 2} ${to[j]} ${height / 2} ${to[j]} ${height - 3}`);
    path.setAttribute("stroke-opacity", Math.min(1, 0.15 + 0.75 * weight));
    path.dataset.row = j;
    path.dataset.column = i;
    paths.push(path);
  }));
  lines.replaceChildren(...paths);
}

function continued(found, completes, text) {
  $("words").dataset.text = text;
  $("rewritten").hidden = true;
  $("continued").hidden = false;
  $("words-label").textContent = completes ? "Completions" : "Next words";
  const right = getComputedStyle($("text")).direction === "rtl";
  $("take-key").textContent = right ? "←" : "→";
  $("words").replaceChildren(...found.candidates.map((each) => {
    const button = make("button", { type: "button", onclick: () => { if (isFresh()) type(`${each.line} `); } },
      make("bdi", {}, each.prediction), make("small", {}, percent(each.probability)));
    button.style.setProperty("--share", `${100 * each.probability}%`);
    return make("li", {}, button);
  }));
  if (!found.candidates.length) $("words").replaceChildren(make("li", { class: "none" }, "The model knows no word that begins so."));
  if (found.unknown.length) $("words").append(make("li", { class: "none" }, "unknown: ", make("bdi", {}, found.unknown.join(" "))));
  say(found.candidates.map((each) => each.prediction).join(", "));
}

/* Whether the words on the page belong to what stands in the box, and not to what stood there before. */
function isFresh() {
  return $("words").dataset.text === $("text").value.replaceAll("\n", " ");
}

function takeFirst(event) {
  const box = $("text"), key = getComputedStyle(box).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  if (event.key !== key || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || $("continued").hidden) return;
  const first = $("words").querySelector("button");
  if (!first || !isFresh() || box.selectionStart !== box.value.length || box.selectionEnd !== box.value.length) return;
  event.preventDefault();
  first.click();
}
