"use strict";
// The model: texts -> answers with probabilities. Searches are generators that yield after each
// step, so that the page stays alive. The mathematics is that of charseq's decoding, inference and
// confidence, where it is derived.

const PAD = 0, BOS = 1, EOS = 2, UNK = 3, SPECIALS = 4;
const CIRCLE = "\u25cc";
const LENGTH_MARGIN = 1.25, MAX_ATTENDED = 2 ** 28, MAX_FEATURE_DEPTH = 16;

// --- weights

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function unpack(bytes, tensors) {
  const made = {};
  for (const [name, { rows, columns, kind, at }] of Object.entries(tensors)) {
    const size = rows * columns;
    const view = new DataView(bytes.buffer, bytes.byteOffset + at);
    const values = new Float32Array(size);
    if (kind === "int8") {
      for (let row = 0; row < rows; row++) {
        const scale = view.getFloat32(4 * row, true);
        for (let i = row * columns; i < (row + 1) * columns; i++) {
          values[i] = scale * view.getInt8(4 * rows + i);
        }
      }
    } else if (kind === "fp16") {
      for (let i = 0; i < size; i++) values[i] = half(view.getUint16(2 * i, true));
    } else {
      for (let i = 0; i < size; i++) values[i] = view.getFloat32(4 * i, true);
    }
    made[name] = { values, rows, columns };
  }
  return made;
}

// W x, added to the vector `out`
function addProduct(matrix, x, out) {
  const { values, rows, columns } = matrix, whole = columns - (columns % 4);
  for (let row = 0, i = 0; row < rows; row++) {
    let a = 0, b = 0, c = 0, d = 0, column = 0; // four sums, which the processor adds side by side
    for (; column < whole; column += 4, i += 4) {
      a += values[i] * x[column];
      b += values[i + 1] * x[column + 1];
      c += values[i + 2] * x[column + 2];
      d += values[i + 3] * x[column + 3];
    }
    for (; column < columns; column++, i++) a += values[i] * x[column];
    out[row] += a + b + (c + d);
  }
  return out;
}

const product = (matrix, x) => addProduct(matrix, x, new Float64Array(matrix.rows));
const affine = (matrix, bias, x) => addProduct(matrix, x, new Float64Array(bias.values));
const rowOf = (matrix, row) =>
  matrix.values.subarray(row * matrix.columns, (row + 1) * matrix.columns);
const sigmoid = (x) => 0.5 * Math.tanh(0.5 * x) + 0.5;

// --- recurrent cells: (U h, W x + b, the states) -> the states after

const STEPS = {
  tanh: (p, x) => [x.map((v, i) => Math.tanh(p[i] + v))],
  residual: (p, x, [h]) => [h.map((v, i) => v + Math.tanh(p[i] + x[i]))],
  gru(p, x, [h]) {
    const n = h.length, after = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const reset = sigmoid(p[i] + x[i]), keep = sigmoid(p[n + i] + x[n + i]);
      const fresh = Math.tanh(reset * p[2 * n + i] + x[2 * n + i]);
      after[i] = fresh + keep * (h[i] - fresh);
    }
    return [after];
  },
  lstm(p, x, [h, c]) {
    const n = h.length, hidden = new Float64Array(n), cell = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const gate = (k) => p[k * n + i] + x[k * n + i];
      cell[i] = sigmoid(gate(1)) * c[i] + sigmoid(gate(0)) * Math.tanh(gate(2));
      hidden[i] = sigmoid(gate(3)) * Math.tanh(cell[i]);
    }
    return [hidden, cell];
  },
};

class Cell {
  constructor(weights, name, kind) {
    this.kind = kind;
    this.input = weights[`${name}.input`];
    this.bias = weights[`${name}.bias`];
    this.recurrent = weights[`${name}.recurrent`];
    this.size = this.recurrent.columns;
  }
  begin() {
    const states = [new Float64Array(this.size)];
    return this.kind === "lstm" ? [...states, new Float64Array(this.size)] : states;
  }
  project(x) { return affine(this.input, this.bias, x); }
  step(projected, states) {
    return STEPS[this.kind](product(this.recurrent, states[0]), projected, states);
  }
}

function logSoftmax(logits) {
  let most = -Infinity, sum = 0;
  for (const value of logits) if (value > most) most = value;
  for (const value of logits) sum += Math.exp(value - most);
  const log = most + Math.log(sum);
  for (let i = 0; i < logits.length; i++) logits[i] -= log;
  return logits;
}

