// One line of YAML at a time, cut into pieces as editors colour it. Linear in the length of the line.

/** What holds where a text begins: no script, no text in quotes and no bracket is open. */
export const START = { block: -1, quote: "", depth: 0 };

const IN_QUOTES = { '"': /(?:[^"\\]|\\.|\\$)*("?)/y, "'": /(?:[^']|'')*('?)/y };
const HEADER = /[|>][-+0-9]{0,9}(?=\s*(?:#|$))/y;
const TAG = /[&*!][^\s,[\]{}]*/y;
const SPACE = /\s+/y;
const AFTER_KEY = /\s*:(?=\s|$)/y;
const AFTER_KEY_IN_BRACKETS = /\s*:/y;
const END = /:(?=\s|$)|\s#/g; // of a value without quotes
const END_IN_BRACKETS = /:(?=\s|$|[,[\]{}])|\s#|[,[\]{}]/g;
const NUMBER = /^[-+]?\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?$/;
const WORDS = new Set(["true", "false", "null", "~"]);

function reach(pattern, line, from) {
  pattern.lastIndex = from;
  return pattern.exec(line);
}

/** The spaces at the beginning of a line. */
export function indentOf(line) {
  let count = 0;
  while (line[count] === " ") count++;
  return count;
}

/** Whether a line that begins with `state` is part of a script, or of a text in quotes that began before it. */
export function isText(line, state) {
  if (state.quote) return true;
  const indent = indentOf(line);
  return state.block >= 0 && (indent > state.block || indent === line.length);
}

/** The pieces of a line, each its text and its kind ("" for none), and what holds after it. */
export function scan(line, state) {
  if (!state.quote && isText(line, state)) return { pieces: [[line, "block"]], state };
  const pieces = [];
  let { quote, depth } = state;
  let block = -1;
  let column = -1; // of the last dash or key
  let fresh = true; // nothing but dashes yet
  let at = 0;
  const take = (end, kind) => {
    if (end > at) pieces.push([line.slice(at, end), kind]);
    at = end;
  };
  const quoted = (from) => {
    const [inside, closing] = reach(IN_QUOTES[quote], line, from);
    const end = from + inside.length;
    const isKey = closing && reach(depth ? AFTER_KEY_IN_BRACKETS : AFTER_KEY, line, end);
    if (isKey) column = at;
    take(end, isKey ? "key" : "string");
    if (closing) quote = "";
  };
  if (quote) quoted(0);
  while (at < line.length) {
    const first = line[at];
    const space = reach(SPACE, line, at);
    if (space) {
      take(at + space[0].length, "");
    } else if (first === "#" && (at === 0 || /\s/.test(line[at - 1]))) {
      take(line.length, "comment");
    } else if (fresh && !depth && first === "-" && /^\s?$/.test(line.slice(at + 1, at + 2))) {
      column = at;
      take(at + 1, "mark");
    } else {
      fresh = false;
      const header = depth ? null : reach(HEADER, line, at);
      const tag = reach(TAG, line, at);
      if (first in IN_QUOTES) {
        quote = first;
        quoted(at + 1);
      } else if (header) {
        block = column < 0 ? indentOf(line) - 1 : column;
        take(at + header[0].length, "mark");
      } else if (tag) {
        take(at + tag[0].length, "tag");
      } else if ("[]{}:".includes(first) || (first === "," && depth)) {
        if (first === "[" || first === "{") depth++;
        else if (first !== ":" && first !== ",") depth = Math.max(0, depth - 1);
        take(at + 1, "mark");
      } else {
        const end = reach(depth ? END_IN_BRACKETS : END, line, at);
        const value = line.slice(at, end ? end.index : line.length).trimEnd();
        const isKey = end?.[0] === ":";
        if (isKey) column = at;
        take(at + value.length, isKey ? "key" : NUMBER.test(value) || WORDS.has(value) ? "number" : "");
      }
    }
  }
  const after = block < 0 && !quote && !depth ? START : { block, quote, depth };
  return { pieces, state: after };
}
