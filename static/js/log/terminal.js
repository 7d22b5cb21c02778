// What is shown of a line. Heights, rows, columns, links, copies: all of them ask here, so that they agree.
//
// Output may be hostile: every pattern and every loop here is linear in what was printed.

import { Line } from "./line.js";
import { linked, styled } from "./sgr.js";

// A control sequence, an operating system command (up to the next escape, if nothing ends it), another escape, or a
// control character. The server's search reads them alike.
const ESCAPE = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\]([^\x07\x1b]*)(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
const UNFINISHED = /^\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[ -/]*)$/;
// A carriage return that something follows, a backspace, a part that is erased, a cursor that moves.
const REWRITES = /\r[^\r]|\x08|\x1b\[[0-?]*[ -/]*[KGCD]/;
const LONGEST_ESCAPE = 4096;

/** Whether a line writes over itself. Then a part of it says nothing of what is shown. */
export function rewrites(text) {
  return REWRITES.test(text);
}

/** Whether a text that begins with an escape character ends before the sequence does. */
export function isUnfinished(text) {
  return UNFINISHED.test(text);
}

/** What is shown of a text that begins with `style`: pieces {text, style}. */
export function pieces(text, style) {
  if (!CONTROL.test(text)) return text ? [{ text, style }] : [];
  if (rewrites(text)) return whole(text, style).pieces();
  const found = [];
  const write = (piece, its) => piece && found.push({ text: piece, style: its });
  read(text, style, { write, move() {} });
  return found;
}

/** What is shown of a text, without styles. */
export function plain(text) {
  if (!CONTROL.test(text)) return text;
  if (rewrites(text)) return whole(text, null).text();
  return text.replace(ESCAPE, (all) => visible(all));
}

/** The style at the end of a text that begins with `style`. */
export function styleAfter(text, style) {
  return text.includes("\x1b") ? read(text, style, { write() {}, move() {} }) : style;
}

function whole(text, style) {
  const line = new Line();
  read(text, style, line);
  return line;
}

/** Reads a text into a line; gives the style at the end. Without `style` there are none. */
function read(text, style, line) {
  let from = 0;
  for (const match of text.matchAll(ESCAPE)) {
    if (match.index > from) line.write(text.slice(from, match.index), style);
    const [all, parameters, final, command] = match;
    from = match.index + all.length;
    if (final === "m") style = style && styled(style, parameters);
    else if (final) line.move(final, Number(parameters.split(";", 1)[0]) || 0);
    else if (command !== undefined) style = style && linked(style, command);
    else if (all === "\r") line.move("G", 1);
    else if (all === "\b") line.move("D", 1);
    else if (visible(all)) line.write(visible(all), style);
  }
  if (from < text.length) line.write(text.slice(from), style);
  return style;
}

/** A control character as its picture, so that it is seen and harmless; nothing of one that is obeyed. */
function visible(all) {
  if (all.length > 1 || "\r\b\x07\x1b".includes(all)) return "";
  return String.fromCharCode(all === "\x7f" ? 0x2421 : 0x2400 + all.charCodeAt(0));
}

/** A long line that writes over itself, and may go on to do so: what comes is read, not all of it again. */
export class Rewritten {
  constructor(style) {
    this.style = style;
    this.line = new Line();
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.rest = "";
  }

  /** Takes the bytes that follow; `last` says that none do after them. */
  feed(bytes, last) {
    let text = this.rest + this.decoder.decode(bytes, { stream: !last });
    const escape = last ? -1 : text.lastIndexOf("\x1b");
    const held = escape >= 0 && text.length - escape <= LONGEST_ESCAPE && isUnfinished(text.slice(escape));
    this.rest = held ? text.slice(escape) : "";
    if (held) text = text.slice(0, escape);
    this.style = read(text, this.style, this.line);
  }
}
