// The page: which view is shown, keys, pictures that are dropped, pasted or chosen, and whether the daemon is well.

import { make, say, hint } from "./make.js";
import { ask, tell } from "./ask.js";
import { move } from "./tiles.js";
import * as photos from "./photos.js";
import * as search from "./search.js";
import * as importing from "./import.js";
import * as duplicates from "./duplicates.js";
import * as state from "./state.js";
import * as viewer from "./viewer.js";

const VIEWS = { photos, search, duplicates, import: importing, state };
const TITLES = { photos: "Photos", search: "Search", duplicates: "Duplicates", import: "Import check", state: "Status" };
const main = document.getElementById("main");
const words = document.getElementById("words");
const file = document.getElementById("file");
const keys = document.getElementById("keys");

let isKnown;
const app = {
  // The picture that the user gave: { file, url }.
  picture: undefined,
  local: false,
  // Kept once it is known whether the photos are on this machine.
  known: new Promise((resolve) => { isKnown = resolve; }),
  onState: undefined,
  go(view, asked) {
    const to = address(view, asked);
    if (location.hash === to) draw(); else location.hash = to;
  },
  look: (photo, item) => viewer.look(item, app),
  similar(photo) {
    viewer.close();
    app.go("search", { examples: [{ photo: photo.content }], filter: current().asked.filter });
  },
  // More or less like a photo: added to what is searched for.
  steer(photo, weight) {
    const { view, asked } = current();
    const before = view === "search" ? asked.examples ?? [] : [];
    const examples = [...before.filter((example) => example.photo !== photo.content), { photo: photo.content, weight }];
    if (!examples.some((example) => (example.weight ?? 1) > 0)) { say("Less of it is said beside something that is wanted: search first"); return; }
    viewer.close();
    app.go("search", { ...(view === "search" ? asked : { filter: asked.filter }), examples });
  },
};

function address(view, asked = {}) {
  const has = Object.values(asked).some((value) => value !== undefined && (typeof value !== "object" || Object.keys(value).length));
  return `#/${view}${has ? `?${encodeURIComponent(JSON.stringify(asked))}` : ""}`;
}

function current() {
  const [view, query] = location.hash.replace(/^#\//, "").split("?");
  let asked = {};
  try { asked = query ? JSON.parse(decodeURIComponent(query)) : {}; } catch { /* An address that was cut: the view alone. */ }
  return { view: VIEWS[view] ? view : "photos", asked };
}

async function draw() {
  const { view, asked } = current();
  if (viewer.isOpen()) viewer.close();
  main.classList.remove("has-years");
  app.onState = undefined;
  scrollTo(0, 0);
  document.title = `${TITLES[view]} – resembled`;
  document.querySelectorAll(".tabs a").forEach((tab) => {
    if (tab.hash === `#/${view}`) tab.setAttribute("aria-current", "page"); else tab.removeAttribute("aria-current");
  });
  words.value = view === "search" && search.isWords(asked.examples ?? []) ? (asked.examples ?? []).map((example) => example.text).join(" ") : "";
  try {
    await VIEWS[view].show(main, asked, app);
  } catch (error) {
    main.append(hint("That did not work", error.message, make("button", { type: "button", text: "Try again", onclick: draw })));
  }
}

addEventListener("hashchange", draw);

// Words.
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = words.value.trim();
  words.blur();
  app.go(text ? "search" : "photos", text ? { examples: [{ text }], filter: current().asked.filter } : {});
});
let typing;
words.addEventListener("input", () => {
  clearTimeout(typing);
  const start = words.value.split(/\s+(?:and|or|not|without)\s+/).pop().trimStart();
  if (start.length < 2) return;
  typing = setTimeout(async () => {
    const found = await ask("words", { prefix: start.toLowerCase() }).catch(() => ({ words: [] }));
    const before = words.value.slice(0, words.value.length - start.length);
    document.getElementById("known").replaceChildren(...found.words.map((word) => make("option", { value: before + word })));
  }, 120);
});

// Pictures.
function given(picture) {
  if (!picture) return;
  if (picture.size > 60 << 20) { say("The picture is too large to be sent: 60 MB at the most"); return; }
  if (app.picture) URL.revokeObjectURL(app.picture.url);
  app.picture = { file: picture, url: URL.createObjectURL(picture) };
  viewer.close();
  // Another picture is another search, also where the address stays.
  app.go("search", { examples: [{ picture: true }], filter: current().asked.filter });
}
document.getElementById("choose").addEventListener("click", () => file.click());
file.addEventListener("change", () => { given(file.files[0]); file.value = ""; });
addEventListener("paste", (event) => {
  const picture = [...(event.clipboardData?.files ?? [])][0];
  if (picture) { event.preventDefault(); given(picture); }
});
const drop = document.getElementById("drop");
const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragover", (event) => { if (isFile(event)) { event.preventDefault(); drop.hidden = false; } });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.hidden = true; });
addEventListener("drop", (event) => {
  drop.hidden = true;
  if (!isFile(event)) return;
  event.preventDefault();
  given(event.dataTransfer.files[0]);
});

// Keys.
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typed = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape" && typed) { typed.blur(); return; }
  if (typed || document.querySelector("dialog.sheet[open]")) return;
  const photo = viewer.isOpen() ? viewer.photo() : document.activeElement?.closest?.("[data-photo]")?.photo;
  const act = {
    "/": () => { if (!viewer.isOpen()) words.select(); },
    "?": () => keys.showModal(),
    "+": () => photo && app.steer(photo, 1),
    "-": () => photo && app.steer(photo, -1),
    s: () => photo && app.similar(photo),
    i: () => viewer.isOpen() && viewer.toggleAbout(),
    ArrowLeft: () => (viewer.isOpen() ? viewer.step(-1) : move(event.key)),
    ArrowRight: () => (viewer.isOpen() ? viewer.step(1) : move(event.key)),
    ArrowUp: () => !viewer.isOpen() && !event.target.closest?.(".about") && move(event.key),
    ArrowDown: () => !viewer.isOpen() && move(event.key),
    Escape: () => { if (!viewer.isOpen() && current().view === "search") history.back(); },
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act && act() !== false && event.key !== "Escape") event.preventDefault();
});
document.getElementById("skip").addEventListener("click", () => main.focus());

// How the daemon is, while somebody looks; that alone does not keep the window open.
const busy = document.getElementById("busy");
let used = 0;
for (const name of ["pointerdown", "keydown", "wheel"]) addEventListener(name, () => {
  if (performance.now() - used > 60000) { used = performance.now(); tell("used").catch(() => {}); }
}, { passive: true });
let wasAsked = false;
async function watch() {
  let wait = 5000;
  if (!document.hidden || !wasAsked) {
    wasAsked = true;
    try {
      const found = await ask("state");
      app.local = found.local;
      words.placeholder = found.words ? "Search: dog, beach without people …" : "Drop, paste or choose a picture";
      const isWorking = ["scanning", "indexing"].includes(found.state);
      busy.hidden = !isWorking && !found.why.length;
      busy.className = found.why.length ? "bad" : "";
      wait = isWorking ? 1500 : 5000;
      app.onState?.(found);
    } catch (error) {
      busy.hidden = false;
      busy.className = "bad";
      busy.title = error.message;
    }
  }
  isKnown();
  setTimeout(watch, wait);
}

draw();
watch();
