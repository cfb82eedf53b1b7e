/**
 * Has Markdown read by a worker, one text at a time, the newest of each view. A text that takes too long costs the
 * worker its life and is shown as plain text from the segment on that did; the page waits for none of it.
 */
const LIMIT_MS = 1500; // for one text; usual ones take a few
const MOST_SKIPPED = 3; // segments of one text that may take too long
const AGAIN_MS = 5000; // after a worker that could not be loaded
const REST = 3; // a long code block is coloured again with each word: a quarter of the time at most
const MOST_REST_MS = 500;

const address = new URL("./markdown-worker.js", import.meta.url);
const policy = globalThis.trustedTypes?.createPolicy("hector-worker", { createScriptURL: () => address.href });

const waiting = new Map(); // text by view
const unread = new Map(); // the same, shown as plain text because no worker could be loaded
let worker = null;
let isReady = false;
let isBroken = false;
let busy = null; // {view, text, number, at, since}
let number = 0;
let timer = 0;
let restingUntil = 0;

/** Have `view.draw(blocks, text)` called; `view.skipped` are the segments of its text not to be read. */
export function render(view, text) {
  waiting.set(view, text);
  start();
  next();
}

/** Loaded before the first answer needs it. */
export function start() {
  if (worker || isBroken) return;
  worker = new Worker(policy ? policy.createScriptURL("") : address, { type: "module" });
  worker.onmessage = ({ data }) => take(data);
  worker.onerror = (event) => {
    event.preventDefault();
    if (busy) return giveUp();
    isBroken = true;
    setTimeout(tryAgain, AGAIN_MS);
    end();
    next();
  };
}

function tryAgain() {
  isBroken = false;
  for (const [view, text] of unread) if (!waiting.has(view)) waiting.set(view, text);
  unread.clear();
  start();
  next();
}

function end() {
  clearTimeout(timer);
  worker?.terminate();
  worker = null;
  isReady = false;
  if (busy && !waiting.has(busy.view)) waiting.set(busy.view, busy.text);
  busy = null;
}

function take({ isReady: isLoaded, number: answered, at, blocks }) {
  if (isLoaded) isReady = true;
  else if (!busy || answered !== busy.number) return;
  else if (blocks === undefined) return void (busy.at = at);
  else {
    clearTimeout(timer);
    const { view, text, since } = busy;
    busy = null;
    view.draw(blocks, text);
    const now = performance.now();
    restingUntil = now + Math.min((now - since) * REST, MOST_REST_MS);
  }
  next();
}

function next() {
  if (!worker) {
    for (const [view, text] of waiting) {
      unread.set(view, text);
      view.draw([{ raw: text, html: null }], text);
    }
    waiting.clear();
    return;
  }
  if (!isReady || busy || !waiting.size) return;
  const now = performance.now();
  const views = [...waiting.keys()];
  const view = views.findLast((view) => view.isEmpty) ?? views[0];
  if (now < restingUntil && !view.isEmpty) {
    clearTimeout(timer);
    timer = setTimeout(next, restingUntil - now);
    return;
  }
  const text = waiting.get(view);
  waiting.delete(view);
  clearTimeout(timer);
  busy = { view, text, number: ++number, at: 0, since: now };
  timer = setTimeout(giveUp, LIMIT_MS);
  worker.postMessage({ number, text, skipped: view.skipped });
}

/** The segment it is at takes too long: leave it out, after some the whole text. */
function giveUp() {
  const { view, text, at } = busy;
  if (!view.skipped.includes(at)) view.skipped.push(at);
  if (view.skipped.length > MOST_SKIPPED) {
    view.isPlain = true;
    busy = null;
    view.draw([{ raw: text, html: null }], text);
  }
  end();
  start();
  next();
}
