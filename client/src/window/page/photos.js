// All photos by date: a section a month, or a year where it has few, made as high as its photos will be about, and filled when it comes near. So the whole
// library can be scrolled, and any year be gone to, and no more is asked for than is looked at.

import { make, number, counted, monthName, hint } from "./make.js";
import { ask } from "./ask.js";
import { chips, clean } from "./filters.js";
import { tile, estimate } from "./tiles.js";

const PAGE = 120;

// A year with so few photos is one section.
const FEW = 40;

// Photos of sections that are only passed by are not asked for.
const LINGER = 90;

export async function show(main, asked, app) {
  const filter = clean(asked.filter);
  const bar = make("div", { className: "bar" }, make("h1", { text: "Photos" }), chips(filter, (next) => app.go("photos", { filter: clean(next) })));
  const total = make("span", { className: "small number" });
  bar.append(total);
  main.replaceChildren(bar);
  const { counts, total: all } = await ask("counts", { by: "month", filter });
  if (!main.contains(bar)) return;
  total.textContent = counted(all, "photo");
  if (!all) {
    main.append(await nothing(filter, app));
    return;
  }
  const near = new IntersectionObserver((entries) => entries.forEach((entry) => {
    entry.target.section.isNear = entry.isIntersecting;
    if (entry.isIntersecting) setTimeout(() => entry.target.section.fill(), LINGER);
  }), { rootMargin: "120% 0px" });
  const sections = together(counts).map((count) => section(count, filter, near, app));
  main.append(years(sections), ...sections.map((section) => section.element));
  main.classList.add("has-years");
  sections.forEach((section) => { section.estimate(); near.observe(section.rest); });
  sections[0].fill();
  let width = innerWidth;
  const resized = new ResizeObserver(() => {
    if (!main.contains(bar)) return resized.disconnect();
    if (width === innerWidth) return;
    width = innerWidth;
    sections.forEach((section) => section.estimate());
  });
  resized.observe(main);
}

async function nothing(filter, app) {
  if (Object.keys(filter).length) {
    return hint("No photo passes all of this", "", make("button", { type: "button", text: "Show all photos", onclick: () => app.go("photos", {}) }));
  }
  const state = await ask("state");
  if (!state.roots.length) return hint("No folder is watched yet", "`resemble roots add ~/Pictures` adds one; its photos come here by themselves.");
  return hint("No photos yet", state.pending ? `${counted(state.pending, "file")} wait to be read; they come here by themselves.` : "The watched folders hold none. Status says what was left out, and why.",
    make("button", { type: "button", text: "Status", onclick: () => app.go("state", {}) }));
}

// Months, or the year instead of them where they hold few photos.
function together(counts) {
  const sums = new Map();
  for (const { value, photos } of counts) if (value) sums.set(value.slice(0, 4), (sums.get(value.slice(0, 4)) ?? 0) + photos);
  const made = new Map();
  for (const { value, photos } of counts) {
    const year = (value ?? "").slice(0, 4);
    const key = value && sums.get(year) <= FEW ? year : value ?? "";
    made.set(key, (made.get(key) ?? 0) + photos);
  }
  return [...made].map(([value, photos]) => ({ value, photos }));
}

// The filter of one month or year, within that of all.
function within(filter, value) {
  if (!value) return { ...filter, since: undefined, before: undefined, dated: false };
  const [year, month] = value.split("-").map(Number);
  const next = !month ? String(year + 1) : month === 12 ? `${year + 1}-01` : `${year}-${String(month + 1).padStart(2, "0")}`;
  return { ...filter, since: value, before: next, dated: undefined };
}

function section({ value, photos: total }, filter, near, app) {
  const [year, month] = value.split("-").map(Number);
  const title = !value ? "Without a date" : month ? `${monthName(month)} ${year}` : String(year);
  const grid = make("ul", { className: "grid", ariaLabel: title });
  const rest = make("div", { className: "rest", ariaHidden: "true" });
  const element = make("section", { className: "month" }, make("h2", {}, title, make("small", { className: "number", text: number(total) })), grid, rest);
  const made = { element, rest, year: value.slice(0, 4), total, isNear: false };
  rest.section = made;
  let loaded = 0, ratios = 0, token = "", busy = false;
  made.estimate = () => {
    const left = total - loaded;
    const mean = loaded ? ratios / loaded : undefined;
    rest.style.setProperty("height", left > 0 ? `${estimate(left, element.clientWidth, mean)}px` : "0");
    rest.hidden = left <= 0;
  };
  made.fill = async () => {
    if (busy || !rest.isConnected || rest.hidden || (!made.isNear && loaded)) return;
    if (rest.getBoundingClientRect().top > innerHeight * 2.5 || element.getBoundingClientRect().bottom < -innerHeight * 1.5) return;
    busy = true;
    try {
      const page = await ask("photos", { filter: clean(within(filter, value)), page_size: PAGE, page_token: token });
      const items = page.photos.map((photo) => tile(photo, { open: app.look, steer: app.steer }));
      grid.append(...items);
      loaded += page.photos.length;
      ratios += items.reduce((sum, item) => sum + parseFloat(item.style.getPropertyValue("--r")), 0);
      token = page.next;
      if (!token) total = loaded;
      made.estimate();
    } catch (error) {
      rest.hidden = true;
      element.append(make("p", { className: "hint", text: error.message }));
      return;
    } finally {
      busy = false;
    }
    // Until what is in sight is there.
    near.unobserve(rest);
    near.observe(rest);
  };
  return made;
}

// The scale of years.
function years(sections) {
  const scale = make("nav", { className: "years", ariaLabel: "Years" });
  const firsts = new Map();
  sections.forEach((section) => { if (!firsts.has(section.year)) firsts.set(section.year, section); });
  const buttons = [...firsts].map(([year, section]) => {
    const sum = sections.reduce((sum, other) => sum + (other.year === year ? other.total : 0), 0);
    const button = make("button", { type: "button", text: year || "no date", title: `${year || "Without a date"}: ${counted(sum, "photo")}`, ariaLabel: year || "Without a date",
      onclick: () => { section.element.scrollIntoView({ block: "start" }); section.isNear = true; section.fill(); } });
    return { button, section };
  });
  scale.append(...buttons.map(({ button }) => button));
  scale.hidden = buttons.length < 2;
  let waiting = false;
  const mark = () => {
    waiting = false;
    if (!scale.isConnected) return removeEventListener("scroll", later);
    let current = buttons[0];
    for (const entry of buttons) if (entry.section.element.getBoundingClientRect().top < innerHeight / 3) current = entry;
    buttons.forEach(({ button }) => button.removeAttribute("aria-current"));
    current?.button.setAttribute("aria-current", "true");
  };
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(mark); } };
  addEventListener("scroll", later, { passive: true });
  later();
  return scale;
}


