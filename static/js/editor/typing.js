// Enter keeps the indentation, Tab indents and Shift+Tab unindents, each so that undo takes it back.
// Escape lets the next Tab leave the field.

import { indentOf, isText, scan } from "./yaml.js";

const STEP = 2; // spaces
const MOST_LINES = 200; // that are put in so that undo takes them back: browsers take tens of milliseconds for each
const AFTER_DASHES = /^ *(?:- +)*/;

let replaces = false;

/** Whether it is `replace` that changes a text, rather than somebody who types. */
export function isReplacing() {
  return replaces;
}

/** Puts `fresh` in the place of what is between two places of a text, as if it was typed. */
export function replace(text, from, to, fresh) {
  replaces = true;
  text.setSelectionRange(from, to);
  const isLong = fresh.split("\n", MOST_LINES + 1).length > MOST_LINES;
  const put = () => (fresh ? document.execCommand("insertText", false, fresh) : from === to || document.execCommand("delete"));
  if (isLong || !put()) {
    text.setRangeText(fresh, from, to, "end");
    text.dispatchEvent(new Event("input", { bubbles: true }));
  }
  replaces = false;
}

/** The indentation after a line, of which `head` is what stands before the cursor. */
export function indentAfter(head, state) {
  const own = indentOf(head);
  if (isText(head, state)) return own;
  const { pieces, state: after } = scan(head, state);
  if (after.block >= 0) return after.block + STEP; // a script begins
  if (after.depth > state.depth) return own + STEP;
  const said = pieces.filter(([piece, kind]) => kind !== "comment" && piece.trim());
  const lead = AFTER_DASHES.exec(head)[0].length;
  if (said.length && said.at(-1)[0] === ":") return lead + STEP;
  return said.find(([piece]) => piece !== "-")?.[1] === "key" ? lead : own;
}

function newLine(text, lines) {
  const [row, column] = lines.at(text.selectionStart);
  const head = lines.all[row].slice(0, column);
  replace(text, text.selectionStart, text.selectionEnd, `\n${" ".repeat(indentAfter(head, lines.before(row)))}`);
}

function indent(text, back) {
  const { value, selectionStart: from, selectionEnd: to } = text;
  const start = from ? value.lastIndexOf("\n", from - 1) + 1 : 0;
  if (from === to && !back) {
    replace(text, from, to, " ".repeat(STEP - ((from - start) % STEP)));
    return;
  }
  // A line of which a selection has but the beginning is not in it.
  const last = value.indexOf("\n", to > from && value[to - 1] === "\n" ? to - 1 : to);
  const end = last < 0 ? value.length : last;
  const old = value.slice(start, end);
  const shift = (line) => (back ? line.replace(/^(?: {1,2}|\t)/, "") : line && " ".repeat(STEP) + line);
  const fresh = old.split("\n").map(shift).join("\n");
  if (fresh === old) return;
  const [first] = old.split("\n", 1);
  replace(text, start, end, fresh);
  text.setSelectionRange(Math.max(start, from + shift(first).length - first.length), Math.max(start, to + fresh.length - old.length));
}

/** Listens to the keys of a text, but for those of which `taken` says that it took them. */
export function listen(text, lines, taken) {
  let leaves = false;
  text.addEventListener("blur", () => (leaves = false));
  text.addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.isComposing) return;
    if (taken(event)) {
      // It is done.
    } else if (key === "Tab" && !leaves && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      indent(text, event.shiftKey);
    } else if (key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      newLine(text, lines);
    } else if (key === "s" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      text.form.requestSubmit(text.form.querySelector("[data-save]"));
    }
    if (key !== "Shift") leaves = key === "Escape";
  });
}
