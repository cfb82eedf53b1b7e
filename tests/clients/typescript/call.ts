// Calls a server with a client that was generated from its OpenAPI document: node out/call.js BASE_URL KEY
// Prints what each operation answered, as one JSON object. `@ts-expect-error` marks what the types must refuse.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

const [, , baseUrl = "", key = ""] = process.argv;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
const agent = "assistant";
const session = { path: { agent, session_id: "from-typescript" } };

function good<T>({ data, error }: { data?: T; error?: components["schemas"]["Error"] }): T {
  if (error !== undefined) throw new Error(`${error.error.reason}: ${error.error.message}`);
  return data as T;
}

const agents = good(await client.GET("/agents"));
const created = good(
  await client.POST("/agents/{agent}/sessions", {
    params: { path: { agent } },
    body: { session_id: "from-typescript", title: "Birds", ephemeral: false, messages: [] },
  }),
);
const listed = good(
  await client.GET("/agents/{agent}/sessions", {
    params: { path: { agent }, query: { status: "active", limit: 5 } },
  }),
);
const sent = good(
  await client.POST("/agents/{agent}/sessions/{session_id}/messages", {
    params: { ...session, header: { "Idempotency-Key": "once" } },
    body: { message: "What is a parrot?", background: false },
  }),
);
if (!("response" in sent)) throw new Error("a turn in the background, or a message without one");
const messages = good(await client.GET("/agents/{agent}/sessions/{session_id}/messages", { params: session }));
const events = good(await client.GET("/agents/{agent}/sessions/{session_id}/events", { params: session }));
const finished = events.events.find((event) => event.type === "turn_finished");
const turn = good(
  await client.GET("/agents/{agent}/sessions/{session_id}/turns/{turn_id}", {
    params: { path: { ...session.path, turn_id: sent.turn_id } },
  }),
);
const patched = good(
  await client.PATCH("/agents/{agent}/sessions/{session_id}", { params: session, body: { title: "Parrots" } }),
);
const streamed = await client.POST("/agents/{agent}/sessions/{session_id}/messages/stream", {
  params: session,
  body: { message: "And a crow?", background: false },
  parseAs: "text",
});
const added = good(
  await client.POST("/agents/{agent}/memories", {
    params: { path: { agent }, header: { "X-User-Id": "ann" } },
    body: { text: "Ann keeps a parrot", role: "user", pinned: true },
  }),
);
const found = good(
  await client.POST("/agents/{agent}/memories/search", {
    params: { path: { agent } },
    body: { query: "Who keeps a parrot?", limit: 1, threshold: 0 },
  }),
);
const ended = good(await client.POST("/agents/{agent}/sessions/{session_id}/end", { params: session }));
const receipt = good(await client.DELETE("/agents/{agent}/sessions/{session_id}", { params: session }));
const refused = await client.GET("/agents/{agent}/sessions/{session_id}", { params: session });

// @ts-expect-error: there is no such field in an answer
void created.colour;
// @ts-expect-error: there is no such status
void client.GET("/agents/{agent}/sessions", { params: { path: { agent }, query: { status: "asleep" } } }).catch(() => {});

console.log(
  JSON.stringify({
    list_agents: agents.agents.map((one) => one.agent),
    create_session: created.title,
    list_sessions: listed.sessions.map((one) => one.session_id),
    send_message: sent.response,
    list_messages: messages.messages.map((message) => message.role),
    list_events: finished?.type === "turn_finished" ? finished.status : null,
    get_turn: turn.usage?.source,
    patch_session: patched.title,
    stream_message: streamed.data?.includes("[DONE]"),
    add_memory: added.pinned,
    search_memories: found.hits[0]?.text,
    end_session: ended.status,
    terminate_session: receipt.status,
    refused: refused.error?.error.reason,
  }),
);
