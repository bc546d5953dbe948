// A card or a folder: what of it is new, what is near, what is there.

import { make, fill, say, number, counted, fileName, folderName, hint } from "./make.js";
import { ask, lines, thumbnail } from "./ask.js";

// In the order in which they matter.
const STATES = {
  new: ["New", "warn", "nothing like it in the library"],
  near: ["Near", "warn", "no copy, but a photo that resembles it"],
  same: ["Same picture", "warn", "no copy, but the same picture in another file"],
  only: ["Only here", "warn", "the library knows this very file, and no copy of it"],
  "copy-offline": ["Copy, away", "warn", "a copy on a drive that is away"],
  copy: ["Copy", "good", "another file holds the same bytes"],
  other: ["Not comparable", "bad", "named like a photo, but no picture that could be compared"],
  unreadable: ["Unreadable", "bad", "it could not be read"],
};

let running;

export async function show(main, asked, app) {
  running?.abort();
  const folder = make("input", { id: "folder", type: "text", placeholder: "/media/card", value: asked.folder ?? "", spellcheck: false, autocomplete: "off" });
  folder.setAttribute("list", "cards");
  const cards = make("datalist", { id: "cards" });
  const start = make("button", { className: "strong", text: "Check" });
  const form = make("form", { className: "folder", onsubmit: (event) => { event.preventDefault(); app.go("import", { folder: folder.value.trim() }); } },
    make("label", { htmlFor: "folder", text: "Card or folder of this machine" }), folder, cards, start);
  const result = make("div");
  main.replaceChildren(make("div", { className: "bar" }, make("h1", { text: "Import check" })),
    make("div", { className: "said" }, make("p", { text: "Which photos of a card does the library have a copy of, byte for byte? Nothing is copied or changed." })), form, result);
  ask("cards").then(({ cards: found }) => fill(cards, found.map((value) => make("option", { value })))).catch(() => {});
  if (!asked.folder) { folder.focus(); return; }
  await check(asked.folder, result, app);
}

async function check(folder, result, app) {
  running = new AbortController();
  const { signal } = running;
  const counts = {};
  let all = 0, done = 0, chosen;
  const progress = make("progress", { max: 1, value: 0, ariaLabel: "Files looked at" });
  const told = make("p", { className: "number", role: "status", text: "Looking for files …" });
  const stop = make("button", { type: "button", text: "Stop", onclick: () => running.abort() });
  const choice = make("div", { className: "chips" });
  const list = make("ul", { className: "rows card" });
  list.hidden = true;
  fill(result, make("div", { className: "bar" }, told, stop), progress, choice, list);
  const draw = () => {
    progress.max = all || 1;
    progress.value = done;
    fill(choice, Object.entries(STATES).filter(([state]) => counts[state]).map(([state, [text, , about]]) =>
      make("button", { type: "button", title: about, ariaPressed: String(chosen === state), className: chosen === state ? "strong" : "", text: `${text} ${number(counts[state])}`,
        onclick: () => { chosen = chosen === state ? undefined : state; draw(); } })));
    list.dataset.only = chosen ?? "";
    for (const row of list.children) row.hidden = Boolean(chosen) && row.dataset.state !== chosen;
  };
  const clock = setInterval(draw, 400);
  try {
    await lines("check", { folder }, (line) => {
      if (line.error) throw new Error(line.error);
      if (line.files !== undefined) { all = line.files; told.textContent = `${counted(all, "file")} to look at`; return; }
      if (line.summary !== undefined) { told.textContent = line.summary; if (line.warning) say(line.warning); return; }
      done += 1;
      told.textContent = `${number(done)} of ${counted(all, "file")}`;
      counts[line.state] = (counts[line.state] ?? 0) + 1;
      // Films and sidecars are only counted.
      if (!STATES[line.state]) return;
      list.hidden = false;
      list.append(row(line));
    }, signal);
    if (!all) result.append(hint("No files", "The folder is empty."));
    else if (!(counts.new || counts.near || counts.same || counts.only)) result.append(hint("Nothing is missing", "There is a copy of every photo that could be read."));
    else result.append(make("p", { className: "hint" }, "To copy what is missing: ", make("code", { text: `resemble check '${folder.replaceAll("'", "'\\''")}' --copy-missing-to DIR` })));
  } catch (error) {
    if (error.name === "AbortError") told.textContent += ", stopped";
    else result.append(hint("That did not work", error.message));
  } finally {
    clearInterval(clock);
    stop.hidden = true;
    progress.hidden = true;
    draw();
  }
}

function row(line) {
  const [text, kind, about] = STATES[line.state];
  const item = make("li", {},
    make("span", {}, make("b", { text: fileName(line.path) }), make("br"), make("small", { text: folderName(line.path) }), line.reason && make("br"), line.reason && make("small", { text: line.reason })),
    line.photo && make("span", { className: "beside" }, make("img", { alt: "", loading: "lazy", src: thumbnail(line.photo.content, 64) }), make("small", { text: line.photo.path, title: line.photo.path })),
    make("span", { className: `mark ${kind}`, text, title: about }));
  item.dataset.state = line.state;
  return item;
}