// --- the encoder-decoder

class Network {
  constructor(weights, { cell, layers, writes }) {
    this.w = weights;
    this.writes = writes;
    const make = (name) => new Cell(weights, name, cell);
    const numbers = [...Array(layers).keys()];
    this.encoder = numbers.map((l) => [0, 1].map((d) => make(`encoder.cells.${2 * l + d}`)));
    this.decoder = numbers.map((l) => make(`decoder.cells.${l}`));
    this.output = weights.output ?? weights.target_embedding;
    const embedding = weights.target_embedding;
    this.scale = Math.sqrt(embedding.columns);
    this.bias = new Float64Array(weights.output_bias.values);
    for (const id of [PAD, BOS, UNK]) this.bias[id] = -Infinity;
    if (writes !== null) this.bias.fill(-Infinity, writes, writes + SPECIALS);
    this.read = new Map(); // W x + b of the symbols that the decoder has read
  }

  *start(ids) {
    const hard = this.writes !== null, end = ids.indexOf(EOS);
    let vectors = ids.map((id) => new Float64Array(rowOf(this.w.source_embedding, id)));
    if (hard) {
      const behind = vectors.slice(end + 1), root = Math.sqrt(Math.max(behind.length, 1));
      vectors = vectors.slice(0, end + 1);
      for (const one of behind) {
        for (const vector of vectors) one.forEach((v, i) => { vector[i] += v / root; });
      }
    }
    const state = [];
    for (const pair of this.encoder) {
      const size = pair[0].size;
      const outputs = vectors.map(() => new Float64Array(2 * size));
      const finals = [];
      for (const [direction, cell] of pair.entries()) {
        let states = cell.begin();
        for (let step = 0; step < vectors.length; step++) {
          const at = direction ? vectors.length - 1 - step : step;
          states = cell.step(cell.project(vectors[at]), states);
          outputs[at].set(states[0], direction * size);
          if (step % 8 === 7) yield;
        }
        finals.push(states);
      }
      state.push(finals[0].map((_, k) => {
        const both = new Float64Array(2 * size);
        finals.forEach((states, d) => both.set(states[k], d * size));
        return affine(this.w["bridge.weight"], this.w["bridge.bias"], both);
      }));
      vectors = outputs;
    }
    const every = (name) => vectors.map((vector) => product(this.w[name], vector));
    const memory = { ids, end };
    if (this.w["attention.key.weight"]) {
      memory.keys = every("attention.key.weight");
      memory.values = every("attention.value.weight");
    }
    if (hard) {
      memory.contexts = every("pointer.input.weight");
      memory.readouts = every("pointer.output.weight");
    }
    return { state, position: 0, memory };
  }

  step(symbol, { state, position, memory }) {
    const hard = this.writes !== null;
    if (hard && symbol >= this.writes) position = Math.min(position + 1, memory.end);
    let below = this.project(symbol);
    if (hard) below = addProduct(this.decoder[0].input, memory.contexts[position], below.slice());
    const after = [];
    for (const [layer, cell] of this.decoder.entries()) {
      if (layer) below = cell.project(after[layer - 1][0]);
      after.push(cell.step(below, state[layer]));
    }
    const hidden = after[after.length - 1][0];
    const mixed = affine(this.w["readout.weight"], this.w["readout.bias"], hidden);
    const more = hard ? memory.readouts[position] : memory.keys ? attend(hidden, memory) : null;
    for (let i = 0; i < mixed.length; i++) mixed[i] = Math.tanh(mixed[i] + (more ? more[i] : 0));
    const logits = addProduct(this.output, mixed, this.bias.slice());
    if (hard) {
      if (this.w.prior) rowOf(this.w.prior, memory.ids[position]).forEach((v, i) => { logits[i] += v; });
      if (position === memory.end) logits.fill(-Infinity, this.writes);
      else logits[EOS] = -Infinity;
    }
    return [logSoftmax(logits), { state: after, position, memory }];
  }

  project(symbol) {
    let found = this.read.get(symbol);
    if (!found) {
      const vector = new Float64Array(rowOf(this.w.target_embedding, symbol));
      vector.forEach((v, i) => { vector[i] = v * this.scale; });
      found = this.decoder[0].project(vector);
      this.read.set(symbol, found);
    }
    return found;
  }
}

