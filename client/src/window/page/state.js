// How the daemon is: progress, what waits and why, what failed, folders and drives, advice.

import { make, fill, say, number, counted, duration, fileName, folderName } from "./make.js";
import { ask, tell } from "./ask.js";

const WORDS = { scanning: "Comparing folders", indexing: "Reading new photos", idle: "All is indexed", paused: "Paused", stopping: "Stopping", unknown: "" };

// Progress since some moment, for the remaining time.
let since;

function remaining(state) {
  const now = performance.now();
  if (state.state !== "indexing") { since = undefined; return ""; }
  since ??= { at: now, done: state.files_indexed };
  const seconds = (now - since.at) / 1000, done = state.files_indexed - since.done;
  return seconds > 5 && done > 5 ? `about ${duration((state.pending * seconds) / done)} left` : "";
}

export async function show(main, asked, app) {
  const cards = make("div", { className: "cards" });
  main.replaceChildren(make("div", { className: "bar" }, make("h1", { text: "Status" })), cards);
  const state = await ask("state");
  const order = (name) => () => tell(name).then((state) => { draw(state); if (name === "rescan") say("The folders are being compared with the index"); }).catch((error) => say(error.message));
  const now = make("section", { className: "card", ariaLabel: "Progress" });
  const advice = make("section", { className: "card", ariaLabel: "Advice" });
  const folders = make("section", { className: "card whole", ariaLabel: "Folders" });
  const failed = make("section", { className: "card whole", ariaLabel: "Failures" });
  cards.append(now, advice, folders, failed);
  let shownFailed;
  const draw = (state) => {
    const done = state.files + state.failed, all = done + state.pending;
    const left = remaining(state);
    const isPaused = state.pauses.includes("asked");
    fill(now, make("h2", { text: WORDS[state.state] ?? state.state }),
      make("p", { className: "figure", text: counted(state.photos, "photo") }),
      make("p", { className: "small", text: `in ${counted(state.files, "file")}${state.failed ? `, ${number(state.failed)} failed` : ""}` }),
      state.pending > 0 && make("progress", { max: all, value: done, ariaLabel: "Files indexed" }),
      state.pending > 0 && make("p", { text: [`${counted(state.pending, "file")} to go`, left].filter(Boolean).join(", ") }),
      state.why.map((why) => make("p", { className: "mark warn", text: why })),
      state.filling && make("p", { text: `The network ${state.filling.model} takes over when it has encoded all: ${number(state.filling.photos)} done` }),
      make("div", { className: "acts" },
        isPaused ? make("button", { type: "button", className: "strong", text: "Go on", onclick: order("resume") }) : make("button", { type: "button", text: "Pause", onclick: order("pause") }),
        make("button", { type: "button", text: "Compare folders now", onclick: order("rescan") })));
    advice.replaceChildren(make("h2", { text: "What could be better" }), make("ul", { className: "rows" },
      [...state.findings].sort((a, b) => a.well - b.well).map(({ well, what }) => make("li", {}, make("span", { text: what }), make("span", { className: well ? "mark good" : "mark warn", text: well ? "fine" : "look" })))));
    folders.replaceChildren(make("h2", { text: "Folders and drives" }), state.roots.length ? make("ul", { className: "rows" }, state.roots.flatMap((root) => [folder(root), ...root.mounts.map(folder)])) : make("p", { text: "No folder is watched: `resemble roots add DIR` adds one." }));
    if (shownFailed !== state.failed) { shownFailed = state.failed; failures(failed, state.failed); }
  };
  draw(state);
  app.onState = (state) => { if (main.contains(cards)) draw(state); };
}

function folder({ path, files, state, detail }) {
  const isWell = state === "online" || state === "polled";
  return make("li", {}, make("span", {}, path, detail && make("small", { text: ` ${detail}` })), make("span", { className: "small number", text: counted(files, "file") }), make("span", { className: isWell ? "mark good" : "mark warn", text: state }));
}

async function failures(card, count) {
  card.hidden = !count;
  if (!count) return;
  const list = make("ul", { className: "rows" });
  const more = make("button", { type: "button", text: "More" });
  card.replaceChildren(make("h2", { text: `${counted(count, "file")} could not be indexed` }), list, more);
  let token = "";
  const load = async () => {
    const page = await ask("failures", { page_token: token });
    list.append(...page.failures.map(({ path, reason, retried, size }) => make("li", {},
      make("span", {}, make("b", { text: fileName(path) }), make("br"), make("small", { text: folderName(path) }), make("br"), reason),
      make("span", { className: "mark", text: retried ? "tried again" : "" }))));
    token = page.next;
    more.hidden = !token;
  };
  more.onclick = load;
  await load();
}
