import { $, fault, make, number, post, request, say } from "./api.js";

let limits, upload = null, stopping = null;

export function startFile(models, bounds) {
  limits = bounds;
  const rewriting = models.findIndex((one) => one.task === "pairs");
  if (rewriting > 0) $("file-model").selectedIndex = rewriting;
  $("drop-hint").append(`, up to ${number(limits.upload / 2 ** 20)} MiB`);
  $("file").addEventListener("change", () => take($("file").files[0]));
  const drop = $("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
  $("convert").addEventListener("click", convert);
  $("stop").addEventListener("click", () => stopping?.abort());
  $("forget").addEventListener("click", forget);
  $("file-unsure").addEventListener("change", () => { $("file-threshold").disabled = !$("file-unsure").checked; });
  addEventListener("pagehide", () => { if (upload) request(`v1/files/${upload.id}`, { method: "DELETE", keepalive: true }).catch(() => {}); });
}

async function take(file) {
  if (!file) return;
  fault("");
  await forget();
  if (file.size > limits.upload) return fault(`${file.name} has ${number(file.size / 2 ** 20)} MiB, at most ${number(limits.upload / 2 ** 20)} are taken.`);
  $("drop-hint").textContent = `Reading ${file.name} …`;
  try {
    upload = await (await request(`v1/files?name=${encodeURIComponent(file.name)}`, { method: "PUT", body: file })).json();
    preview();
  } catch (reason) {
    fault(reason.message);
  }
  $("drop-hint").textContent = "CSV, TSV, Excel, JSON Lines, Parquet, text and others";
  $("file").value = "";
}

function preview() {
  $("drop").hidden = true;
  $("preview").hidden = false;
  $("made").hidden = $("progress").hidden = true;
  $("file-name").textContent = upload.name;
  const what = upload.has_columns ? "Choose the column to rewrite." : "Each line is rewritten.";
  $("file-facts").textContent = `${upload.format}, ${number(upload.bytes / 1024) || 1} KiB. ${what}`;
  $("scores-label").hidden = !upload.has_columns;
  const width = upload.width, names = upload.columns;
  const label = (place) => names[place] ?? `Column ${place + 1}`;
  let chosen = names.findIndex((name) => name.toLowerCase() === "source");
  if (chosen < 0) chosen = 0;
  const head = make("tr", {}, ...Array.from({ length: width }, (_, place) => {
    if (!upload.has_columns) return make("th", { scope: "col" }, "Text");
    const radio = make("input", { type: "radio", name: "column", value: place, onchange: () => choose(place) });
    radio.checked = place === chosen;
    return make("th", { scope: "col" }, make("label", {}, radio, make("bdi", {}, label(place))));
  }));
  $("rows").tHead.replaceChildren(head);
  $("rows").tBodies[0].replaceChildren(...upload.rows.map((row) =>
    make("tr", {}, ...Array.from({ length: width }, (_, place) => make("td", { dir: "auto" }, row[place] ?? "")))));
  if (upload.has_columns) choose(chosen);
  say(`${upload.name}: ${width} columns`);
  $("rows").querySelector("input:checked")?.focus();
}

function choose(place) {
  upload.column = upload.columns[place] ?? place + 1;
  for (const row of $("rows").rows) [...row.cells].forEach((cell, own) => cell.classList.toggle("chosen", own === place));
}

async function convert() {
  fault("");
  const asked = { model: $("file-model").value, n: Number($("file-n").value) };
  if (upload.has_columns) Object.assign(asked, { column: upload.column, scores: $("file-scores").checked });
  if ($("file-unsure").checked) asked.threshold = Number($("file-threshold").value) / 100;
  $("made").hidden = true;
  $("progress").hidden = $("stop").hidden = false;
  $("convert").disabled = true;
  $("bar").removeAttribute("value");
  $("pace").textContent = "Starting …";
  stopping = new AbortController();
  try {
    const answer = await post(`v1/files/${upload.id}/convert`, asked, stopping.signal);
    for await (const message of lines(answer.body)) {
      if (message.fault) throw new Error(message.fault);
      if (message.done) finished(message.done);
      else if (message.share) pace(message);
    }
  } catch (reason) {
    fault(reason.name === "AbortError" ? "Stopped. Nothing was kept." : reason.message);
  }
  $("convert").disabled = false;
  $("progress").hidden = $("stop").hidden = true;
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

function pace(message) {
  $("bar").value = message.share;
  const left = Math.round(message.seconds_left ?? 0);
  $("pace").textContent = `${number(message.rows)} rows · ${number(message.rows_per_second)} rows/s · ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
}

function finished(done) {
  const parts = [`${number(done.rows)} rows in ${done.seconds.toFixed(1)} s (${number(done.rows / Math.max(done.seconds, 0.001))} rows/s)`];
  if (done.unsure) parts.push(`${number(done.unsure)} withheld, to be reviewed`);
  if (done.rejected) parts.push(`${number(done.rejected)} could not be read`);
  $("made-sum").textContent = `${parts.join(", ")}.`;
  const labels = { result: "Download", review: "List to review", rejects: "Rows that could not be read" };
  $("downloads").replaceChildren(...Object.entries(done.files).map(([part, name]) =>
    make("button", { type: "button", class: part === "result" ? "main" : "", onclick: () => download(part, name) }, `${labels[part]}: ${name}`)));
  $("notes").replaceChildren(...done.notes.map((note) => make("li", {}, note)));
  $("made").hidden = false;
  $("downloads").querySelector("button")?.focus();
  say($("made-sum").textContent);
}

async function download(part, name) {
  try {
    const answer = await request(`v1/files/${upload.id}/${part}`);
    const link = make("a", { download: name });
    link.href = URL.createObjectURL(await answer.blob());
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (reason) {
    fault(reason.message);
  }
}

async function forget() {
  stopping?.abort();
  if (upload) await request(`v1/files/${upload.id}`, { method: "DELETE" }).catch(() => {});
  upload = null;
  $("preview").hidden = true;
  $("drop").hidden = false;
}