function attend(query, { keys, values }) {
  const root = Math.sqrt(query.length);
  const scores = keys.map((key) => {
    let sum = 0;
    for (let i = 0; i < key.length; i++) sum += key[i] * query[i];
    return sum / root;
  });
  const most = Math.max(...scores), shares = scores.map((score) => Math.exp(score - most));
  const total = shares.reduce((sum, share) => sum + share, 0);
  const context = new Float64Array(values[0].length);
  values.forEach((value, at) => {
    const share = shares[at] / total;
    for (let i = 0; i < context.length; i++) context[i] += share * value[i];
  });
  return context;
}

// Members of an ensemble as one network: the mean of their probabilities
class Mean {
  constructor(members) { this.members = members; }
  *start(ids) {
    const states = [];
    for (const member of this.members) states.push(yield* member.start(ids));
    return states;
  }
  step(symbol, states) {
    const found = this.members.map((member, m) => member.step(symbol, states[m]));
    const after = found.map(([, state]) => state);
    if (found.length === 1) return [found[0][0], after];
    const logs = found[0][0].map((_, v) => {
      const each = found.map(([one]) => one[v]), most = Math.max(...each);
      if (most === -Infinity) return most;
      const sum = each.reduce((total, log) => total + Math.exp(log - most), 0);
      return Math.min(most + Math.log(sum) - Math.log(each.length), 0);
    });
    return [logs, after];
  }
}

// --- beam search

const penalty = (length, strength) => ((5 + length) / 6) ** strength;

function addLogs(a, b) {
  const high = Math.max(a, b), low = Math.min(a, b);
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}

// the best possible continuations of all rows, best first; of equal ones the earlier first
function expand(rows, count) {
  const best = [];
  rows.forEach(({ score, logs }, parent) => {
    for (let symbol = 0; symbol < logs.length; symbol++) {
      const total = score + logs[symbol];
      if (total === -Infinity) continue;
      if (best.length === count && total <= best[count - 1].total) continue;
      let at = best.length;
      while (at && best[at - 1].total < total) at--;
      best.splice(at, 0, { parent, symbol, total });
      if (best.length > count) best.pop();
    }
  });
  return best;
}

function* beam(network, start, { limit, width, strength, silent, empty }) {
  const finished = [];
  const normalised = (one) => one.score / penalty(one.ids.length + 1, strength);
  const threshold = () =>
    finished.length === width ? normalised(finished[width - 1]) : -Infinity;
  const largest = penalty(limit + 1, strength);
  let rows = [{ ids: [], symbol: BOS, score: 0, state: start, blank: !empty }];
  for (;;) {
    for (const row of rows) {
      [row.logs, row.after] = network.step(row.symbol, row.state);
      if (row.blank) row.logs[EOS] = -Infinity;
    }
    yield;
    const found = expand(rows, 2 * width);
    for (const { parent, symbol, total } of found.slice(0, width)) {
      const one = { ids: rows[parent].ids, score: total, truncated: false, end: 0 };
      if (symbol !== EOS || normalised(one) <= threshold()) continue;
      finished.push(one);
      finished.sort((a, b) => normalised(b) - normalised(a));
      finished.length = Math.min(finished.length, width);
    }
    const going = found.filter(({ symbol }) => symbol !== EOS).slice(0, width);
    if (!going.length || going[0].total / largest <= threshold()) break;
    const { ids, score, logs } = rows[going[0].parent];
    if (ids.length >= limit) {
      if (!finished.length || going[0].total / largest > normalised(finished[0])) {
        finished.unshift({ ids, score, truncated: true, end: logs[EOS] });
        finished.length = Math.min(finished.length, width);
      }
      break;
    }
    rows = going.map(({ parent, symbol, total }) => ({
      ids: [...rows[parent].ids, symbol],
      symbol,
      score: total,
      state: rows[parent].after,
      blank: rows[parent].blank && symbol === silent,
    }));
  }
  return finished;
}

// --- symbols

const normalise = (text, form) => (form === "none" ? text : text.normalize(form));
const trimmed = (text) => text.replace(/^ +| +$/g, "");

