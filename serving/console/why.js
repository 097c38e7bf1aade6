// "Why?": the facts behind one item, which of them the sentence tells, and what if one were missing.

import { ask } from "./ask.js";
import { day, element, plural, signed } from "./elements.js";

const SAID = {
  history: (fact) => [`you: ${fact.action || "took up"}`, `“${fact.name}”`, day(fact.at)].join(" "),
  term: (fact) => `“${fact.name}”, also in ${plural(fact.entity_ids.length, "item")} you took up`,
  friends: (fact) => `${plural(fact.number, "person")} linked to you took it up lately`.replace("persons", "people"),
  popularity: (fact) => `among the ${fact.number} most popular lately`,
  text: (fact) => `its text is closer to your words than ${fact.number} % of the catalogue`,
};

/** The panel's content; returns the explanation that it belongs to. `body` is what /v1/explain is
 * asked with. A slate's template knows no weights, so one asked about alone takes its place. */
export async function drawWhy(panel, body, shown) {
  const { answer } = await ask("v1/explain", { ...body, explain: "template" });
  const explanation = shown?.writer === "template" ? answer.item.explanation : shown;
  const told = new Set(explanation?.statements.flatMap((one) => one.evidence) ?? []);
  const button = element("button", "", "What if a source were missing?");
  button.type = "button";
  const found = element("ul", "what-if");
  found.setAttribute("aria-live", "polite");
  button.addEventListener("click", () => drawWhatIf(button, found, body));
  panel.replaceChildren(
    element("h4", "", "Evidence"), evidence(answer.evidence, told),
    ...turnedDown(explanation), button, found,
  );
  return explanation;
}

function evidence({ facts }, told) {
  if (!facts.length) return element("p", "muted", "Nothing is known that may be said of it.");
  const rows = facts.map((fact) => element("tr", "",
    element("td", "", (SAID[fact.kind] ?? (() => fact.name))(fact)),
    element("td", "", fact.source),
    element("td", "", fact.weight === null ? "" : signed(fact.weight, 3)),
    element("td", "", told.has(fact.id) ? "yes" : ""),
  ));
  const names = ["What is known", "Source", "Weight", "Said"].map((name) => {
    const head = element("th", "", name);
    head.scope = "col";
    return head;
  });
  const head = element("thead", "", element("tr", "", ...names));
  return element("table", "", head, element("tbody", "", ...rows));
}

function turnedDown(explanation) {
  if (!explanation?.rejected.length) return [];
  const lines = explanation.rejected.map((text) => element("li", "", text));
  return [element("h4", "", "Turned down by the checker"), element("ul", "", ...lines)];
}

async function drawWhatIf(button, list, body) {
  button.disabled = true;
  const asked = { ...body, explain: "template", counterfactuals: true };
  const { answer } = await ask("v1/explain", asked);
  const lines = answer.counterfactuals.map((one) => element("li", "", one.text));
  list.lang = body.language;
  list.replaceChildren(...(lines.length ? lines : [element("li", "", "No source speaks of it.")]));
}
