// Part of a log: whole lines, as bytes, decoded only where they are looked at.

import { PLAIN, styleAfter } from "./ansi.js";

const ROW = 4096;
const NEWLINE = 10;
const decoder = new TextDecoder();

/** The bytes of whole lines, from `offset` and the line number `line` on, cut into rows of at most 4 KiB. */
export class Chunk {
  constructor(data, offset, line, style = PLAIN) {
    this.data = data;
    this.offset = offset;
    const starts = [];
    const lines = [];
    for (let at = 0; at < data.length; line++) {
      const found = data.indexOf(NEWLINE, at);
      const end = found < 0 ? data.length : found;
      do {
        starts.push(at);
        lines.push(line);
        at = Math.min(end, at + ROW);
        while (at < end && (data[at] & 0xc0) === 0x80) at--;
      } while (at < end);
      at = end + 1;
    }
    this.rows = starts.length;
    this.starts = starts;
    this.lines = lines;
    this.style = style;
    this.styles = data.includes(0x1b) || style !== PLAIN ? null : undefined;
  }

  /** The text of a row, with what controls a terminal in it. */
  text(row) {
    const next = row + 1 < this.rows ? this.starts[row + 1] : this.data.length;
    const end = next > this.starts[row] && this.data[next - 1] === NEWLINE ? next - 1 : next;
    return decoder.decode(this.data.subarray(this.starts[row], end));
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
    if (this.styles === undefined) return PLAIN;
    if (this.styles === null) {
      this.styles = [this.style];
      for (let at = 0; at < this.rows; at++) this.styles.push(styleAfter(this.text(at), this.styles[at]));
    }
    return this.styles[row];
  }
}