class Vocabulary {
  constructor(fields) {
    Object.assign(this, fields);
    this.spaced = this.kind === "spaced" || this.kind === "decomposed";
    this.index = new Map(this.symbols.map((symbol, i) => [symbol, SPECIALS + i]));
    const first = SPECIALS + this.symbols.length;
    this.featureIndex = new Map(this.features.map((feature, i) => [feature, first + i]));
    this.marks = new Set(this.symbols.filter((one) => one.length === 2 && one.includes(CIRCLE)));
  }
  split(text) {
    text = normalise(text, this.form);
    if (this.kind === "characters") return [...text];
    if (this.kind === "graphemes") {
      const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
      return [...segmenter.segment(text)].map(({ segment }) => segment);
    }
    const pieces = text.split(" ").filter(Boolean);
    return this.kind === "spaced" ? pieces : pieces.flatMap((piece) => this.splitMarks(piece));
  }
  splitMarks(phone) {
    const signs = [...phone];
    let first = 0, last = signs.length;
    while (last > 1 && this.marks.has(CIRCLE + signs[last - 1])) last--;
    while (first < last - 1 && this.marks.has(signs[first] + CIRCLE)) first++;
    return [
      ...signs.slice(0, first).map((mark) => mark + CIRCLE),
      signs.slice(first, last).join(""),
      ...signs.slice(last).map((mark) => CIRCLE + mark),
    ];
  }
  encode(text, features, { ended = false, backward = false } = {}) {
    const ids = this.split(text).map((symbol) => this.index.get(symbol) ?? UNK);
    if (backward) ids.reverse();
    if (ended) ids.push(EOS);
    if (features) {
      ids.push(...this.splitFeatures(features).map((one) => this.featureIndex.get(one) ?? UNK));
    }
    return ids;
  }
  unknown(text, features) {
    const found = this.split(text).filter((symbol) => !this.index.has(symbol));
    const parts = features ? this.splitFeatures(features) : [];
    return [...new Set([...found, ...parts.filter((one) => !this.featureIndex.has(one))])];
  }
  decode(ids) {
    const parts = ids.map((id) => this.symbols[id - SPECIALS] ?? "").filter(Boolean);
    let text = parts.join(this.spaced ? " " : "");
    if (this.kind === "decomposed") {
      text = trimmed(` ${text} `.replaceAll(` ${CIRCLE}`, "").replaceAll(`${CIRCLE} `, ""));
    }
    return normalise(text, this.written);
  }
  key(text, features) {
    const parts = features ? this.splitFeatures(features) : [];
    return `${normalise(text, this.form)}\t${parts.join(this.feature_separator)}`;
  }
  splitFeatures(features) {
    const text = features.normalize("NFC"), separator = this.feature_separator;
    const plain = text.split(separator).map(trimmed).filter(Boolean);
    const nested = text.includes("(") ? splitNested(text, separator) : null;
    return nested?.length ? nested : plain;
  }
}

// V;NOM(3,SG) -> V, NOM(3), NOM(SG); null where brackets are unpaired or empty
function splitNested(text, separator) {
  const escaped = separator.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const found = [], path = [];
  let name = "", before = "";
  for (const cut of text.split(new RegExp(`([(),]|${escaped})`))) {
    if (cut === "(") {
      if (before === ")" || path.length === MAX_FEATURE_DEPTH) return null;
      path.push(name);
      [name, before] = ["", cut];
    } else if (cut === ")" || cut === separator || (cut === "," && path.length)) {
      if (cut === ")" && (!path.length || (before === "(" && !name))) return null;
      if (name) found.push([...path, name].join("(") + ")".repeat(path.length));
      if (cut === ")") path.pop();
      [name, before] = ["", cut];
    } else if (trimmed(cut)) {
      if (before === ")") return null;
      name += trimmed(cut);
    }
  }
  if (path.length) return null;
  return name ? [...found, name] : found;
}

// --- probabilities

function calibrate({ temperature, rest }, scores) {
  const left = Math.max(1 - scores.reduce((sum, score) => sum + Math.exp(score), 0), 1e-6);
  const powers = scores.map((score) => score / temperature);
  const other = Math.log(left) / temperature + rest, most = Math.max(...powers, other);
  const shares = powers.map((power) => Math.exp(power - most));
  const total = shares.reduce((sum, share) => sum + share, Math.exp(other - most));
  return shares.map((share) => share / total);
}

const chance = (logit) => 1 / (1 + Math.exp(-Math.max(Math.min(logit, 500), -500)));
const weighed = (features, weights, last) =>
  features.reduce((sum, feature, i) => sum + feature * weights[i], last);
