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

// Tells it to do something, and takes what it says, an object a line, as it comes.
export async function lines(name, what, take, signal) {
  const response = await fetch(`api/${name}`, { method: "POST", body: JSON.stringify(what), signal });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? "The window is closed.");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) take(JSON.parse(part));
  }
}

// The thumbnail for so many pixels of the page, on the longer side.
export function thumbnail(content, longest) {
  const wanted = longest * Math.min(window.devicePixelRatio || 1, 2);
  const side = [256, 512, 1024].find((side) => side >= wanted * 0.9) ?? 1024;
  return `thumbnails/${side}/${content}`;
}
