// Asks the program that serves this page.

const encoded = (asked) => (asked === undefined ? "" : `?q=${encodeURIComponent(JSON.stringify(asked))}`);

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The window is closed. Run `resemble window` to open another.");
  }
  if (response.ok) return response.json();
  const said = await response.json().catch(() => ({ error: "The window is closed. Run `resemble window` to open another." }));
  throw Object.assign(new Error(said.error), { status: response.status });
}

export const ask = (name, asked, signal) => answer(`api/${name}${encoded(asked)}`, { signal });

// Tells it to do something.
export const tell = (name, what = {}) => answer(`api/${name}`, { method: "POST", body: JSON.stringify(what) });

// Searches; `picture` is a file that the user gave, or none.
export const search = (asked, picture, signal) =>
  answer(`api/search${encoded(asked)}`, { method: "POST", body: picture ?? "", signal });

// The thumbnail for so many pixels of the page, on the longer side.
export function thumbnail(content, longest) {
  const wanted = longest * Math.min(window.devicePixelRatio || 1, 2);
  const side = [256, 512, 1024].find((side) => side >= wanted * 0.9) ?? 1024;
  return `thumbnails/${side}/${content}`;
}
