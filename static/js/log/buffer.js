// Bytes that grow, and what can be said of them without reading them as text.

import { isUnfinished, rewrites } from "./terminal.js";

export const ROW = 4096; // bytes of a row at most
const ESCAPE = 27;
const REWRITING = [8, 13, ESCAPE];
const ascii = new TextDecoder("latin1");

export class Buffer {
  constructor() {
    this.bytes = new Uint8Array();
    this.size = 0;
  }

  append(data) {
    const size = this.size + data.length;
    if (this.size === 0) this.bytes = data; // most chunks come whole
    else {
      if (size > this.bytes.length) {
        // Twice as much: many small pieces are then not copied again and again.
        const wider = new Uint8Array(2 * size);
        wider.set(this.slice(0, this.size));
        this.bytes = wider;
      }
      this.bytes.set(data, this.size);
    }
    this.size = size;
  }

  slice(from, to) {
    return this.bytes.subarray(from, to);
  }

  /** Whether what stands between two positions writes over itself. */
  rewrites(from, to) {
    const bytes = this.slice(from, to);
    return REWRITING.some((byte) => bytes.includes(byte)) && rewrites(ascii.decode(bytes));
  }

  /** Where a row ends that begins at `start`: within no character and no escape sequence. */
  rowEnd(start, end) {
    let at = start + ROW;
    if (at >= end) return end;
    for (let back = 0; back < 3 && (this.bytes[at] & 0xc0) === 0x80; back++) at--;
    const escape = start + 1 + this.slice(start + 1, at).lastIndexOf(ESCAPE);
    return escape > start && isUnfinished(ascii.decode(this.slice(escape, at))) ? escape : at;
  }
}
