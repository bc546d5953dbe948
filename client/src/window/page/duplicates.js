// Groups of duplicates side by side: what differs is pointed out, a rule marks what stays, and the rest goes to the trash on the
// user's word, and back.

import { make, fill, say, number, counted, bytes, taken, fileName, folderName, files, typeName, hint } from "./make.js";
import { ask, tell, thumbnail } from "./ask.js";
import { chips, clean } from "./filters.js";

const KINDS = { exact: "Copies", near: "Near", burst: "Bursts", pixels: "Same pixels" };
const ABOUT = {
  exact: "Files with the same content, byte for byte.",
  near: "The same picture in another size, quality or light, turned, edited, or another shot of the scene.",
  burst: "Taken within seconds by one camera, and similar.",
  pixels: "The same pixels in other bytes: edited metadata, or another lossless file.",
};
const RULES = { "": "all", largest: "the largest", oldest: "the oldest", newest: "the newest" };

export async function show(main, asked, app) {
  const kind = KINDS[asked.kind] ? asked.kind : "exact";
  // Of copies any will do; what is only near is marked once the user has said by which rule.
  const keep = asked.keep ?? (kind === "exact" ? "largest" : "");
  const filter = clean(asked.filter);
  const again = (next) => app.go("duplicates", { kind, keep, filter, ...next });
  const count = make("span", { className: "small number" });
  const list = make("div", { className: "groups" });
  const rest = make("div", { className: "hint", text: "…" });
  const doing = make("div", { className: "doing", role: "region", ariaLabel: "What would go", hidden: true });
  main.replaceChildren(
    make("div", { className: "bar" }, make("h1", { text: "Duplicates" }),
      make("div", { className: "choice", role: "group", ariaLabel: "Kind" }, Object.entries(KINDS).map(([name, text]) =>
        make("button", { type: "button", text, ariaPressed: String(name === kind), onclick: () => again({ kind: name, keep: undefined }) }))),
      chips(filter, (next) => again({ filter: clean(next) })), rules(keep, filter, again), count),
    make("div", { className: "said" }, make("p", { text: ABOUT[kind] })), list, rest, doing);

  const shown = [];
  const draw = () => {
    const marked = shown.filter((group) => !group.isDone).map((group) => ({ group, goes: group.members.filter((member) => member.goes) })).filter(({ goes }) => goes.length);
    const going = marked.flatMap(({ goes }) => goes);
    doing.hidden = !shown.length || !app.local;
    fill(doing, make("p", { className: "number" }, going.length ? [make("b", { text: counted(going.length, "file") }), ` of ${counted(marked.length, "group")} shown, ${bytes(going.reduce((sum, member) => sum + member.photo.size, 0))}`] : "Nothing is marked to go"),
      make("button", { type: "button", className: "strong", text: "Move to the trash …", disabled: !going.length, onclick: () => confirm(marked, going, draw) }));
  };
  await app.known;
  let token = "", busy = false;
  const more = async () => {
    if (busy || rest.hidden || !rest.isConnected) return;
    busy = true;
    try {
      const page = await ask("groups", { kind, keep, filter, page_token: token });
      if (!rest.isConnected) return;
      const made = page.groups.map((group) => card(group, kind, app, draw));
      shown.push(...made);
      list.append(...made.map((group) => group.element));
      token = page.next;
      rest.hidden = !token;
      count.textContent = [counted(page.total, "group"), page.pending && `${number(page.pending)} still to be compared`].filter(Boolean).join(", ");
      if (!page.total) main.append(hint("No duplicates", page.pending ? "Not all photos are compared yet: look again in a while." : "Each photo is there once."));
      draw();
    } catch (error) {
      rest.hidden = true;
      main.append(hint("That did not work", error.message));
      return;
    } finally {
      busy = false;
    }
    near.unobserve(rest);
    near.observe(rest);
  };
  const near = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) more(); }, { rootMargin: "60% 0px" });
  await more();
}

// Which file of each group stays.
function rules(keep, filter, again) {
  const choice = make("select", { ariaLabel: "Keep of each group", onchange: () => again({ keep: choice.value }) },
    Object.entries(RULES).map(([value, text]) => make("option", { value, text: `Keep ${text}` })));
  if (RULES[keep] === undefined) choice.append(make("option", { value: keep, text: `Keep what is in ${fileName(keep)}` }));
  choice.value = keep;
  ask("counts", { by: "folder", filter }).then(({ counts }) => choice.append(make("optgroup", { label: "Keep what is in" },
    counts.filter((count) => count.uri && count.uri !== keep).slice(0, 200).map((count) => make("option", { value: count.uri, text: count.path }))))).catch(() => {});
  return choice;
}

