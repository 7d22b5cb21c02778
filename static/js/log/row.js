// The element of one row. What a build printed only ever becomes text.

import { breaks } from "./columns.js";
import { PLAIN } from "./sgr.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"'`\x00-\x1f]+[^\s<>"'`\x00-\x1f.,;:!?)\]}]/g;

/** An element with a class and text. */
export function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** The row of a line: its number, which is its address, its time, its text in lines of so many columns. */
export function lineRow({ pieces, columns, number, href, time, continued }) {
  const row = element("div", continued ? "row continued" : "row");
  const count = row.appendChild(element(href ? "a" : "span", "number"));
  if (href && !continued) {
    count.href = href;
    count.tabIndex = -1; // hundreds of them; the log itself has the focus
    count.dataset.number = number;
    count.setAttribute("aria-label", `Line ${number}`);
  }
  row.appendChild(element("span", "time", time));
  row.appendChild(content(pieces, columns));
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

function content(pieces, columns) {
  const made = element("span", "text");
  const parts = pieces.flatMap(linked);
  const ends = breaks(pieces.map(({ text }) => text).join(""), columns);
  if (!ends.length) made.append(...parts.map(node));
  else made.append(...lines(parts, ends).map((line) => {
    const shown = element("span", "line");
    shown.append(...line.map(node));
    return shown;
  }));
  return made;
}

/** Parts cut into lines, at indexes of their text. */
function lines(parts, ends) {
  const found = [[]];
  let at = 0;
  for (const part of parts) {
    let from = 0;
    for (let end; (end = ends[found.length - 1]) < at + part.text.length; from = end - at) {
      if (end > at + from) found.at(-1).push({ ...part, text: part.text.slice(from, end - at) });
      found.push([]);
    }
    found.at(-1).push({ ...part, text: part.text.slice(from) });
    at += part.text.length;
  }
  return found;
}

/** A piece in parts {text, style, href}, some of which are links. */
function linked({ text, style }) {
  if (style.link) return [{ text, style, href: style.link }];
  const parts = [];
  let from = 0;
  for (const { 0: href, index } of text.matchAll(ADDRESS)) {
    if (index > from) parts.push({ text: text.slice(from, index), style });
    parts.push({ text: href, style, href });
    from = index + href.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from), style });
  return parts;
}

function node({ text, style, href }) {
  return styled(href ? link(href, text) : text, style);
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
