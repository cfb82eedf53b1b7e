/**
 * Talks to Hector as OpenAI's API with `openai` and the Vercel AI SDK: node openai_door.mjs BASE_URL.
 * Prints what each of them got, as JSON. The agents are those of test_openai_door.py.
 */

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const baseURL = process.argv[2];
const messages = [{ role: "user", content: "Hello there" }];
const found = {};

const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const chat = await client.chat.completions.create({ model: "echo", messages });
const stream = await client.chat.completions.create({
  model: "echo",
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
let text = "";
let usage = null;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const response = await client.responses.create({ model: "echo", input: "Hello there" });
const streamed = await client.responses.stream({ model: "echo", input: "Hello there" }).finalResponse();
found.openai = {
  chat: [chat.choices[0].message.content, chat.usage.total_tokens > 0],
  stream: [text, usage.total_tokens > 0],
  response: [response.output_text, response.usage.total_tokens > 0],
  "response stream": [streamed.output_text, streamed.usage.total_tokens > 0],
  error: await errorOf(() => client.chat.completions.create({ model: "nobody", messages })),
};
for await (const chunk of await client.chat.completions.create({ model: "endless", messages, stream: true })) {
  if (chunk.choices[0].delta.content) break; // closes the connection
}

const hector = createOpenAICompatible({ name: "hector", baseURL, apiKey: "none", includeUsage: true });
const whole = await generateText({ model: hector("echo"), prompt: "Hello there" });
const parts = streamText({ model: hector("echo"), prompt: "Hello there" });
found.ai = {
  chat: [whole.text, whole.usage.totalTokens > 0],
  stream: [await joined(parts.textStream), (await parts.usage).totalTokens > 0],
  error: await errorOf(() => generateText({ model: hector("nobody"), prompt: "x", maxRetries: 0 })),
};
const leaving = new AbortController();
const endless = streamText({ model: hector("endless"), prompt: "x", abortSignal: leaving.signal, onError() {} });
for await (const _ of endless.textStream) leaving.abort();

console.log(JSON.stringify(found));

async function joined(pieces) {
  let all = "";
  for await (const piece of pieces) all += piece;
  return all;
}

async function errorOf(ask) {
  try {
    await ask();
  } catch (error) {
    return error.status ?? error.statusCode;
  }
}