const MIXERS = [0x9e3779b97f4a7c15n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n];
const SPREAD = 0xd6e8feb86659fd93n, WORD = (1n << 64n) - 1n;

class Confidence {
  constructor({ weights, familiarity }) {
    Object.assign(this, { weights, known: familiarity });
    const keys = new DataView(bytesOf(familiarity.keys).buffer);
    this.counts = new Map();
    bytesOf(familiarity.counts).forEach((code, i) => {
      this.counts.set(keys.getUint32(4 * i, true), 2 ** (code / 10) - 1);
    });
  }
  measures(source) {
    const known = this.known, size = Math.log(Math.max([...source].length, 1));
    const [mean, strangest] = this.surprise(source);
    const features = [
      mean - known.surprise, strangest - known.strangest,
      size - Math.log(known.longest), Math.log(known.shortest) - size,
    ].map((value) => Math.min(Math.max(value, 0), 20));
    return {
      familiarity: chance(weighed(features, known.weights, known.weights.at(-1))),
      penalty: weighed(features, this.weights.slice(1), 0),
    };
  }
  probabilities(calibration, penalty, scores) {
    const shares = calibrate(calibration, scores);
    const bounded = Math.min(Math.max(shares[0], 1e-12), 1 - 1e-12);
    const logit = Math.log(bounded / (1 - bounded));
    const first = chance(this.weights[0] * logit + penalty + this.weights.at(-1));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const ratio = Math.min(first / Math.max(shares[0], 1e-12), 1 / total);
    return shares.map((share) => share * ratio);
  }
  // mean surprise of the characters, and that of the strangest three in a row, in nats
  surprise(source) {
    const codes = [2, 2, ...[...source].map((sign) => sign.codePointAt(0)), 3].map(BigInt);
    const nats = [0, 0];
    let single = 0, double = 0, strangest = 0;
    for (let place = 0; place < codes.length; place++) {
      const counts = [];
      let mixed = 0n;
      for (let order = 0; order < 3; order++) {
        mixed = (mixed + ((codes[place - order] ?? 0n) + 1n) * MIXERS[order]) & WORD;
        const hash = Number((((mixed ^ (mixed >> 29n)) * SPREAD) & WORD) >> 42n);
        counts.push(this.counts.get(hash) ?? 0);
      }
      if (place >= 2) {
        let share = (counts[0] + 1e-5) / (this.known.symbols + 1);
        share = Math.min((counts[1] + 2 * share) / (single + 2), 1);
        share = Math.min((counts[2] + 2 * share) / (double + 2), 1);
        nats.push(-Math.log(share));
        strangest = Math.max(strangest, (nats[place - 2] + nats[place - 1] + nats[place]) / 3);
      }
      [single, double] = counts;
    }
    return [nats.reduce((sum, each) => sum + each, 0) / (codes.length - 2), strangest];
  }
}

function remembered({ entries }) {
  const lines = entries.split("\n").map((line) => line.split("\t"));
  return new Map(lines.map(([source, features, ...cells]) => {
    const targets = [];
    for (let i = 0; i < cells.length; i += 2) targets.push([cells[i], Number(cells[i + 1])]);
    return [`${source}\t${features}`, new Map(targets.sort((a, b) => b[1] - a[1]))];
  }));
}

function merged(texts) {
  const found = new Map();
  for (const one of texts) {
    const before = found.get(one.text);
    const both = before && before.beginning !== null && one.beginning !== null;
    found.set(one.text, before === undefined ? one : {
      ...before,
      score: addLogs(before.score, one.score),
      beginning: both ? addLogs(before.beginning, one.beginning) : null,
    });
  }
  return [...found.values()];
}

// --- a model of pairs

class PairsModel {
  constructor(facts, weights) {
    this.facts = facts;
    this.source = new Vocabulary(facts.source);
    this.target = new Vocabulary(facts.target);
    this.hasFeatures = facts.source.features.length > 0;
    this.groups = facts.groups.map(({ members, backward, weight }) => ({
      network: new Mean(members.map(({ cell, layers, tensors }) =>
        new Network(unpack(weights, tensors), { cell, layers, writes: facts.writes }))),
      backward,
      weight,
    }));
    this.confidence = facts.confidence && facts.calibration && new Confidence(facts.confidence);
    this.memory = facts.memory && remembered(facts.memory);
    this.rescoring = facts.ngrams && new Rescoring(facts.ngrams, facts.writes);
  }

