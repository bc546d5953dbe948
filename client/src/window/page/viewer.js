// One photo, large, with what it says of itself.

import { make, say, bytes, taken, fileName, folderName, files, number, typeName } from "./make.js";
import { ask, tell, thumbnail } from "./ask.js";
import { tiles, focus } from "./tiles.js";

const dialog = document.getElementById("viewer");
let current, app;

export const isOpen = () => dialog.open;

export function look(item, use) {
  app = use;
  draw(item);
  if (!dialog.open) dialog.showModal();
}

export function close() {
  dialog.close();
}

dialog.addEventListener("close", () => {
  const item = current;
  current = undefined;
  dialog.replaceChildren();
  if (item?.isConnected) focus(item);
});

export function step(by) {
  const all = tiles();
  const next = all[all.indexOf(current) + by];
  if (!next) return;
  next.scrollIntoView({ block: "nearest" });
  draw(next);
}

export function toggleAbout() {
  dialog.classList.toggle("wide");
}

export const photo = () => current?.photo;

function draw(item) {
  current = item;
  const { photo } = item;
  const all = tiles();
  const place = all.indexOf(item);
  // Never larger than it is.
  const size = { "max-width": `min(100%, ${photo.width}px)`, "max-height": `min(100%, ${photo.height}px)` };
  const image = make("img", { alt: fileName(photo.path), style: size });
  // The small one is there already; the large one takes its place when it has come.
  image.src = item.querySelector("img")?.currentSrc || thumbnail(photo.content, 256);
  const large = new Image();
  large.onload = () => { image.src = large.src; };
  large.src = `thumbnails/1024/${photo.content}`;
  for (const next of [all[place + 1], all[place - 1]]) if (next) new Image().src = `thumbnails/1024/${next.photo.content}`;
  const round = (name, text, label, onclick, disabled) => make("button", { type: "button", className: `round ${name}`, text, ariaLabel: label, title: label, onclick, disabled });
  const stage = make("div", { className: "stage" }, image,
    round("close", "×", "Close (Esc)", close),
    round("info", "i", "What is known of it (I)", toggleAbout),
    place > 0 && round("before", "‹", "Photo before (←)", () => step(-1)),
    place >= 0 && place < all.length - 1 && round("after", "›", "Photo after (→)", () => step(1)));
  dialog.replaceChildren(stage, about(photo));
  dialog.setAttribute("aria-label", fileName(photo.path));
  (stage.querySelector(".close")).focus({ preventScroll: true });
}

function about(photo) {
  const place = photo.position && `${photo.position[0].toFixed(5)}, ${photo.position[1].toFixed(5)}`;
  const facts = [
    ["Taken", taken(photo)], ["Camera", photo.camera], ["Lens", photo.lens],
    ["Picture", `${number(photo.width)} × ${number(photo.height)}, ${(photo.width * photo.height / 1e6).toFixed(1)} MP`],
    ["File", `${bytes(photo.size)}, ${typeName(photo.type)}`], ["Place", place],
    ["Distance", photo.distance === undefined || photo.labels?.length ? "" : `${photo.distance.toFixed(4)}${photo.band ? ` (${photo.band})` : ""}`],
  ].filter(([, value]) => value);
  const tags = make("div", { className: "tags" });
  ask(`labels/${photo.content}`).then(({ labels }) => tags.append(...labels.slice(0, 4).map(({ label, likelihood }) =>
    make("button", { type: "button", text: label, title: `${Math.round(likelihood * 100)} % sure; press for photos that show it`, onclick: () => { close(); app.go("search", { examples: [{ text: label }] }); } })))).catch(() => {});
  return make("aside", { className: "about", ariaLabel: "What is known of it" },
    make("h2", { text: fileName(photo.path) }),
    make("div", { className: "acts" },
      make("button", { type: "button", className: "strong", text: "Photos like this", onclick: () => app.similar(photo) }),
      make("button", { type: "button", text: "+ More", title: "Add to the search as liked", onclick: () => app.steer(photo, 1) }),
      make("button", { type: "button", text: "− Less", title: "Add to the search as disliked", onclick: () => app.steer(photo, -1) })),
    make("dl", { className: "facts" }, facts.map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { className: "number", text: value })))),
    tags,
    make("section", { className: "files" }, make("h3", { text: files(photo).length > 1 ? `${files(photo).length} files` : "File" }), make("ul", {}, files(photo).map((file) => fileItem(photo, file)))));
}

function fileItem(photo, file) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(file.path);
      say("The path is copied");
    } catch {
      say(file.path);
    }
  };
  const reveal = () => tell("reveal", { content: photo.content, uri: file.uri }).catch((error) => say(error.message));
  const others = (file.other_paths ?? []).map((other) => make("p", { className: "small", text: `also ${other.path}` }));
  return make("li", {}, make("p", { text: fileName(file.path) }), make("p", { className: "small", text: folderName(file.path) }), others,
    make("div", {},
      make("button", { type: "button", text: "Copy path", onclick: copy }),
      app.local && make("button", { type: "button", text: "Show in file manager", disabled: !file.online, onclick: reveal }),
      !file.online && make("span", { className: "mark warn", text: "its drive is away" })));
}
