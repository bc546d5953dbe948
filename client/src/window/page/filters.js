// Filters as chips; each offers what there is, with how many photos.

import { make, number, typeName } from "./make.js";
import { ask } from "./ask.js";

// The part that folders have in common tells nothing.
function shorten(paths) {
  const parts = paths.map((path) => path.split("/"));
  let common = 0;
  while (parts.length > 1 && parts.every((part) => part.length > common + 1 && part[common] === parts[0][common])) common += 1;
  return (path) => path.split("/").slice(Math.max(common - 1, 0)).join("/") || "/";
}

const KINDS = [
  {
    name: "Year", by: "year",
    chosen: (filter) => (filter.since && /^\d{4}$/.test(filter.since) ? [filter.since] : filter.dated === false ? [""] : []),
    choose: (filter, year) => (year ? { ...filter, since: year, before: String(Number(year) + 1), dated: undefined } : { ...filter, since: undefined, before: undefined, dated: false }),
    clear: (filter) => ({ ...filter, since: undefined, before: undefined, dated: undefined }),
    word: (value) => value || "Without a date",
  },
  { name: "Camera", by: "camera", list: "cameras", word: (value) => value },
  { name: "Lens", by: "lens", list: "lenses", word: (value) => value },
  { name: "Type", by: "type", list: "types", word: typeName },
  { name: "Folder", by: "folder", list: "folders", of: "uri", word: (value) => decodeURIComponent(value.replace(/^file:\/\//, "").replace(/%(?![0-9A-F]{2})/g, "%25")) },
];

function safe(word) {
  return (value) => { try { return word(value); } catch { return value; } };
}

// Returns a filter without what is not set, or none.
export function clean(filter = {}) {
  const entries = Object.entries(filter).filter(([, value]) => value !== undefined && !(Array.isArray(value) && !value.length));
  return Object.fromEntries(entries);
}

// Makes the chips; `change` is called with the new filter.
export function chips(filter, change) {
  const made = KINDS.map((kind) => chip({ ...kind, word: safe(kind.word) }, filter, change));
  const where = { true: "Drive is there", false: "Drive is away" };
  const state = filter.online;
  made.push(menu("Drive", state === undefined ? [] : [where[state]], state === undefined ? null : () => change({ ...filter, online: undefined }),
    async () => [true, false].map((online) => ({ text: where[online], on: state === online, act: () => change({ ...filter, online: state === online ? undefined : online }) }))));
  return make("div", { className: "chips" }, made);
}

function chip(kind, filter, change) {
  const chosen = kind.list ? filter[kind.list] ?? [] : kind.chosen(filter);
  const without = kind.list ? { ...filter, [kind.list]: undefined } : kind.clear(filter);
  const offer = async () => {
    const { counts } = await ask("counts", { by: kind.by, filter: clean(without) });
    const values = counts.map((count) => ({ value: (kind.of ? count[kind.of] : count.value) ?? "", photos: count.photos, path: count.path }));
    const short = kind.of ? shorten(values.map((count) => count.path ?? "")) : undefined;
    const offered = values.filter((count) => count.value || !kind.list);
    return offered.slice(0, 400).map(({ value, photos, path }) => ({
      text: short ? short(path) : kind.word(value),
      photos,
      on: chosen.includes(value),
      act: () => {
        if (!kind.list) return change(chosen.includes(value) ? kind.clear(filter) : kind.choose(filter, value));
        const next = chosen.includes(value) ? chosen.filter((other) => other !== value) : [...chosen, value];
        change({ ...filter, [kind.list]: next });
      },
    }));
  };
  const words = chosen.map((value) => (kind.of ? kind.word(value).split("/").pop() : kind.word(value)));
  return menu(kind.name, words, chosen.length ? () => change(without) : null, offer);
}

function menu(name, words, clear, offer) {
  const box = make("div", { className: "menu" });
  const summary = make("summary", {}, make("span", { text: words.length ? words.join(", ") : name }));
  const chip = make("details", { className: words.length ? "chip on" : "chip" }, summary, box);
  if (words.length) summary.setAttribute("aria-label", `${name}: ${words.join(", ")}`);
  chip.addEventListener("toggle", async () => {
    if (!chip.open) return;
    document.querySelectorAll(".chip[open]").forEach((other) => { if (other !== chip) other.open = false; });
    box.replaceChildren(make("button", { type: "button", disabled: true, text: "…" }));
    let entries;
    try {
      entries = await offer();
    } catch (error) {
      box.replaceChildren(make("p", { className: "small", text: error.message }));
      return;
    }
    const buttons = entries.map(({ text, photos, on, act }) => make("button", { type: "button", ariaPressed: String(Boolean(on)), onclick: act },
      make("span", { text, title: text }), photos !== undefined && make("span", { className: "small number", text: number(photos) })));
    if (clear) buttons.unshift(make("button", { type: "button", text: "All", onclick: clear }));
    box.replaceChildren(...(buttons.length ? buttons : [make("p", { className: "small", text: "Nothing to choose from" })]));
    box.querySelector("button")?.focus();
  });
  return chip;
}

document.addEventListener("click", (event) => {
  document.querySelectorAll(".chip[open]").forEach((chip) => { if (!chip.contains(event.target)) chip.open = false; });
});
document.addEventListener("keydown", (event) => {
  const open = document.querySelector(".chip[open]");
  if (!open) return;
  if (event.key === "Escape") { open.open = false; open.querySelector("summary").focus(); event.stopPropagation(); }
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const buttons = [...open.querySelectorAll(".menu button")];
    const next = buttons[buttons.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) next.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}, true);
