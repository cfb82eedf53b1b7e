/**
 * Server-sent events from the body of a fetch. EventSource cannot send a key, says nothing of comments,
 * and never reconnects after the first 503 of a restart.
 */

/** Yields `{id?, name?, data?, retry?}` for each event and `{comment}` for each comment line, as they arrive. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // an event without its blank line was cut: it does not count
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line === "") {
          if (Object.keys(event).length) yield event;
          event = {};
        } else if (line.startsWith(":")) {
          yield { comment: line.slice(1).trim() };
        } else {
          take(event, line);
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function take(event, line) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
  else if (field === "id") event.id = value;
  else if (field === "event") event.name = value;
  else if (field === "retry" && /^\d+$/.test(value)) event.retry = Number(value);
}
