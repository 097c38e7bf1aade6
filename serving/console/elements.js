// Small pieces of page. Text from the server enters as text, never as markup.

export function byId(id) {
  return document.getElementById(id);
}

/** An element with a class and children; strings become text. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function signed(number, digits = 2) {
  const size = Math.abs(number).toFixed(digits);
  return Number(size) === 0 ? size : `${number < 0 ? "−" : "+"}${size}`;
}

export function plural(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

export function words(name) {
  return name.replaceAll("_", " ");
}

export function day(at) {
  const options = { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" };
  return at ? new Date(at).toLocaleDateString("en-GB", options) : "";
}