function card(group, kind, app, draw) {
  const goes = new Set(group.goes.map((file) => file.uri));
  const members = group.photos.flatMap((photo, at) => files(photo).map((file) => ({ photo, file, says: at ? group.says[at - 1] : "", goes: goes.has(file.uri) })));
  const made = { photos: group.photos.map((photo) => photo.content), members, isDone: false };
  const differs = (of) => new Set(members.map(of)).size > 1;
  const rows = [
    [(member) => `${number(member.photo.width)} × ${number(member.photo.height)}`, (member) => member.photo.width * member.photo.height],
    [(member) => bytes(member.photo.size), (member) => member.photo.size],
    [(member) => taken(member.photo) || "no date"], [(member) => typeName(member.photo.type)], [(member) => member.photo.camera || "no camera"],
    [(member) => folderName(member.file.path)],
  ].map(([word, value]) => ({ word, value, differs: differs(word), most: value && most(members.map(value)) }));
  const list = make("ul", { className: "copies" }, members.map((member) => copy(member, rows, app, draw)));
  const apart = async (undo) => {
    try {
      await tell("apart", { photos: made.photos, undo });
      made.isDone = !undo;
      made.element.classList.toggle("done", !undo);
      draw();
      if (!undo) say("They are not the same, and in no group together any more", { text: "Undo", act: () => apart(true) });
    } catch (error) {
      say(error.message);
    }
  };
  const title = members.length === 1 ? "1 file" : `${members.length} ${group.photos.length === 1 ? "files" : "photos"}`;
  made.element = make("section", { className: "card group" }, make("div", { className: "bar" }, make("h2", { text: title }),
    group.photos.length > 1 && make("button", { type: "button", className: "quiet", text: "Not the same", onclick: () => apart(false) })), list);
  return made;
}

// The greatest of some, where few have it.
function most(values) {
  const greatest = Math.max(...values);
  return values.filter((value) => value === greatest).length * 2 <= values.length ? greatest : undefined;
}

function copy(member, rows, app, draw) {
  const { photo, file } = member;
  const isThere = file.presence === "verified";
  const image = make("img", { alt: fileName(file.path), loading: "lazy", decoding: "async", src: thumbnail(photo.content, 300) });
  const item = make("li", { className: "copy" });
  const mark = make("button", { type: "button", disabled: !isThere, onclick: () => { member.goes = !member.goes; paint(); draw(); } });
  const paint = () => {
    item.classList.toggle("goes", member.goes);
    mark.textContent = member.isGone ? "In the trash" : member.goes ? "Goes to the trash" : isThere ? "Stays" : "Stays: its drive is away";
    mark.setAttribute("aria-pressed", String(member.goes));
    mark.disabled = !isThere || Boolean(member.isGone);
    item.classList.toggle("gone", Boolean(member.isGone));
  };
  member.paint = paint;
  item.photo = photo;
  item.dataset.photo = "";
  item.append(make("button", { type: "button", className: "picture", ariaLabel: `Look at ${fileName(file.path)}`, onclick: () => app.look(photo, item) }, image),
    make("h3", { text: fileName(file.path) }),
    make("ul", { className: "differences" }, rows.map(({ word, value, differs, most }) =>
      make("li", { className: differs ? "differs" : "" }, word(member), differs && value && value(member) === most && make("span", { className: "mark good", text: " most" }))),
      member.says && make("li", { className: "differs", text: member.says })),
    app.local && mark);
  paint();
  return item;
}

const dialog = document.getElementById("confirm");

function confirm(marked, going, draw) {
  const size = bytes(going.reduce((sum, member) => sum + member.photo.size, 0));
  const go = make("button", { type: "button", className: "strong", text: "Move to the trash", onclick: async () => {
    go.disabled = true;
    go.textContent = "Reading each file once more …";
    try {
      const asked = marked.map(({ group, goes }) => ({ photos: group.photos, goes: goes.map((member) => member.file.uri) }));
      const done = await tell("trash", { groups: asked });
      paint(going, new Set(done.moved), true, draw);
      const left = done.left.length ? `; ${done.left.length} stay: ${done.left[0].why}` : "";
      say(`${counted(done.moved.length, "file")} moved to the trash${left}`, done.moved.length && { text: "Undo", act: () => undo(done, going, draw) });
    } catch (error) {
      say(error.message);
    }
    dialog.close();
  } });
  fill(dialog, make("h2", { id: "confirm-title", text: `Move ${counted(going.length, "file")} to the trash?` }),
    make("p", { text: `${size} of ${counted(marked.length, "group")}. Each file is read once more before it goes; of each group at least one file stays that can be read. The trash of your desktop keeps them, and they can come back.` }),
    make("div", { className: "acts" }, make("button", { type: "button", text: "Cancel", onclick: () => dialog.close() }), go));
  dialog.showModal();
  go.focus();
}

function paint(going, uris, isGone, draw) {
  for (const member of going) if (uris.has(member.file.uri)) { member.isGone = isGone; member.goes = !isGone; member.paint(); }
  draw();
}

async function undo(done, going, draw) {
  try {
    const { restored, left } = await tell("restore", { undo: done.undo });
    if (!left.length) paint(going, new Set(done.moved), false, draw);
    say(`${counted(restored, "file")} moved back${left.length ? `; ${left[0].path} is still in the trash: ${left[0].why}` : ""}`);
  } catch (error) {
    say(error.message);
  }
}
