// The element of one row. What a build printed only ever becomes text.

import { PLAIN, pieces } from "./ansi.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"'`\x00-\x1f]+[^\s<>"'`\x00-\x1f.,;:!?)\]}]/g;

/** An element with a class and text. */
export function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** The row of a line: its number, which is its address, its time, its text. */
export function lineRow({ text, style, number, href, time, continued }) {
  const row = element("div", continued ? "row continued" : "row");
  const count = row.appendChild(element(href ? "a" : "span", "number"));
  if (href && !continued) {
    count.href = href;
    count.tabIndex = -1; // hundreds of them; the log itself has the focus
    count.dataset.number = number;
    count.setAttribute("aria-label", `Line ${number}`);
  }
  row.appendChild(element("span", "time", time));
  row.appendChild(content(text, style));
  return row;
}

/** The row of a step or of a group, which opens and closes what is below it. */
export function foldRow({ title, detail, status, icon, closed, className, href }) {
  const row = element("div", `row fold ${className}`);
  const button = row.appendChild(element("button", "toggle"));
  button.type = "button";
  button.setAttribute("aria-expanded", String(!closed));
  if (status) {
    const mark = button.appendChild(element("span", `mark ${status}`, icon));
    mark.setAttribute("aria-hidden", "true");
  }
  button.appendChild(element("span", "title", title));
  button.appendChild(element("span", "detail", detail));
  if (href) row.dataset.href = href;
  return row;
}

function content(text, style) {
  const made = element("span", "text");
  for (const piece of pieces(text, style)) made.append(...linked(piece));
  return made;
}

function linked({ text, style }) {
  if (style.link) return [styled(link(style.link, text), style)];
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(ADDRESS)) {
    if (match.index > from) nodes.push(styled(text.slice(from, match.index), style));
    nodes.push(styled(link(match[0], match[0]), style));
    from = match.index + match[0].length;
  }
  if (from < text.length) nodes.push(styled(text.slice(from), style));
  return nodes;
}

function link(address, text) {
  const made = element("a", "", text);
  made.href = address;
  made.target = "_blank";
  made.rel = "noopener noreferrer";
  return made;
}

function styled(node, style) {
  if (style === PLAIN) return node;
  const span = document.createElement("span");
  span.append(node);
  for (const name of ["bold", "dim", "italic", "underline", "strike"]) {
    if (style[name]) span.classList.add(name);
  }
  const [fg, bg] = style.inverse ? [style.bg ?? "back", style.fg ?? "fore"] : [style.fg, style.bg];
  colour(span, "color", "fg", fg);
  colour(span, "backgroundColor", "bg", bg);
  return span;
}

function colour(span, property, prefix, value) {
  if (value === null) return;
  if (typeof value === "string" && value.startsWith("rgb")) span.style[property] = value;
  else span.classList.add(`${prefix}-${value}`);
}
