// The server, and small things for all views. Texts of models, files and people reach the page as
// text nodes only: no markup is ever made of them.

export const $ = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const percent = (share) => {
  const value = 100 * share;
  if (value >= 99.95 || value === 0) return `${Math.round(value)} %`;
  return value < 0.1 ? "<0.1 %" : `${value.toFixed(value < 10 ? 1 : 0)} %`;
};
export const number = (value) => Math.round(value).toLocaleString("en");

export function meter(share, kind = "meter") {
  const bar = make("i");
  bar.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("div", { class: kind, "aria-hidden": "true" }, bar);
}

export function setMeter(node, share, text) {
  node.firstElementChild.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  node.setAttribute("aria-valuenow", Math.round(share * 100));
  node.setAttribute("aria-valuetext", text);
}

let saying = 0;
export function say(text) { // for screen readers, when typing has paused
  clearTimeout(saying);
  saying = setTimeout(() => { $("said").textContent = text; }, 700);
}

export function fault(text) {
  $("fault").hidden = !text;
  $("fault").textContent = text || "";
}

export class Refused extends Error {
  constructor(status, reason) { super(reason); this.status = status; }
}

const askToken = () => new Promise((resolve) => {
  const dialog = $("token-dialog");
  dialog.addEventListener("close", () => {
    sessionStorage.setItem("token", $("token").value.trim());
    resolve();
  }, { once: true });
  if (!dialog.open) dialog.showModal();
});

export async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem("token");
    const headers = { ...(options.headers || {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (reason) {
      if (reason.name === "AbortError") throw reason;
      throw new Refused(0, "The server does not answer: is it still running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) { await askToken(); continue; }
    let detail = answer.statusText;
    try {
      const found = (await answer.json()).detail;
      detail = Array.isArray(found) ? found.map((one) => one.msg).join("; ") : found || detail;
    } catch { /* no JSON: the status says enough */ }
    throw new Refused(answer.status, detail);
  }
}

export const get = async (path) => (await request(path)).json();
export const post = (path, body, signal) => request(path, {
  method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, signal,
});

// The newest of many calls: an older one is given up, and its answer never shown.
export function latest(task, delay) {
  let timer = 0, control = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      control?.abort();
      const own = control = new AbortController();
      try {
        await task(own.signal);
      } catch (reason) {
        if (reason.name === "AbortError") return;
        if (own !== control) return;
        fault(reason.message);
      }
    }, delay);
  };
}
