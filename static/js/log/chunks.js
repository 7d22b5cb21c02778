// A log in chunks of some 64 KiB, of which only those are held that were looked at last.

import { PLAIN } from "./sgr.js";
import { Chunk } from "./chunk.js";

const CHUNK = 64 * 1024;
const HELD = 64;
const NEWLINE = 10;

export class Chunks {
  /** `bytes` reads the log, `points` are [offset, line] of where chunks begin, as in the server's map. */
  constructor(bytes, { points, size, lines }) {
    this.bytes = bytes;
    this.points = points.map(([offset, line]) => ({ offset, line }));
    this.size = size;
    this.lines = lines;
    this.open = false;
    this.held = new Map();
    this.loading = new Map();
    if (size === 0) this.#hold(0, new Uint8Array());
  }

  get count() {
    return this.points.length;
  }

  end(index) {
    return this.points[index + 1]?.offset ?? this.size;
  }

  /** The number of the line after the last one of a chunk. */
  lineEnd(index) {
    return this.points[index + 1]?.line ?? this.lines + (this.open ? 1 : 0);
  }

  indexOfLine(line) {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.points[middle].line <= line) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The chunk, if it is held. */
  get(index) {
    const chunk = this.held.get(index);
    if (chunk) {
      this.held.delete(index);
      this.held.set(index, chunk);
    }
    return chunk;
  }

  /** The chunk, fetched unless it is held. */
  async load(index) {
    const chunk = this.get(index);
    if (chunk) return chunk;
    if (!this.loading.has(index)) {
      this.loading.set(index, this.#fetch(index).finally(() => this.loading.delete(index)));
    }
    return this.loading.get(index);
  }

  async #fetch(index) {
    const { offset } = this.points[index];
    let data = await this.bytes.range(offset, this.end(index));
    // While it came, the chunk may have grown, or have been split.
    while (offset + data.length < this.end(index)) {
      data = joined(data, await this.bytes.range(offset + data.length, this.end(index)));
    }
    data = data.subarray(0, this.end(index) - offset);
    if (index === this.count - 1) this.open = data.length > 0 && data.at(-1) !== NEWLINE;
    return this.#hold(index, data);
  }

  #hold(index, data) {
    const before = this.held.get(index - 1);
    const { offset, line } = this.points[index];
    const chunk = new Chunk(data, offset, line, before ? before.styleAt(before.rows) : PLAIN);
    this.held.delete(index);
    this.held.set(index, chunk);
    for (const oldest of this.held.keys()) {
      if (this.held.size <= HELD) break;
      if (oldest !== index && oldest !== this.count - 1) this.held.delete(oldest);
    }
    return chunk;
  }

  /** Takes bytes that follow those that there are. */
  append(data) {
    for (let at = 0; at < data.length; at += CHUNK) this.#append(data.subarray(at, at + CHUNK));
  }

  #append(data) {
    const last = this.count - 1;
    this.size += data.length;
    let whole = 0; // bytes of lines that end here
    for (let at = data.indexOf(NEWLINE); at >= 0; at = data.indexOf(NEWLINE, whole)) {
      this.lines++;
      whole = at + 1;
    }
    this.open = data.at(-1) !== NEWLINE;
    const tail = this.held.get(last);
    if (whole === 0 || this.size - this.points[last].offset < CHUNK) {
      tail?.append(data);
      return;
    }
    tail?.append(data.subarray(0, whole));
    this.points.push({ offset: this.size - (data.length - whole), line: this.lines });
    this.#hold(last + 1, data.slice(whole));
  }
}

function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
