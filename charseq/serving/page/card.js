import { $, fault, get, make } from "./api.js";

export function startCard() {
  const ask = async () => {
    try {
      const found = await get(`v1/models/${encodeURIComponent($("card-model").value)}`);
      $("card").replaceChildren(...blocks(found.card));
      $("info").textContent = found.info.join("\n");
    } catch (reason) {
      fault(reason.message);
    }
  };
  $("card-model").addEventListener("change", ask);
  $("tab-card").addEventListener("shown", ask);
}

// The Markdown of a model card, which has headings, tables, code and paragraphs. Its names are
// escaped there, and become text nodes here.
const plain = (text) => text.replace(/\\([^\w\s])|\\(_)/g, "$1$2");
const inline = (text) => text.split(/(`[^`]*`|\*\*[^*]+\*\*)/).map((part) => {
  if (/^`.*`$/.test(part)) return make("code", {}, part.slice(1, -1));
  return /^\*\*.*\*\*$/.test(part) ? make("strong", {}, plain(part.slice(2, -2))) : plain(part);
});

function blocks(text) {
  return text.split(/\n\n+/).map((block) => block.replace(/^\n+|\n+$/g, "")).filter(Boolean).map((block) => {
    if (block.startsWith("# ")) return make("h1", {}, ...inline(block.slice(2)));
    if (block.startsWith("    ")) return make("pre", { tabindex: 0 }, block.replace(/^ {4}/gm, ""));
    if (block.startsWith("|")) return table(block);
    return make("p", {}, ...inline(block.replaceAll("\n", " ")));
  });
}

function table(block) {
  const rows = block.split("\n").map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
  return make("table", {}, make("tbody", {}, ...rows.filter(([head]) => head && !/^-+$/.test(head)).map(([head, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, ...inline(head)), ...cells.map((cell) => make("td", {}, ...inline(cell)))))));
}
