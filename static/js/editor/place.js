// Where in the pipeline language a cursor stands, and what can be written there.

import { indentOf, isText } from "./yaml.js";

const ITEM = "-"; // in a path: an item of a list
const KEY = /(?:"([^"]*)"|'([^']*)'|([\w.-]+)) *:(?= |$)/y;
const WORD = /^[\w./-]*$/;
const ANY_NAME = "*"; // the key of a place where the definition chooses the names
const DEEPEST = 20; // levels, as the server takes them
const FAR = 2000; // rows that are looked at in each direction, so that it takes less than a key in any text

/** The dashes at the beginning of a line and the key after them, each with its column. */
function tokens(line) {
  const found = [];
  let at = indentOf(line);
  while (line[at] === "-" && (line[at + 1] ?? " ") === " ") {
    found.push({ column: at++, name: ITEM });
    while (line[at] === " ") at++;
  }
  KEY.lastIndex = at;
  const key = KEY.exec(line);
  if (key) found.push({ column: at, name: key[1] ?? key[2] ?? key[3], end: KEY.lastIndex, isKey: true });
  return { found, end: at };
}

/** The path to what stands at a column of a row, and the keys that its mapping has besides; null if that is far away. */
function around(lines, row, column, dashes) {
  const path = [];
  const used = new Set();
  let limit = column;
  let inItem = false;
  const climb = (token) => {
    if (token.column < limit || (token.column === limit && token.isKey && inItem)) {
      path.unshift(token.name);
      limit = token.column;
      inItem = !token.isKey;
    } else if (!path.length && token.column === column && token.isKey) used.add(token.name);
  };
  const read = (line) => (/^ *(?:#|$)/.test(line) ? [] : tokens(line).found);
  dashes.toReversed().forEach(climb);
  const top = Math.max(0, row - FAR);
  let above = row - 1;
  for (; above >= top && (limit > 0 || inItem); above--) {
    if (!lines.isText(above)) read(lines.all[above]).toReversed().forEach(climb);
  }
  if (path.length > DEEPEST || (top > 0 && above < top)) return null;
  if (!path.length) for (above = row - 1; above >= top; above--) if (!lines.isText(above)) read(lines.all[above]).forEach(climb);
  for (let below = row + 1; below < Math.min(lines.all.length, row + FAR); below++) {
    const [first] = lines.isText(below) ? [] : read(lines.all[below]);
    if (first && first.column < column) break;
    if (first?.isKey && first.column === column) used.add(first.name);
  }
  return { path, used };
}

/** The path to the end of `text`, which begins with a bracket, below `path`; null where it is closed. */
function inBrackets(text, path) {
  const open = [];
  let here = path;
  let start = 0;
  let isValue = true;
  let used = new Set();
  for (let at = 0; at < text.length; at++) {
    const sign = text[at];
    if (sign === '"' || sign === "'") {
      at = text.indexOf(sign, at + 1);
      if (at < 0) return null;
    } else if (sign === "{" || sign === "[") {
      open.push({ here, used, isMap: sign === "{" });
      if (open.length > DEEPEST) return null;
      used = new Set();
      isValue = sign === "[";
      if (isValue) here = [...here, ITEM];
      start = at + 1;
    } else if (sign === "}" || sign === "]") {
      if (!open.length) return null;
      ({ here, used } = open.pop());
      isValue = true;
      start = text.length + 1; // nothing can be written until a comma
    } else if (sign === "," && open.length) {
      isValue = !open.at(-1).isMap;
      here = isValue ? [...open.at(-1).here, ITEM] : open.at(-1).here;
      start = at + 1;
    } else if (sign === ":" && open.at(-1)?.isMap && (text[at + 1] ?? " ") === " ") {
      const name = text.slice(start, at).trim();
      used.add(name);
      here = [...open.at(-1).here, name];
      isValue = true;
      start = at + 1;
    }
  }
  if (!open.length || start > text.length) return null;
  return { path: here, word: text.slice(start).trimStart(), isValue, used };
}

/** What stands at a place: the path to it, the word before it, and whether that is a value; or null. */
export function placeAt(lines, row, column) {
  const head = lines.all[row].slice(0, column);
  if (isText(`${head}x`, lines.before(row))) return null; // as if one typed there
  const { found, end } = tokens(head);
  const key = found.find((token) => token.isKey);
  if (!key) {
    const word = head.slice(end);
    if (!WORD.test(word)) return null;
    const place = around(lines, row, end, found);
    return place && { ...place, word, isValue: false, column: end, isFlow: false };
  }
  const value = head.slice(key.end).trimStart();
  if (value.length === head.length - key.end && value) return null; // no space after the colon
  const place = around(lines, row, key.column, found.filter((token) => !token.isKey));
  if (!place) return null;
  const below = [...place.path, key.name];
  if (/^[[{]/.test(value)) {
    const inside = inBrackets(value, below);
    return inside && WORD.test(inside.word) ? { ...inside, column: column - inside.word.length, isFlow: true } : null;
  }
  return WORD.test(value) ? { path: below, word: value, isValue: true, used: new Set(), column: column - value.length } : null;
}

/** What can be written at a place: names with what they mean, and of keys the form of their values. */
export function choices(place, places) {
  let keys = places.pipeline;
  let entry = null;
  for (const name of place.path) {
    if (name === ITEM) continue;
    entry = Object.hasOwn(keys ?? {}, name) ? keys[name] : keys?.[ANY_NAME];
    if (!entry) return [];
    keys = places[entry.inside];
  }
  const isItem = place.path.at(-1) === ITEM;
  const values = Object.entries(entry?.values ?? {}).map(([name, meaning]) => ({ name, meaning }));
  if (place.isValue || (isItem && entry?.form !== "list")) return values;
  if (isItem && !keys) return values;
  const dash = entry?.form === "list" && !isItem;
  return Object.entries(keys ?? {})
    .filter(([name]) => name !== ANY_NAME && !place.used.has(name))
    .map(([name, { meaning, form }]) => ({ name, meaning, form, dash }));
}
