// The console: asks for a slate, shows it, sends feedback and shows what it changed.

import { drawFiltered, drawUser } from "./about.js";
import { ask, events, Refusal, useKey } from "./ask.js";
import { byId, day, element, plural } from "./elements.js";
import { drawSlate, focusOn, moves, say } from "./slate.js";
import { drawWhy } from "./why.js";

const shown = { body: null, ids: [] }; // the last request and its slate
let started = null; // the promise of what is asked once
let latest = new AbortController(); // what is still under way for an older slate is given up

/** The request that the form asks for. */
function wanted() {
  const category = byId("category").value;
  const filters = { exclude_seen: byId("exclude-seen").checked };
  if (category) filters.categories = [category];
  return {
    user_id: byId("user").value.trim(), k: Number(byId("k").value), filters,
    explain: byId("explain").value, language: byId("language").value,
  };
}

/** Ask, draw, then fill in what may come later. `before`: the list that moves are told against. */
async function recommend(body, before = null) {
  latest.abort();
  latest = new AbortController();
  const { signal } = latest;
  const streamed = body.explain === "llm"; // a slate with templates at once, then the model's words
  const asked = { ...body, explain: streamed ? "template" : body.explain };
  const { answer, serverMs, roundTripMs } = await ask("v1/recommend", asked, signal);
  const ids = answer.items.map((item) => item.item_id);
  const moved = before ? moves(before, ids) : new Map();
  drawSlate(answer, moved, body.language, {
    like: (item, card) => run(() => feedBack(item, card, "like")),
    pass: (item, card) => run(() => feedBack(item, card, "skip")),
    why: (item, card) => run(() => toggleWhy(item, card, body)),
  });
  Object.assign(shown, { body, ids });
  byId("latency").textContent = latency("slate", serverMs, roundTripMs);
  markExample(body.user_id);
  run(() => fillIn(body, signal));
  if (streamed) run(() => streamAll(answer.items, body, signal));
  return [...moved.values()];
}

async function fillIn(body, signal) {
  const [user, detailed] = await Promise.all([
    ask(`v1/users/${encodeURIComponent(body.user_id)}`, null, signal),
    ask("v1/recommend", { ...body, explain: "none", details: true }, signal),
  ]);
  drawUser(user.answer);
  drawFiltered(detailed.answer.details);
}

/** The language model's sentences, from the first card down, as the words come. */
async function streamAll(items, body, signal) {
  for (const item of items) {
    const card = byId("slate").children[items.indexOf(item)];
    const line = card.querySelector(".sentence");
    line.ariaBusy = "true";
    let text = "";
    const one = { user_id: body.user_id, item_id: item.item_id, language: body.language };
    for await (const [name, data] of events("v1/explain/stream", { ...one, explain: "llm" }, signal)) {
      text += name === "piece" ? data : "";
      if (name === "explanation") item.explanation = data;
      say(card, name === "piece" ? { text, writer: "writing …" } : data, body.language);
    }
    line.ariaBusy = "false";
  }
}

async function feedBack(item, card, action) {
  const place = shown.ids.indexOf(item.item_id);
  const buttons = card.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  const body = { user_id: shown.body.user_id, item_id: item.item_id, action };
  const { serverMs, roundTripMs } = await ask("v1/feedback", body).finally(() => {
    for (const button of buttons) button.disabled = false;
  });
  const moved = await recommend(shown.body, shown.ids.filter((id) => id !== item.item_id));
  const [up, down, fresh] = [(m) => m > 0, (m) => m < 0, (m) => m === "new"].map(
    (is) => moved.filter(is).length);
  const did = action === "like" ? "Liked" : "Skipped";
  tell(`${did} ${item.title}. Of the rest ${up} moved up, ${down} down; ${fresh} new.`);
  byId("latency").textContent += `; ${latency("feedback", serverMs, roundTripMs)}`;
  focusOn(place);
}

async function toggleWhy(item, card, body) {
  const [button, panel] = [card.querySelector(".ask-why"), card.querySelector(".why")];
  panel.hidden = !panel.hidden;
  button.ariaExpanded = String(!panel.hidden);
  const one = { user_id: body.user_id, item_id: item.item_id, language: body.language };
  if (panel.hidden) return;
  item.explanation = await drawWhy(panel, one, item.explanation);
  say(card, item.explanation, body.language);
}

function latency(what, serverMs, roundTripMs) {
  return `${what}: server ${serverMs.toFixed(1)} ms, round trip ${roundTripMs.toFixed(1)} ms`;
}

function tell(text) {
  byId("status").textContent = text;
}

/** Run what a click started; a refusal is shown, a missing key asked for. */
async function run(act) {
  byId("problem").textContent = "";
  try {
    await act();
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("problem").textContent = error.message;
    if (!(error instanceof Refusal)) throw error;
    if ([401, 403].includes(error.status)) {
      byId("key-field").hidden = false;
      byId("key").focus();
    }
  }
}

async function submit() {
  tell("");
  started ??= start();
  await started.catch((error) => {
    started = null; // the next click tries again, with a key perhaps
    throw error;
  });
  const body = wanted();
  if (!body.user_id) return;
  await recommend(body);
  tell(`${plural(shown.ids.length, "item")} for ${body.user_id}.`);
}

function markExample(user) {
  for (const button of byId("examples").children) {
    button.ariaPressed = String(button.dataset.user === user);
  }
}

function exampleButton(user, note) {
  const button = element("button", "", note);
  button.type = "button";
  button.dataset.user = user;
  button.addEventListener("click", () => {
    byId("user").value = user;
    run(submit);
  });
  return button;
}

/** What there is to try, then the first user's slate. */
async function start() {
  const { answer: health } = await ask("healthz");
  byId("service").textContent =
    `${health.service}, ${plural(health.num_items, "item")}, ${day(health.at)} (${health.clock} clock)`;
  const { answer: examples } = await ask("v1/examples");
  byId("category").append(...examples.categories.map((name) => new Option(name, name)));
  const buttons = examples.users.map((one) =>
    exampleButton(one.user_id, `${one.user_id} · ${one.num_items}`));
  const stranger = `new-${Math.random().toString(36).slice(2, 8)}`;
  byId("examples").replaceChildren(...buttons, exampleButton(stranger, "somebody new"));
  const user = byId("user");
  if (document.activeElement !== user) { // nobody is typing there
    user.value ||= examples.users[0]?.user_id ?? stranger;
  }
}

byId("key").addEventListener("change", (event) => useKey(event.target.value.trim()));
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  run(submit);
});
for (const id of ["explain", "language", "category", "k", "exclude-seen"]) {
  byId(id).addEventListener("change", () => run(submit));
}
run(submit);
