// A log in chunks of some 64 KiB, of which only those are held that were looked at last.

import { Chunk } from "./chunk.js";
import { carried, PLAIN, styled } from "./sgr.js";

const CHUNK = 64 * 1024;
const HELD = 64;
const NEWLINE = 10;
const [UNKNOWN, NEAR, PASSED, SURE] = [0, 1, 2, 3]; // that of a point before; passed on from such a one; the very one

export class Chunks {
  /** `bytes` reads the log, `points` are [offset, line] of where chunks begin, as in the server's map. */
  constructor(bytes, { points, size, lines }) {
    this.bytes = bytes;
    // `style` is null where it is not known; `sure` says how well it is.
    this.points = points.map(([offset, line]) => ({ offset, line, style: null, sure: UNKNOWN, mapped: true }));
    Object.assign(this.points[0], { style: PLAIN, sure: SURE });
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
    const { offset, line } = this.points[index];
    const chunk = new Chunk(data, offset, line);
    this.held.delete(index);
    this.held.set(index, chunk);
    if (!this.points[index].style) this.#pass(index - 1);
    if (!this.points[index].style) {
      const near = this.points.findLast((point, at) => at < index && point.style);
      Object.assign(this.points[index], { style: near.style, sure: NEAR });
    }
    this.#pass(index);
    for (const oldest of this.held.keys()) {
      if (this.held.size <= HELD) break;
      if (oldest !== index && oldest !== this.count - 1) this.held.delete(oldest);
    }
    return chunk;
  }

  /** Passes styles on, from chunks that are held to those after them. */
  #pass(index) {
    for (; this.points[index]?.style && this.held.has(index); index++) {
      const chunk = this.held.get(index);
      chunk.enter(this.points[index].style);
      const next = this.points[index + 1];
      if (!next || next.sure === SURE) return;
      next.style = carried(chunk.styleAt(chunk.count));
      next.sure = Math.max(PASSED, this.points[index].sure);
    }
  }

  /**
   * Takes what the server says of the styles [offset, parameters] with which chunks begin that begin before `until`:
   * where they change. It knows the chunks of its map; those that were split here have the style of the nearest before.
   */
  know(styles, until) {
    let style = PLAIN;
    let at = 0;
    this.points.forEach((point, index) => {
      while (at < styles.length && styles[at][0] <= point.offset) style = styled(PLAIN, styles[at++][1]);
      const sure = point.mapped && point.offset < until ? SURE : NEAR;
      if (point.sure === SURE || (point.sure >= sure && point.sure > NEAR)) return;
      Object.assign(point, { style, sure });
      this.#pass(index);
    });
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
    this.points.push({ offset: this.size - (data.length - whole), line: this.lines, style: null, sure: UNKNOWN });
    this.#hold(last + 1, data.slice(whole));
  }
}

function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
