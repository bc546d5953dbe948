// Results: what was asked for, as examples that can be weighed, and the photos that answer, nearest first.

import { make, counted, taken, hint, fileName } from "./make.js";
import { search, thumbnail } from "./ask.js";
import { chips, clean } from "./filters.js";
import { tile, estimate } from "./tiles.js";

const PAGE = 60;

// Matches of an example; words end by themselves.
const MOST = 600;

export const isWords = (examples) => examples.every((example) => example.text !== undefined);

export async function show(main, asked, app) {
  const examples = asked.examples ?? [];
  const filter = clean(asked.filter);
  const byDate = Boolean(asked.by_date);
  const again = (next) => app.go("search", { examples, filter, by_date: byDate, ...next });
  const count = make("span", { className: "small number" });
  const order = make("button", { type: "button", text: byDate ? "Newest first" : isWords(examples) ? "Likeliest first" : "Nearest first", title: "Change the order", onclick: () => again({ by_date: !byDate }) });
  const bar = make("div", { className: "bar" }, make("div", { className: "examples", role: "group", ariaLabel: "Searched for" }, examples.map((example, at) => shown(example, at, examples, again, app))),
    chips(filter, (next) => again({ filter: clean(next) })), order, count);
  const said = make("div", { className: "said" });
  const grid = make("ul", { className: "grid", ariaLabel: "Found photos" });
  const rest = make("div", { className: "rest", ariaHidden: "true" });
  main.replaceChildren(bar, said, grid, rest);
  rest.style.setProperty("height", `${estimate(24, main.clientWidth)}px`);

  const needsPicture = examples.some((example) => example.picture);
  if (needsPicture && !app.picture) {
    rest.hidden = true;
    main.append(hint("The picture is not here any more", "Drop, paste or choose it again."));
    return;
  }
  const picture = needsPicture ? app.picture.file : undefined;
  const words = isWords(examples);
  let token = "", total = 0, loaded = 0, busy = false;
  const more = async () => {
    if (busy || rest.hidden || !rest.isConnected) return;
    busy = true;
    try {
      const page = await search({ examples, filter, by_date: byDate, k: words ? 0 : MOST, page_size: PAGE, page_token: token }, picture);
      if (!rest.isConnected) return;
      if (!loaded) {
        total = page.total;
        said.replaceChildren(...page.said.map((line) => make("p", { text: line })));
        count.textContent = words ? counted(total, "photo") : total >= MOST ? `the ${MOST} nearest of ${counted(page.searched, "photo")}` : counted(total, "photo");
        if (!total) main.append(hint("Nothing found", Object.keys(filter).length ? "No photo that passes the filters comes near." : ""));
      }
      loaded += page.matches.length;
      grid.append(...page.matches.map((found) => tile(found, { open: app.look, steer: app.steer, caption: caption(found, page.words) })));
      token = page.next;
      rest.hidden = !token;
    } catch (error) {
      rest.hidden = true;
      main.append(hint(error.status === 404 && words ? "No such word" : "That did not work", error.message));
      return;
    } finally {
      busy = false;
    }
    near.unobserve(rest);
    near.observe(rest);
  };
  const near = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) more(); }, { rootMargin: "80% 0px" });
  await more();
}

function caption(found, words) {
  const turns = ["", ", turned right", ", upside down", ", turned left"][found.quarter_turns ?? 0];
  const first = words ? `${found.labels.join(", ")} ${Math.round(found.similarity * 100)} %` : `${found.distance.toFixed(3)}${found.band ? ` · ${found.band}` : ""}${turns}`;
  return [first, taken(found, false) || fileName(found.path)];
}

// One example: what it is, whether more or less of it is meant, and away with it.
function shown(example, at, examples, again, app) {
  const isLiked = (example.weight ?? 1) > 0;
  const others = examples.filter((_, other) => other !== at);
  const turn = () => again({ examples: examples.map((old, place) => (place === at ? { ...old, weight: isLiked ? -1 : 1 } : old)) });
  const away = () => (others.some((other) => (other.weight ?? 1) > 0) ? again({ examples: others }) : app.go("photos", {}));
  const isOnlyLiked = isLiked && !others.some((other) => (other.weight ?? 1) > 0);
  const what = example.text !== undefined ? make("b", { text: example.text })
    : make("img", { alt: example.picture ? "your picture" : "a photo", src: example.picture ? app.picture?.url ?? "" : thumbnail(example.photo, 64) });
  return make("div", { className: isLiked ? "example" : "example not" }, what,
    make("button", { type: "button", text: isLiked ? "+" : "−", disabled: isOnlyLiked, title: isLiked ? "More like this; press for less" : "Less like this; press for more",
      ariaLabel: isLiked ? "More like this" : "Less like this", ariaPressed: String(isLiked), onclick: turn }),
    make("button", { type: "button", text: "×", ariaLabel: "Remove from the search", title: "Remove", onclick: away }));
}
