// Columns: how many of them characters take, and where a line is broken that has more than there are.

import { width } from "./widths.js";

const NARROW = /^[\x20-\x7e]*$/;
const TAB = 8;

/** Where a text is broken into lines of so many columns: the indexes at which its second line begins, its third … */
export function breaks(text, columns) {
  if (text.length <= columns && (columns === Infinity || NARROW.test(text))) return [];
  const found = [];
  if (NARROW.test(text)) {
    for (let at = columns; at < text.length; at += columns) found.push(at);
    return found;
  }
  let used = 0;
  for (let at = 0; at < text.length; ) {
    const code = text.codePointAt(at);
    let width = columnsOf(code, used);
    if (used + width > columns && used > 0) {
      found.push(at);
      used = 0;
      width = columnsOf(code, used);
    }
    used += width;
    at += code > 0xffff ? 2 : 1;
  }
  return found;
}

/** How many columns a text takes in one line. */
export function columnsIn(text) {
  if (NARROW.test(text)) return text.length;
  let used = 0;
  for (const character of text) used += columnsOf(character.codePointAt(0), used);
  return used;
}

function columnsOf(code, used) {
  return code === 9 ? TAB - (used % TAB) : width(code);
}
