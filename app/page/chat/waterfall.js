/** The times of one turn as a picture: what came after what, and how long it took. */
import { svg } from "./dom.js";
import { duration } from "./format.js";

const WIDTH = 320;
const LABEL = 92;
const VALUE = 58;
const ROW = 20;

/** Rows `{name, kind, from, to}` in milliseconds since the message was accepted. */
export function rowsOf({ timings, steps = [] }) {
  if (!timings) return [];
  const { queued_ms: queued, first_token_ms: first, total_ms: total } = timings;
  const rows = [];
  if (queued !== null && queued !== undefined) rows.push({ name: "queued", kind: "queued", from: 0, to: queued });
  if (first !== null && first !== undefined) {
    rows.push({ name: "first token", kind: "waiting", from: queued ?? 0, to: first });
    rows.push({ name: "answer", kind: "text", from: first, to: total });
  } else if (total) {
    rows.push({ name: "no token", kind: "waiting", from: queued ?? 0, to: total });
  }
  for (const step of steps) {
    if (step.kind !== "model" && step.from_ms !== undefined) rows.push({ name: step.name ?? step.kind, kind: "tool", from: step.from_ms, to: step.to_ms });
  }
  return rows;
}

export function waterfall(rows) {
  const total = Math.max(...rows.map((row) => row.to), 1);
  const room = WIDTH - LABEL - VALUE;
  const x = (ms) => LABEL + (ms / total) * room;
  const height = rows.length * ROW + 18;
  const words = rows.map((row) => `${row.name} ${duration(row.to - row.from)}`).join(", ");
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "waterfall", role: "img", "aria-label": words });
  for (const part of [0, 0.5, 1]) {
    picture.append(
      svg("line", { x1: x(total * part), x2: x(total * part), y1: 0, y2: height - 14, class: "grid" }),
      svg("text", { x: x(total * part), y: height - 2, class: "tick", "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" },
        part === 0 ? "0" : duration(total * part)),
    );
  }
  rows.forEach((row, index) => {
    const y = index * ROW;
    picture.append(
      svg("text", { x: 0, y: y + 13, class: "name" }, row.name),
      svg("rect", { x: x(row.from), y: y + 4, width: Math.max(x(row.to) - x(row.from), 1.5), height: 11, rx: 2, class: row.kind }),
      svg("text", { x: WIDTH, y: y + 13, class: "value", "text-anchor": "end" }, duration(row.to - row.from)),
    );
  });
  return picture;
}
