// Asking the server: JSON answers with their latency, and streams of server-sent events.

let key = "";

export function useKey(given) {
  key = given;
}

/** What the server refused, with its status and its own words. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function request(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const given = { headers, signal };
  if (body) {
    given.method = "POST";
    given.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, given);
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Refusal(response.status, told.detail ?? `the server answered ${response.status}`);
  }
  return response;
}

/** {answer, serverMs, roundTripMs}; a POST where there is a body. */
export async function ask(path, body, signal) {
  const started = performance.now();
  const response = await request(path, body, signal);
  const answer = await response.json();
  const roundTripMs = performance.now() - started;
  const timing = response.headers.get("Server-Timing") ?? "";
  const serverMs = Number(/dur=([\d.]+)/.exec(timing)?.[1] ?? NaN);
  return { answer, serverMs, roundTripMs };
}

/** [name, data] of each server-sent event. */
export async function* events(path, body, signal) {
  const response = await request(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block);
      yield [name, JSON.parse(data)];
    }
  }
}
