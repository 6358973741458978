import { $, fault, get, make } from "./api.js";
import { startText } from "./text.js";
import { startCompare } from "./compare.js";
import { startFile } from "./file.js";
import { startCard } from "./card.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function show(tab, focus = true) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  fault("");
  if (focus) tab.focus();
  history.replaceState(null, "", `#${tab.id.slice(4)}`);
  tab.dispatchEvent(new Event("shown"));
}

tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const goal = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : step && (place + step + tabs.length) % tabs.length;
    if (goal === undefined) return;
    event.preventDefault();
    show(tabs[goal]);
  });
});

function fill(select, models, chosen = 0) {
  select.replaceChildren(...models.map((one) => make("option", { value: one.name },
    `${one.name}${one.task === "next-word" ? " (next words)" : ""}`)));
  select.selectedIndex = Math.min(chosen, models.length - 1);
}

try {
  const { models, limits } = await get("v1/models");
  for (const id of ["text-model", "file-model", "card-model", "one-model"]) fill($(id), models);
  fill($("two-model"), models, 1);
  startText(models, limits);
  startCompare(models, limits);
  startFile(models, limits);
  startCard();
  const asked = $(`tab-${location.hash.slice(1)}`);
  if (asked) show(asked, false);
} catch (reason) {
  fault(reason.message);
}
