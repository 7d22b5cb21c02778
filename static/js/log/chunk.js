// Part of a log: whole lines, as bytes, decoded only where they are looked at.

import { Buffer, ROW } from "./buffer.js";
import { breaks } from "./columns.js";
import { PLAIN } from "./sgr.js";
import { pieces, plain, Rewritten, styleAfter } from "./terminal.js";

const [TAB, NEWLINE, ESCAPE] = [9, 10, 27];
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The bytes of whole lines, from `offset` and the line number `line` on. A row is a line; one longer than 4 KiB
 * is cut into rows of so many bytes, or, where it writes over itself, what is left of it into rows of so many columns.
 */
export class Chunk {
  constructor(data, offset, line, style = PLAIN) {
    this.offset = offset;
    this.line = line;
    this.buffer = new Buffer();
    this.starts = [];
    this.lines = [];
    this.styles = [style];
    this.rewritten = new Map(); // of rows: {rewritten, from, to}, which are columns
    this.remade = 0; // how often rows that were there became others
    this.even = true; // no byte takes more than a column
    this.coloured = style !== PLAIN;
    this.#begin(0);
    this.append(data);
  }

  get size() {
    return this.buffer.size;
  }

  get rows() {
    return this.starts.length;
  }

  /** How many rows, from the first one on, stay as they are whatever follows. */
  get fixed() {
    if (this.rows === this.first) return this.rows;
    return this.whole ? this.first : this.rows - 1;
  }

  /** Takes the bytes that follow. */
  append(data) {
    const scanned = this.size;
    this.buffer.append(data);
    this.coloured ||= data.includes(ESCAPE);
    this.even &&= !this.coloured && !data.includes(TAB);
    for (let at = scanned; at < this.size; at = this.from) {
      const found = data.indexOf(NEWLINE, at - scanned);
      const end = found < 0 ? this.size : scanned + found;
      this.#cut(end, found >= 0);
      if (found < 0) break;
      this.line++;
      this.#begin(end + 1);
    }
  }

  #begin(from) {
    this.from = from;
    this.first = this.rows;
    this.whole = null;
  }

  /** Makes the rows of the line that begins at `from`, or of what of it is new. */
  #cut(end, last) {
    const { from, first, rows } = this;
    let at = rows > first ? this.starts[rows - 1] : from;
    if (!this.whole && end - from > ROW && this.buffer.rewrites(at, end)) {
      this.whole = new Rewritten(this.styleAt(first));
      this.fed = from;
      if (rows > first) this.remade++;
      this.#drop(first);
    }
    if (this.whole) {
      this.whole.feed(this.buffer.slice(this.fed, end), last);
      this.fed = end;
      const count = Math.max(1, Math.ceil(this.whole.line.length / ROW));
      this.#drop(first + count);
      this.styles.length = Math.min(this.styles.length, first + 1);
      for (let column = (this.rows - first) * ROW; this.rows < first + count; column += ROW) {
        this.rewritten.set(this.rows, { rewritten: this.whole, from: column, to: column + ROW });
        this.#row(from + this.rows - first);
      }
      return;
    }
    this.#drop(Math.max(first, rows - 1));
    do {
      this.#row(at);
      at = this.buffer.rowEnd(at, end);
    } while (at < end);
  }

  #row(start) {
    this.starts.push(start);
    this.lines.push(this.line);
  }

  #drop(rows) {
    for (let row = rows; row < this.rows; row++) this.rewritten.delete(row);
    this.starts.length = this.lines.length = Math.min(this.rows, rows);
    this.styles.length = Math.min(this.styles.length, rows + 1);
  }

  #end(row) {
    return this.starts[row + 1] ?? (this.rows === this.first ? this.from : this.size);
  }

  #text(row) {
    const bytes = this.buffer.slice(this.starts[row], this.#end(row));
    return decoder.decode(bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes);
  }

  /** What is shown of a row: pieces {text, style}. */
  pieces(row) {
    const its = this.rewritten.get(row);
    return its ? its.rewritten.line.pieces(its.from, its.to) : pieces(this.#text(row), this.styleAt(row));
  }

  /** How many lines of so many columns a row takes. */
  height(row, columns) {
    if (columns === Infinity) return 1;
    const its = this.rewritten.get(row);
    if (!its && this.even && this.#end(row) - this.starts[row] <= columns) return 1;
    return 1 + breaks(its ? its.rewritten.line.text(its.from, its.to) : plain(this.#text(row)), columns).length;
  }

  /** Whether a row goes on with the line of the row before it. */
  continued(row) {
    return row > 0 && this.lines[row] === this.lines[row - 1];
  }

  /** The offset of a row's first byte in the log. */
  offsetOf(row) {
    return this.offset + this.starts[row];
  }

  /** The style with which a row begins, or with which the chunk ends. */
  styleAt(row) {
    if (!this.coloured) return PLAIN;
    for (let at = this.styles.length - 1; at < row; at++) {
      const its = this.rewritten.get(at);
      this.styles.push(its ? its.rewritten.style : styleAfter(this.#text(at), this.styles[at]));
    }
    return this.styles[row];
  }
}
