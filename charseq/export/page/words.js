"use strict";
// A model that predicts the next word: a line -> words. The rules for words are those of charseq's
// tokenizer, where they are explained.

const SIGNS = {
  "'": "'", "\u2019": ">", "\u2018": "<", "-": "-", "\u2010": "-", "\u2011": "-", ".": ".",
  ",": ":", ":": ":", "/": ":", "\u2013": ":", "&": "&", "@": "&", "_": "w", "\u200d": "z",
  "^": "p", "`": "p",
};
const SPACES = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const IS_SPACE = new RegExp(`^[${SPACES}]$`, "u"), SPACE_RUN = new RegExp(`[${SPACES}]+`, "u");
const CLASSES = [
  [/^[\p{So}\p{Sk}]$/u, "s"], [/^\p{L}$/u, "w"], [/^\p{M}$/u, "m"], [/^\p{N}$/u, "0"],
  [/^[\p{P}\p{S}]$/u, "p"],
];
const WORD_RULE = new RegExp(
  "(?:wm*\\.){2,}(?:-[w0mz]+)*|-{2,}|\\.{2,}|s[smz]*" +
  "|['>-]?[w0mz]+(?:(?:['>&.-]|(?<=0):(?=0))[w0mz]+)*(?:['>]|-(?!-))?|[^ ]", "g");
const LETTERS = "w0mz";
const AFTER = new Set(".,?!;:%\u2026\u00b0\u060c\u061f\u061b\u06d4\u0964\u0965\u0589");
const BEFORE = new Set("#\u00bf\u00a1"), BETWEEN = new Set(["/", "\u2014", "--"]);
const WIDE = /^[\u3001-\u3003\u3008-\u3011\u3014-\u301f\u3030\u303d\u30a0\u30fb\uff01-\uff60]$/u;

function classOf(sign) {
  if (SIGNS[sign]) return SIGNS[sign];
  if (IS_SPACE.test(sign)) return " ";
  return CLASSES.find(([rule]) => rule.test(sign))?.[1] ?? "w";
}

