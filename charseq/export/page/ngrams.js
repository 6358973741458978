"use strict";
// Joint n-grams of source symbols and edit actions, by which the outputs of hard attention are
// weighed anew. The mathematics is that of charseq's confidence.joint_ngrams and
// confidence.rescoring, where it is derived.

const STEPS_PER_NAT = 16, UNSEEN_SHARE = 0.1;

// a hash of 32 bits with one more value; JavaScript's numbers have no exact product of two such
function mixed(hash, value) {
  hash = Math.imul(hash ^ value, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
  return (hash ^ (hash >>> 13)) >>> 0;
}

// the place of a key among keys that ascend, or -1
function placeOf(keys, key) {
  let low = 0, high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return keys[low] === key ? low : -1;
}

function logSum(logs) {
  const most = Math.max(...logs);
  return most + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - most), 0));
}

class JointNgrams {
  constructor({ keys, chances, backoffs }, writes) {
    this.writes = writes;
    this.orders = keys.map((text, order) => {
      const view = new DataView(bytesOf(text).buffer), hashes = new Uint32Array(view.byteLength / 4);
      for (let i = 0; i < hashes.length; i++) hashes[i] = view.getUint32(4 * i, true);
      return { keys: hashes, chances: bytesOf(chances[order]), backoffs: bytesOf(backoffs[order]) };
    });
    const known = Math.max(this.orders[0].keys.length, 1);
    this.unseen = Math.min(255, Math.round(STEPS_PER_NAT * Math.log(known / UNSEEN_SHARE)));
  }

  // log P(x, y) of a source, as the network reads it, and the actions of an output
  score(source, actions) {
    const units = this.units(source, actions), { length } = units;
    const hashes = new Uint32Array(length), total = new Int32Array(length).fill(this.unseen);
    let backoff = new Int32Array(length);
    for (const [index, { keys, chances, backoffs }] of this.orders.entries()) {
      if (!keys.length) break;
      const after = new Int32Array(length), more = index && index + 1;
      for (let end = index; end < length; end++) {
        hashes[end] = mixed(hashes[end] + more, units[end - index]);
        const at = placeOf(keys, hashes[end]);
        if (at >= 0) {
          total[end] = chances[at];
          after[end] = backoffs[at];
        } else if (end) total[end] += backoff[end - 1];
      }
      backoff = after;
    }
    return total.subarray(1).reduce((sum, steps) => sum + steps, 0) / -STEPS_PER_NAT;
  }

  // the sign of the beginning, and each action with the source symbol that it is taken at
  units(source, actions) {
    const units = [0], symbols = [...source, EOS];
    let position = 0;
    for (const action of [...actions, EOS]) {
      units.push(symbols[position] * (2 * this.writes + 1) + action + 1);
      if (action >= this.writes) position++;
    }
    return Uint32Array.from(units);
  }
}

class Rescoring {
  constructor({ weight, forward, backward }, writes) {
    this.weight = weight;
    this.ngrams = [forward, backward].map((tables) => tables && new JointNgrams(tables, writes));
  }

  // The outputs of a source, best first, together as likely as before. One that the limit has cut
  // is the first, and stays as it is.
  weighed(source, outputs, backward) {
    const ended = outputs.filter((one) => !one.truncated);
    if (ended.length < 2) return outputs;
    const ngrams = this.ngrams[Number(backward)];
    const powers = ended.map((one) => one.score + this.weight * ngrams.score(source, one.ids));
    const level = logSum(ended.map((one) => one.score)) - logSum(powers);
    const shared = ended.map((one, i) => ({ ...one, score: powers[i] + level }));
    return [...outputs.filter((one) => one.truncated), ...shared.sort((a, b) => b.score - a.score)];
  }
}