  *answer(text, { features = "", n = 5 } = {}) {
    const texts = [];
    for (const group of this.groups) {
      const share = Math.log(group.weight);
      for (const one of yield* this.search(group, text, features, Math.max(this.facts.beam, n))) {
        const beginning = one.beginning === null ? null : one.beginning + share;
        texts.push({ ...one, score: one.score + share, beginning });
      }
    }
    const { familiarity = null, penalty: less = 0 } = this.confidence?.measures(text) ?? {};
    let [answers, truncated] = this.rank(merged(texts), this.encode(text, features).length, less);
    let unknown = this.source.unknown(text, features);
    const counts = this.memory?.get(this.source.key(text, features));
    if (counts) {
      answers = this.recalled(counts, truncated ? answers.slice(1) : answers);
      truncated = false;
      if (counts.has(answers[0].text)) unknown = [];
    }
    return { answers: answers.slice(0, n), unknown, truncated, familiarity };
  }

  encode(text, features, backward = false) {
    const ids = this.source.encode(text, features, { ended: this.facts.writes !== null, backward });
    return ids.length === 1 && ids[0] === EOS ? [] : ids;
  }

  *search({ network, backward }, text, features, width) {
    const ids = this.encode(text, features, backward);
    if (!ids.length) return [{ text: "", score: 0, merit: 0, beginning: null }];
    const { writes, length_penalty: strength, empty } = this.facts;
    const how = { limit: this.limit(ids), width, strength, empty, silent: writes && 2 * writes };
    let found = yield* beam(network, yield* network.start(ids), how);
    if (this.rescoring) found = this.rescoring.weighed(ids, found, backward);
    const cut = found[0]?.truncated ? found[0].ids.join() : null;
    return merged(found.filter((one) => one.truncated || one.ids.join() !== cut).map((one) => {
      const written = writes === null ? one.ids.slice()
        : one.ids.filter((id) => id !== 2 * writes).map((id) => id % writes);
      if (backward) written.reverse();
      return {
        text: this.target.decode(written),
        score: one.score + one.end,
        divisor: penalty(one.ids.length + 1, strength),
        beginning: one.truncated ? one.score : null,
      };
    }));
  }

  limit(ids) {
    const table = this.facts.limits, size = ids.includes(EOS) ? ids.indexOf(EOS) : ids.length;
    const last = table.length - 1;
    const seen = table[Math.min(size, last)] || (table.find(Boolean) ?? 0);
    const beyond = Math.max(1, size / Math.max(last, 1));
    const limit = Math.ceil(seen * beyond * LENGTH_MARGIN) + 4;
    if (this.facts.writes !== null) return Math.max(limit, Math.ceil(LENGTH_MARGIN * size));
    return Math.min(limit, Math.floor(MAX_ATTENDED / Math.max(size, 1)));
  }

  // all answers, best first, and whether the first is truncated: such a one is first or none
  rank(texts, searched, less) {
    const merit = (one) => (one.beginning ?? one.score) / (one.divisor ?? 1);
    const ranked = texts.slice().sort((a, b) => merit(b) - merit(a));
    const beyond = texts.filter((one) => one.beginning !== null).map(({ score, beginning }) =>
      score >= beginning ? -Infinity : beginning + Math.log1p(-Math.exp(score - beginning)));
    const kept = ranked.filter((one, place) => one.beginning === null || !place);
    if (!kept.length) return [[], false];
    const scores = kept.map((one) => one.score), all = [...scores, ...beyond];
    const { calibration } = this.facts;
    let shares = scores.map(Math.exp);
    if (searched && this.confidence) shares = this.confidence.probabilities(calibration, less, all);
    else if (searched && calibration) shares = calibrate(calibration, all);
    const answers = kept.map(({ text }, i) => ({ text, probability: shares[i] }));
    return [answers, kept[0].beginning !== null];
  }

  recalled(counts, answers) {
    const { strength } = this.facts.memory;
    const model = new Map(answers.map(({ text, probability }) => [text, probability]));
    const total = [...counts.values()].reduce((sum, count) => sum + count, strength);
    return [...new Set([...counts.keys(), ...model.keys()])]
      .map((text) => ({
        text,
        probability: ((counts.get(text) ?? 0) + strength * (model.get(text) ?? 0)) / total,
      }))
      .sort((a, b) => b.probability - a.probability);
  }
}
