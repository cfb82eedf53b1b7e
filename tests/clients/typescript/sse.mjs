/**
 * Reads streams with three libraries: node sse.mjs '{"library": {"name": {"method", "url", "body", "last"}, …}, …}'.
 * Prints {"library": {"name": [[id, event, data], …]}}, each stream up to its end mark.
 */

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";

// fetch-event-source is made for browsers.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

function options({ method, body, last }) {
  const headers = last === undefined ? {} : { "Last-Event-ID": last };
  return { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
}

function byFetchEventSource(stream) {
  const stop = new AbortController();
  const found = [];
  return new Promise((resolve, reject) => {
    fetchEventSource(stream.url, {
      ...options(stream),
      fetch,
      openWhenHidden: true,
      signal: stop.signal,
      onopen: async (response) => {
        if (!response.ok) throw new Error(`status ${response.status}`);
      },
      onmessage(event) {
        found.push([event.id, event.event || "message", event.data]);
        if (event.data !== "[DONE]") return;
        stop.abort();
        resolve(found);
      },
      onclose() {
        throw new Error("closed before the end mark");
      },
      onerror(error) {
        throw error;
      },
    }).catch(reject);
  });
}

function byEventSource(stream) {
  const { headers, ...rest } = options(stream);
  return new Promise((resolve, reject) => {
    const found = [];
    const source = new EventSource(stream.url, {
      fetch: (url, init) => fetch(url, { ...init, ...rest, headers: { ...init.headers, ...headers } }),
    });
    const take = (event) => {
      found.push([event.lastEventId, event.type, event.data]);
      if (event.data !== "[DONE]") return;
      source.close();
      resolve(found);
    };
    source.onmessage = take;
    source.addEventListener("done", take);
    source.onerror = (error) => {
      source.close();
      reject(new Error(error.message));
    };
  });
}

async function byParser(stream) {
  const found = [];
  const errors = [];
  const parser = createParser({
    onEvent: (event) => found.push([event.id ?? "", event.event ?? "message", event.data]),
    onError: (error) => errors.push(error),
  });
  const response = await fetch(stream.url, options(stream));
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    parser.feed(piece);
    if (found.at(-1)?.[2] === "[DONE]") break;
  }
  if (errors.length) throw errors[0];
  return found;
}

const libraries = {
  "@microsoft/fetch-event-source": byFetchEventSource,
  eventsource: byEventSource,
  "eventsource-parser": byParser,
};

const streams = JSON.parse(process.argv[2]);
const shown = {};
await Promise.all(
  Object.entries(libraries).map(async ([library, read]) => {
    const wanted = Object.entries(streams[library]);
    const found = await Promise.all(wanted.map(([, stream]) => read(stream)));
    shown[library] = Object.fromEntries(wanted.map(([name], at) => [name, found[at]]));
  }),
);
console.log(JSON.stringify(shown));
process.exit(0);
