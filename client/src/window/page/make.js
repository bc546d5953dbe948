// Makes elements, and words for people. Text is only ever set as text: what a file is called is never read as HTML.

export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "style") for (const [key, to] of Object.entries(value)) element.style.setProperty(key, to);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...there(children));
  return element;
}

// Puts these in place of what was in it. What is not there (undefined, null, false) is left out.
export function fill(element, ...children) {
  element.replaceChildren(...there(children));
}

const there = (children) => children.flat().filter((child) => child !== undefined && child !== null && child !== false);

const toast = document.getElementById("said");
let hide;

// Says something in passing; `action` is a button beside it: { text, act }.
export function say(text, action) {
  clearTimeout(hide);
  toast.replaceChildren(text);
  if (action) {
    const act = () => { toast.classList.remove("on"); action.act(); };
    toast.append(make("button", { type: "button", text: action.text, onclick: act }));
  }
  toast.classList.add("on");
  hide = setTimeout(() => toast.classList.remove("on"), action ? 12000 : 5000);
}

export function hint(title, text, ...more) {
  return make("div", { className: "hint" }, make("h2", { text: title }), text && make("p", { text }), ...more);
}

const grouped = new Intl.NumberFormat("en");
export const number = (count) => grouped.format(count);
export const counted = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${count < 9.95 && unit > 0 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function duration(seconds) {
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 1.5) return "a minute";
  if (minutes < 90) return `${minutes} minutes`;
  const hours = Math.round(minutes / 60);
  return hours < 36 ? `${hours} hours` : `${Math.round(hours / 24)} days`;
}

// A time as the camera's clock shows it; one with a zone is shown in that of the photo's UTC.
export function taken(photo, withTime = true) {
  if (!photo.taken) return "";
  const [day, time] = photo.taken.split("T");
  const [year, month, date] = day.split("-").map(Number);
  const text = `${date} ${monthName(month)} ${year}`;
  return withTime ? `${text}, ${time.slice(0, 5)}${photo.taken.endsWith("Z") ? " UTC" : ""}` : text;
}

const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
export const monthName = (month) => MONTHS[month - 1] ?? "";

export const fileName = (path) => (path ?? "").split("/").pop();
export const folderName = (path) => (path ?? "").split("/").slice(0, -1).join("/") || "/";
// A file that has no copy is in `photo` itself.
export const files = (photo) => [photo, ...(photo.copies ?? [])].filter((file) => file.path !== undefined);
export const typeName = (type) => (type ?? "").replace("image/", "").replace("x-", "").toUpperCase();
