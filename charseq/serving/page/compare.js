import { $, fault, latest, make, percent, post } from "./api.js";

export function startCompare(models, limits) {
  const ask = latest(async (signal) => {
    fault("");
    const lines = $("lines").value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, limits.texts);
    $("compare-table").hidden = !lines.length;
    if (!lines.length) {
      $("compare-sum").textContent = models.length > 1 ? "" : "One model is served; start charseq serve with -m twice to compare two.";
      return;
    }
    const names = [$("one-model").value, $("two-model").value];
    const found = await Promise.all(names.map(async (model) =>
      (await (await post("v1/predict", { model, texts: lines, n: 3 }, signal)).json()).answers));
    show(names, lines, found);
  }, 250);
  for (const id of ["one-model", "two-model"]) $(id).addEventListener("change", ask);
  $("lines").addEventListener("input", ask);
  $("tab-compare").addEventListener("shown", ask);
}

function show(names, lines, [one, two]) {
  $("one-name").textContent = names[0];
  $("two-name").textContent = names[1];
  let same = 0;
  $("compare-table").tBodies[0].replaceChildren(...lines.map((line, row) => {
    const [left, right] = [one[row], two[row]];
    const equal = left.prediction === right.prediction;
    same += equal;
    return make("tr", { class: equal ? "" : "differs" }, make("td", { dir: "auto" }, line),
      cell(left, right.prediction), cell(right, left.prediction));
  }));
  $("compare-sum").textContent = `${same} of ${lines.length} answers are the same.`;
}

function cell(found, other) {
  const text = found.prediction;
  if (!text) return make("td", {}, make("span", { class: "none" }, "no answer"));
  return make("td", { dir: "auto" }, ...parts(text, other), make("small", { dir: "ltr" }, percent(found.probability)));
}

// The text with the middle marked in which it differs from the other one.
function parts(text, other) {
  const own = [...text], its = [...other];
  let begin = 0, end = 0;
  while (begin < own.length && begin < its.length && own[begin] === its[begin]) begin += 1;
  while (end < own.length - begin && end < its.length - begin && own.at(-1 - end) === its.at(-1 - end)) end += 1;
  const middle = own.slice(begin, own.length - end).join("");
  return [own.slice(0, begin).join(""), ...(middle ? [make("mark", {}, middle)] : []), own.slice(own.length - end).join("")];
}
