// Shows the rows that are in sight, out of any number, and keeps in sight what is there.

import { Drawn } from "./drawn.js";
import { ROW_HEIGHT } from "./layout.js";
import { Selecting } from "./selection.js";

const TALLEST = 15_000_000; // pixels; browsers draw no element that is much taller
const OVERSCAN = 400;

export class Viewport {
  /** `make(chunk, index, part)` gives the element of a row; `moved` is called after each drawing. */
  constructor(scroller, chunks, layout, make, moved) {
    Object.assign(this, { scroller, chunks, layout, moved });
    this.spacer = scroller.appendChild(Object.assign(document.createElement("div"), { className: "spacer" }));
    this.layer = scroller.appendChild(Object.assign(document.createElement("div"), { className: "rows" }));
    this.drawn = new Drawn(this.layer, make);
    this.follows = false;
    this.selecting = new Selecting(scroller, () => this.changed());
    this.anchor = { line: 0, delta: 0 };
    this.scheduled = 0;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.changed()).observe(scroller);
  }

  get atEnd() {
    return this.scroller.scrollTop + this.scroller.clientHeight >= this.scroller.scrollHeight - 8;
  }

  // Heights beyond what a browser takes are squeezed: a pixel of the scroll bar is more than one of the log.
  #squeeze() {
    const view = this.scroller.clientHeight;
    return this.layout.height > TALLEST ? (this.layout.height - view) / (TALLEST - view) : 1;
  }

  #scrolled() {
    if (this.scroller.scrollTop !== this.put) {
      this.follows = this.atEnd;
      this.#remember(this.scroller.scrollTop * this.#squeeze());
    }
    this.#schedule();
  }

  #remember(top) {
    const line = this.#place(top);
    this.anchor = { line, delta: top - this.layout.top(line) };
  }

  /** The line at a height. */
  #place(top) {
    const { index, inside } = this.layout.at(top);
    const chunk = this.chunks.get(index);
    if (!chunk) return this.chunks.points[index].line + Math.floor(inside / ROW_HEIGHT);
    const { indexes, tops } = this.layout.rows(chunk);
    const position = Math.max(0, tops.findLastIndex((one) => one <= inside));
    return chunk.line + (indexes[position] ?? 0);
  }

  /** After anything changed: what was in sight stays where it is, or the end stays in sight. */
  changed() {
    this.dirty = true;
    this.#schedule();
  }

  #schedule() {
    this.scheduled ||= requestAnimationFrame(() => {
      this.scheduled = 0;
      this.draw();
    });
  }

  /** Brings a line into sight, a third from the top; returns when it is drawn. */
  async show(line) {
    this.follows = false;
    await this.chunks.load(this.chunks.indexOfLine(line));
    this.anchor = { line, delta: -Math.floor(this.scroller.clientHeight / 3) };
    this.dirty = true;
    this.draw();
  }

  /** Goes to the end and stays there. */
  async follow() {
    this.follows = true;
    await this.chunks.load(this.chunks.count - 1);
    this.dirty = true;
    this.draw();
  }

  /** Stays where it is, whatever is written. */
  stop() {
    this.follows = false;
    this.moved([]);
  }

  /** Whether what is written moves the end out of sight: it is not followed, or something is selected. */
  get stays() {
    return !this.follows || this.selecting.selecting;
  }

  /** The line at the top. */
  get topLine() {
    return this.#place(this.scroller.scrollTop * this.#squeeze());
  }

  #settle() {
    this.dirty = false;
    this.layout.update();
    this.spacer.style.height = `${Math.min(this.layout.height, TALLEST)}px`;
    const top = !this.stays ? Infinity : Math.max(0, this.layout.top(this.anchor.line) + this.anchor.delta);
    this.scroller.scrollTop = Math.min(top / this.#squeeze(), this.scroller.scrollHeight);
    this.put = this.scroller.scrollTop;
    if (!this.stays) this.#remember(this.put * this.#squeeze());
  }

  draw() {
    if (this.dirty) this.#settle();
    const view = this.scroller.clientHeight;
    const top = this.scroller.scrollTop * this.#squeeze();
    const wanted = [];
    let first = null;
    let { index } = this.layout.at(Math.max(0, top - OVERSCAN));
    for (; index < this.chunks.count && this.layout.tops[index] < top + view + OVERSCAN; index++) {
      const start = this.layout.tops[index];
      if (this.layout.tops[index + 1] === start && index < this.chunks.count - 1) continue; // folded away
      const chunk = this.chunks.get(index);
      if (!chunk) {
        this.chunks.load(index).then(() => this.changed(), () => {});
        if (first !== null) break; // what is below comes with it
        continue;
      }
      const { indexes, parts, tops } = this.layout.rows(chunk);
      let position = Math.max(0, tops.findLastIndex((one) => start + one <= top - OVERSCAN));
      for (; position < indexes.length && start + tops[position] < top + view + OVERSCAN; position++) {
        first ??= start + tops[position];
        wanted.push([chunk, indexes[position], parts[position]]);
      }
    }
    this.drawn.show(wanted);
    this.layer.style.transform = `translateY(${this.scroller.scrollTop + (first ?? top) - top}px)`;
    this.moved(wanted);
  }
}