function separateQuotes(classes) {
  const opened = new Set(), marks = [...classes];
  for (const { 0: sign, index } of classes.matchAll(/['<>]/g)) {
    const kind = sign === "'" ? "'" : "<";
    const before = classes[index - 1] ?? " ", after = classes[index + 1] ?? " ";
    const closes = opened.has(kind) && before !== " " && !LETTERS.includes(after);
    const opens = !opened.has(kind) && sign !== ">" && !LETTERS.includes(before) && after !== " ";
    if (closes || opens) {
      opened.has(kind) ? opened.delete(kind) : opened.add(kind);
      marks[index] = "p";
    }
  }
  return marks.join("");
}

function attachment(word) {
  if (BETWEEN.has(word)) return [true, true];
  if (/^\.*$/.test(word)) return [true, false];
  if ([...word].length > 1) return [false, false];
  if (WIDE.test(word) && /\p{P}/u.test(word)) return [true, true];
  if (AFTER.has(word) || /[\p{Pe}\p{Pf}]/u.test(word)) return [true, false];
  return [false, BEFORE.has(word) || /[\p{Ps}\p{Pi}\p{Sc}]/u.test(word)];
}

function join(words) {
  const opened = new Set();
  let text = "", attached = true;
  for (const word of words) {
    let [before, after] = attachment(word);
    if (word === '"' || word === "'") {
      [before, after] = [opened.has(word), !opened.has(word)];
      opened.has(word) ? opened.delete(word) : opened.add(word);
    }
    text += attached || before ? word : ` ${word}`;
    attached = after;
  }
  return text;
}

class WordsModel {
  constructor(facts, weights) {
    this.facts = facts;
    const { vocabulary, punctuation, case: letters } = facts.units;
    this.vocabulary = new Vocabulary(vocabulary);
    this.splits = punctuation === "split";
    this.lower = letters === "lower";
    const { cell, layers, context, tensors } = facts.groups[0].members[0];
    this.w = unpack(weights, tensors);
    this.kind = cell;
    this.context = context;
    const names = cell === "mlp" ? [] : [...Array(layers).keys()];
    this.cells = names.map((layer) => new Cell(this.w, `recurrence.cells.${layer}`, cell));
    this.bias = new Float64Array(this.w.output_bias.values);
    for (const id of [PAD, BOS]) this.bias[id] = -Infinity;
    const size = SPECIALS + vocabulary.symbols.length;
    this.spellings = [...Array(size).keys()].map((id) => this.vocabulary.decode([id]));
    this.read = this.spellings.map((word) => normalise(word, vocabulary.form));
    this.known = { ids: [], states: [] };
  }

  words(text) {
    const { form } = this.vocabulary;
    text = normalise(text, form);
    if (this.lower) text = normalise(text.toLowerCase(), form);
    if (!this.splits) return text.split(SPACE_RUN).filter(Boolean);
    const signs = [...text], classes = separateQuotes(signs.map(classOf).join(""));
    return [...classes.matchAll(WORD_RULE)].map(({ 0: found, index }) =>
      signs.slice(index, index + found.length).join(""));
  }

  append(text, word) {
    const words = this.words(text), put = this.splits ? join : (all) => all.join(" ");
    return text.trimEnd() + put([...words, word]).slice(put(words).length);
  }

  *answer(text, { n = 5, complete = true } = {}) {
    let words = this.words(text), prefix = "";
    if (complete && words.length && !IS_SPACE.test([...text].at(-1))) {
      prefix = words.at(-1);
      words = words.slice(0, -1);
    }
    const ids = words.map((word) => this.vocabulary.index.get(word) ?? UNK);
    const unknown = [...new Set(words.filter((_, i) => ids[i] === UNK))];
    const logs = yield* this.logProbabilities(ids);
    const found = this.read.flatMap((word, id) => (word && word.startsWith(prefix) ? [id] : []));
    const most = found.reduce((top, id) => Math.max(top, logs[id]), -Infinity);
    const sum = found.reduce((total, id) => total + Math.exp(logs[id] - most), 0);
    const base = complete && found.length ? most + Math.log(sum) : 0;
    const answers = found
      .sort((a, b) => logs[b] - logs[a] || a - b)
      .slice(0, n)
      .map((id) => ({ text: this.spellings[id], probability: Math.exp(Math.min(logs[id] - base, 0)) }));
    return { answers, unknown, truncated: false, familiarity: null, prefix };
  }

  // the states after each word are kept, so that only new words are read
  *logProbabilities(ids) {
    const line = [this.facts.begin, ...ids], { known } = this;
    let same = 0;
    while (same < line.length && known.ids[same] === line[same]) same++;
    const states = known.states.slice(0, same);
    for (let place = same; place < line.length; place++) {
      states.push(this.step(line[place], states[place - 1]));
      yield;
    }
    this.known = { ids: line, states };
    const mixed = affine(this.w["readout.weight"], this.w["readout.bias"], states.at(-1).hidden);
    return logSoftmax(addProduct(this.w.output ?? this.w.embedding, mixed, this.bias.slice()));
  }

  step(id, before) {
    const vector = new Float64Array(rowOf(this.w.embedding, id));
    if (this.kind === "mlp") {
      const size = vector.length, past = before?.past ?? new Float64Array((this.context - 1) * size);
      const seen = new Float64Array([...past, ...vector]);
      const hidden = affine(this.w["hidden.weight"], this.w["hidden.bias"], seen).map(Math.tanh);
      return { hidden, past: seen.slice(size) };
    }
    const states = [];
    let below = vector;
    for (const [layer, cell] of this.cells.entries()) {
      states.push(cell.step(cell.project(below), before?.states[layer] ?? cell.begin()));
      below = states[layer][0];
    }
    return { hidden: below, states };
  }
}
