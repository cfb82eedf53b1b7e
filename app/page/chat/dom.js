/** Building elements. Children that are strings become text, never markup. */

/** `h("button.primary", {onclick, "aria-label": "…"}, "Send")`: properties when the element has them, else attributes. */
export function h(selector, properties = {}, ...children) {
  const [name, ...classes] = selector.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on") || (key in element && !key.includes("-"))) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v11H9zM6 15H5V4h10v2",
  check: "M5 13l4 4L19 7",
  close: "M6 6l12 12M18 6L6 18",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  chart: "M5 20V10M12 20V4M19 20v-7",
  theme: "M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5z",
  user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20c1-4 4-5.5 7.5-5.5s6.5 1.5 7.5 5.5",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 12.2L19.5 4M15.5 8l3 3",
  down: "M12 5v14M6 13l6 6 6-6",
  again: "M4 12a8 8 0 1 0 2.5-5.8M4 4v4h4",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}

/** A square button with an icon; `label` is what it is called and shown on hover. */
export function iconButton(name, label, onclick, properties = {}) {
  return h("button.icon-button", { type: "button", title: label, "aria-label": label, onclick, ...properties }, icon(name));
}

export function say(text) {
  document.getElementById("live").textContent = text;
}
