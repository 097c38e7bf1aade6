// The other side: what is known of the user, and what the filters kept out.

import { byId, day, element, plural, words } from "./elements.js";

const MAX_SHOWN = 12;

/** Known or new, sources that are silent, history newest first. */
export function drawUser(user) {
  byId("user-title").textContent = `User ${user.user_id}`;
  const missing = user.missing_sources;
  const silent = missing.length ? `no word from ${missing.join(", ")}` : "every source speaks";
  byId("about").textContent = `${user.known_user ? "known" : "new"}, ${silent}`;
  const lines = user.taken.slice(0, MAX_SHOWN).map((one) =>
    element("li", "", one.title, element("small", "", `${one.action} ${day(one.at)}`)));
  if (user.taken.length > MAX_SHOWN) {
    lines.push(element("li", "muted", `and ${user.taken.length - MAX_SHOWN} before`));
  }
  byId("history").replaceChildren(...(lines.length ? lines : [element("li", "muted", "empty")]));
}

/** Items that would rank high and are kept out, each with the reasons. */
export function drawFiltered(details) {
  const counts = Object.entries(details.num_filtered).filter(([, number]) => number);
  byId("counts").replaceChildren(
    element("span", "", `of ${plural(details.num_items, "item")}:`),
    ...counts.map(([reason, number]) => tag(`${number.toLocaleString("en")} ${words(reason)}`)),
    ...(counts.length ? [] : ["none kept out"]),
  );
  const lines = details.filtered.slice(0, MAX_SHOWN).map((item) => {
    const reasons = item.reasons.map((reason) => tag(words(reason)));
    const rank = element("span", "muted", `would rank ${item.rank}`);
    return element("li", "", item.title, element("div", "reasons", ...reasons, rank));
  });
  byId("filtered").replaceChildren(...lines);
}

function tag(text) {
  return element("span", "reason", text);
}
