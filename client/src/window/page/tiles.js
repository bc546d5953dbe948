// Photos as a justified grid: each row as wide as the page, each photo in its own shape. The shape is known before the picture
// comes, so that nothing jumps. Arrow keys go from photo to photo.

import { make, taken, fileName } from "./make.js";
import { thumbnail } from "./ask.js";

// Panoramas and strips are cut in the grid, so that they neither fill it nor vanish.
export const ratio = (photo) => Math.min(Math.max((photo.width || 3) / (photo.height || 2), 0.5), 3);

export function rowHeight() {
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 200;
}

export function gap() {
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--gap")) || 4;
}

// How high so many photos will be about, in pixels.
export function estimate(count, width, mean = 1.4) {
  const rows = Math.ceil((count * (rowHeight() * mean + gap())) / Math.max(width, 1));
  return rows * (rowHeight() * 1.12 + gap());
}

export function describe(photo) {
  return [fileName(photo.path), taken(photo), photo.camera].filter(Boolean).join(", ");
}

// One photo. `open` looks at it; `steer`, if there is one, takes 1 for more like it and -1 for less.
export function tile(photo, { open, steer, caption }) {
  const shape = ratio(photo);
  const image = make("img", {
    alt: describe(photo), loading: "lazy", decoding: "async", className: "coming", draggable: false,
    onload: () => image.classList.remove("coming"),
    onerror: () => { image.classList.remove("coming"); image.alt = `No picture of ${fileName(photo.path)}`; },
  });
  const high = rowHeight();
  image.src = thumbnail(photo.content, Math.max(high * shape, high));
  const others = photo.copies?.length ?? 0;
  const item = make("li", { className: caption ? "tile told" : "tile", style: { "--r": shape.toFixed(4) } },
    make("button", { type: "button", onclick: () => open(photo, item) }, image),
    photo.online === false && make("span", { className: "away", text: "drive away" }),
    others > 0 && make("span", { className: "more", text: `+${others}`, title: others === 1 ? "1 copy more" : `${others} copies more` }),
    steer && make("div", { className: "steer" },
      make("button", { type: "button", text: "+", tabIndex: -1, title: "More like this (+)", ariaLabel: "More like this", onclick: () => steer(photo, 1) }),
      make("button", { type: "button", text: "−", tabIndex: -1, title: "Less like this (−)", ariaLabel: "Less like this", onclick: () => steer(photo, -1) })),
    caption && make("div", { className: "caption" }, caption.map((line, at) => make("span", { className: at ? "quiet" : "", text: line, title: line }))));
  item.photo = photo;
  item.dataset.photo = "";
  return item;
}

export const tiles = () => [...document.querySelectorAll("#main [data-photo]")];

// Goes to the next photo in a direction; returns whether there was one.
export function move(key) {
  const at = document.activeElement?.closest?.("[data-photo]");
  const all = tiles();
  if (!all.length) return false;
  if (!at) { focus(all.find((item) => item.getBoundingClientRect().bottom > 80) ?? all[0]); return true; }
  const place = all.indexOf(at);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const next = all[place + (key === "ArrowLeft" ? -1 : 1)];
    if (next) focus(next);
    return true;
  }
  // The photo of the next row that lies nearest below or above.
  const box = at.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  const step = key === "ArrowUp" ? -1 : 1;
  let row, best, nearest = Infinity;
  for (let other = place + step; other >= 0 && other < all.length; other += step) {
    const found = all[other].getBoundingClientRect();
    if (Math.abs(found.top - box.top) < 8) continue;
    row ??= found.top;
    if (Math.abs(found.top - row) > 8) break;
    const distance = Math.abs(found.left + found.width / 2 - middle);
    if (distance < nearest) [best, nearest] = [all[other], distance];
  }
  if (best) focus(best);
  return true;
}

export function focus(item) {
  const button = item.querySelector("button");
  button.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
}
