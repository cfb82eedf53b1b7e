/** Requests to the server: where it is, the key, and errors that say what to do. */

/** The page's files lie one level below the server's root, whatever prefix a proxy put before it. */
const BASE = new URL("../", import.meta.url);
const KEY = "hector.key";
const USER = "hector.user";

/** The server refused: `reason` is its stable word, the message a sentence for people. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.reason = error?.reason ?? "";
    this.details = error?.details ?? {};
  }

  /** Whether asking again later may help: the server, or a proxy before it, is not ready. */
  get isPassing() {
    return [502, 503, 504].includes(this.status) && this.reason !== "llm_error" && this.reason !== "llm_timeout";
  }
}

export function getKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** The name under which this browser speaks; empty: the server decides. */
export function getUser() {
  return localStorage.getItem(USER) ?? "";
}

export function setUser(name) {
  if (name) localStorage.setItem(USER, name);
  else localStorage.removeItem(USER);
}

let askForKey = async () => false;
let asking = null;

/** `ask` opens the dialog and says whether a key was entered. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** The response, if it is a good one. Raises Refused, or what fetch raises when the server cannot be reached. */
export async function request(method, path, { body, headers = {}, signal } = {}) {
  for (;;) {
    const key = getKey();
    const response = await fetch(new URL(path, BASE), {
      method,
      signal,
      cache: "no-store",
      credentials: "omit",
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
        ...(getUser() ? { "X-User-Id": `UTF-8''${encodeURIComponent(getUser())}` } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.ok) return response;
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401) {
      if (key !== getKey()) continue; // entered meanwhile, for another request
      asking ??= askForKey(key !== "").finally(() => (asking = null));
      if (await asking) continue;
    }
    throw new Refused(response.status, answer.error);
  }
}

export async function call(method, path, body, options) {
  const response = await request(method, path, { body, ...options });
  return response.status === 204 ? null : response.json();
}

export function agentPath(agent) {
  return `agents/${encodeURIComponent(agent)}`;
}

export function sessionPath(agent, sessionId) {
  return `${agentPath(agent)}/sessions/${encodeURIComponent(sessionId)}`;
}

/** A unique name. (`crypto.randomUUID` exists on https and localhost only.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Waits, or raises the signal's reason. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
