// The slate: one card an item, marks for what moved, and the focus kept in its place.

import { byId, element, signed, words } from "./elements.js";

/** By item id: places moved up since the earlier list, or "new". */
export function moves(before, after) {
  const old = new Map(before.map((id, place) => [id, place]));
  return new Map(after.map((id, place) => [id, old.has(id) ? old.get(id) - place : "new"]));
}

/** Draw the answer's items. `on` holds what a card's buttons call: like, pass, why. */
export function drawSlate(answer, moved, language, on) {
  const sizes = answer.items.flatMap((item) => Object.values(item.contributions).map(Math.abs));
  const largest = Math.max(...sizes, 1e-9);
  const before = places();
  const cards = answer.items.map((item, place) => {
    const card = byId("card").content.cloneNode(true).firstElementChild;
    card.dataset.item = item.item_id;
    card.querySelector(".rank").textContent = place + 1;
    card.querySelector("h3").textContent = item.title;
    card.querySelector(".channel").textContent = `from ${words(item.channel)}`;
    const chance = Math.round(100 * item.probability);
    card.querySelector(".chance").textContent = `${chance} % against a random item`;
    mark(card.querySelector(".move"), moved.get(item.item_id));
    card.querySelector(".sources").append(...bars(item.contributions, largest));
    say(card, item.explanation, language);
    for (const [name, call] of [[".like", on.like], [".pass", on.pass], [".ask-why", on.why]]) {
      const button = card.querySelector(name);
      button.setAttribute("aria-label", `${button.textContent}: ${item.title}`);
      button.addEventListener("click", () => call(item, card));
    }
    return card;
  });
  byId("slate").replaceChildren(...cards);
  slide(before);
}

/** The explanation of a card; hidden where there is none. */
export function say(card, explanation, language) {
  const line = card.querySelector(".sentence");
  line.hidden = !explanation;
  line.lang = language;
  card.querySelector(".text").textContent = explanation?.text ?? "";
  const writer = explanation?.writer === "model" ? "language model" : explanation?.writer;
  card.querySelector(".writer").textContent = writer ? `— ${writer}` : "";
}

/** Focus on the card in this place, or on the last; on the heading of an empty slate. */
export function focusOn(place) {
  const cards = byId("slate").children;
  const card = cards[Math.min(place, cards.length - 1)];
  (card ? card.querySelector("h3") : byId("slate-title")).focus();
}

function mark(where, moved) {
  if (!moved) return;
  const kind = moved === "new" ? "new" : moved > 0 ? "up" : "down";
  where.classList.add(kind);
  where.textContent = kind === "new" ? "new" : `${kind === "up" ? "▲ up" : "▼ down"} ${Math.abs(moved)}`;
}

function bars(contributions, largest) {
  const order = Object.entries(contributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  return order.map(([source, value]) => {
    const bar = element("span", `bar ${value < 0 ? "minus" : "plus"}`);
    bar.style.width = `${(50 * Math.abs(value)) / largest}%`;
    const track = element("span", "track", bar);
    track.ariaHidden = "true";
    const name = element("span", "name", source);
    return element("li", "", name, track, element("span", "value", signed(value)));
  });
}

function places() {
  const cards = [...byId("slate").children];
  return new Map(cards.map((card) => [card.dataset.item, card.getBoundingClientRect().top]));
}

/** Cards that were there before slide from where they were. */
function slide(before) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const card of byId("slate").children) {
    const top = card.getBoundingClientRect().top;
    const from = before.has(card.dataset.item) ? before.get(card.dataset.item) - top : 24;
    const frames = [{ transform: `translateY(${from}px)` }, { transform: "none" }];
    if (from) card.animate(frames, { duration: 260, easing: "ease-out" });
  }
}
