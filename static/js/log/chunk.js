// Part of a log: whole lines, as bytes, decoded only where they are looked at.

import { annotation, announced } from "./annotations.js";
import { Buffer } from "./buffer.js";
import { breaks } from "./columns.js";
import { carried, PLAIN } from "./sgr.js";
import { Shown } from "./shown.js";
import { plain, read, Reader, styleAfter } from "./terminal.js";

const [TAB, NEWLINE, ESCAPE, HASH, COLON] = [9, 10, 27, 35, 58];
const LONG = 4096; // bytes of a line that is not read again each time
const READ_AGAIN = 1 << 20; // bytes of a line that is read once more when it ends
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The bytes of lines from `offset` and the line number `line` on; the last one may still grow. */
export class Chunk {
  constructor(data, offset, line) {
    this.offset = offset;
    this.line = line;
    this.buffer = new Buffer();
    this.starts = [0]; // of lines, the last of which may have no bytes yet
    this.styles = [PLAIN];
    this.long = new Map(); // of lines: {end, shown, after}
    this.version = 0; // of the style with which it begins
    this.even = true; // no byte takes more than a column
    this.coloured = false;
    this.append(data);
  }

  get size() {
    return this.buffer.size;
  }

  /** How many lines there are, with the one that has no end yet. */
  get count() {
    return this.starts.length - (this.starts.at(-1) === this.size ? 1 : 0);
  }

  /** How many lines stay as they are whatever follows. */
  get finished() {
    return this.starts.length - 1;
  }

  /** Takes the bytes that follow. */
  append(data) {
    const before = this.size;
    this.buffer.append(data);
    this.coloured ||= data.includes(ESCAPE);
    this.even &&= !this.coloured && !data.includes(TAB);
    for (let at = data.indexOf(NEWLINE); at >= 0; at = data.indexOf(NEWLINE, at + 1)) this.starts.push(before + at + 1);
  }

  /** Has the chunk begin with a style. */
  enter(style) {
    if (style === this.styles[0]) return;
    this.styles = [style];
    this.long.clear();
    this.version++;
  }

  #end(index) {
    return index < this.finished ? this.starts[index + 1] - 1 : this.size;
  }

  #length(index) {
    return this.#end(index) - this.starts[index];
  }

  #text(index) {
    return announced(decoder.decode(this.buffer.slice(this.starts[index], this.#end(index))));
  }

  /** What is shown of a line. */
  shown(index) {
    if (this.#length(index) > LONG) return this.#long(index).shown;
    return new Shown(read(this.#text(index), this.styleAt(index)).pieces);
  }

  /** What a line announces: "error", "warning", "notice" or nothing. */
  announces(index) {
    const start = this.starts[index];
    const begin = this.buffer.slice(start, Math.min(this.#end(index), start + LONG));
    return begin[0] === COLON || begin[0] === HASH ? annotation(decoder.decode(begin)) : undefined;
  }

  /** How many lines of so many columns a line takes. */
  height(index, columns) {
    if (columns === Infinity) return 1;
    const length = this.#length(index);
    if (this.even && length <= columns) return 1;
    return 1 + (length > LONG ? this.shown(index).breaks(columns) : breaks(plain(this.#text(index)), columns)).length;
  }

  /** The offset of a line's first byte in the log. */
  offsetOf(index) {
    return this.offset + this.starts[index];
  }

  /** The style with which a line begins, or after the last one. */
  styleAt(index) {
    if (!this.coloured) return this.styles[0];
    for (let at = this.styles.length - 1; at < index; at++) {
      const after = this.#length(at) > LONG ? this.#long(at).after : styleAfter(this.#text(at), this.styles[at]);
      this.styles.push(carried(after));
    }
    return this.styles[index];
  }

  /** A long line; of one that grows only what is new is read. */
  #long(index) {
    const known = this.long.get(index);
    const end = this.#end(index);
    const ended = index < this.finished;
    if (known?.end === end && known.ended === ended) return known;
    const style = this.styleAt(index);
    let line;
    if (ended && (!known || end - this.starts[index] <= READ_AGAIN)) {
      const found = read(this.#text(index), style);
      line = { shown: new Shown(found.pieces), after: found.style };
    } else {
      const from = known?.end ?? this.starts[index];
      const reader = known?.reader ?? new Reader(style);
      const letters = known?.letters ?? new TextDecoder("utf-8", { ignoreBOM: true });
      const text = letters.decode(this.buffer.slice(from, end), { stream: !ended });
      reader.read(known ? text : announced(text), ended);
      line = { shown: new Shown(reader.line.pieces()), after: reader.style };
      if (!ended) Object.assign(line, { reader, letters });
    }
    Object.assign(line, { end, ended });
    this.long.set(index, line);
    return line;
  }
}
