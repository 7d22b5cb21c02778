// The element of one row. What a build printed only ever becomes text.

import { colours } from "./colours.js";
import { PLAIN } from "./sgr.js";

const LONGEST_TITLE = 200;
const MOST_PIECES = 5000;
const UNDERLINES = ["", "solid", "double", "wavy", "dotted", "dashed"];

/** An element with a class and text. */
export function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/**
 * The row of a line: its number, which is its address, its time, its text in lines, of which each is pieces. So many
 * pixels `before` and `after` are not drawn.
 */
export function lineRow({ lines, before = 0, after = 0, number, href, time, continued }) {
  const row = element("div", continued ? "row continued" : "row");
  const count = row.appendChild(element(href ? "a" : "span", "number"));
  if (href && !continued) {
    count.href = href;
    count.tabIndex = -1; // hundreds of them; the log itself has the focus
    count.dataset.number = number;
    count.setAttribute("aria-label", `Line ${number}`);
  }
  row.appendChild(element("span", "time", time));
  row.appendChild(content(lines, before, after));
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
  button.appendChild(element("span", "title", title.length > LONGEST_TITLE ? `${title.slice(0, LONGEST_TITLE)}…` : title));
  button.appendChild(element("span", "detail", detail));
  if (href) row.dataset.href = href;
  return row;
}

/** The button that copies the address of what is marked; it takes no room of its row. */
export function linkButton() {
  const place = element("span", "beside");
  const button = place.appendChild(element("button", "copy-link", "Copy link"));
  button.type = "button";
  button.dataset.action = "link";
  return place;
}

/** How many lines, in words. */
export function counted(lines) {
  return `${lines.toLocaleString("en")} ${lines === 1 ? "line" : "lines"}`;
}

function content(lines, before, after) {
  const made = element("span", "text");
  for (const line of lines) fill(lines.length === 1 ? made : made.appendChild(element("span", "line")), line);
  if (before) made.style.marginLeft = `${before}px`;
  if (after) made.style.marginRight = `${after}px`;
  return made;
}

/** Puts the pieces of a line into an element; those beyond what a browser draws well have no style. */
function fill(made, line) {
  for (const piece of line.slice(0, MOST_PIECES)) made.append(node(piece));
  if (line.length > MOST_PIECES) made.append(line.slice(MOST_PIECES).map(({ text }) => text).join(""));
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
  for (const name of ["bold", "italic"]) if (style[name]) span.classList.add(name);
  const { text, ground, under } = colours(style);
  if (text) span.style.color = text;
  if (ground) span.style.backgroundColor = ground;
  if (text || ground) span.classList.add("coloured");
  const lines = ["underline", "overline", "strike"].filter((name) => style[name]);
  if (lines.length) span.style.textDecorationLine = lines.join(" ").replace("strike", "line-through");
  if (style.underline > 1) span.style.textDecorationStyle = UNDERLINES[style.underline];
  if (style.underline && under) span.style.textDecorationColor = under;
  return span;
}
