// Shows the rows that are in sight, out of any number, and keeps in sight what is there.

import { ROW_HEIGHT } from "./layout.js";

const TALLEST = 15_000_000; // pixels; browsers draw no element that is much taller
const OVERSCAN = 400;

export class Viewport {
  /** `make(chunk, row)` gives the element of a row; `moved` is called after each drawing. */
  constructor(scroller, chunks, layout, make, moved) {
    Object.assign(this, { scroller, chunks, layout, make, moved });
    this.spacer = scroller.appendChild(Object.assign(document.createElement("div"), { className: "spacer" }));
    this.layer = scroller.appendChild(Object.assign(document.createElement("div"), { className: "rows" }));
    this.shown = new Map();
    this.follows = false;
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
    const { index, inside } = this.layout.at(top);
    const chunk = this.chunks.get(index);
    let line = this.chunks.points[index].line + Math.floor(inside / ROW_HEIGHT);
    if (chunk) {
      const { indexes, tops } = this.layout.rows(chunk);
      const position = Math.max(0, tops.findLastIndex((one) => one <= inside));
      line = chunk.lines[indexes[position]] ?? this.chunks.points[index].line;
    }
    this.anchor = { line, delta: top - this.layout.top(line) };
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

  #settle() {
    this.dirty = false;
    this.layout.update();
    this.spacer.style.height = `${Math.min(this.layout.height, TALLEST)}px`;
    const top = this.follows ? Infinity : Math.max(0, this.layout.top(this.anchor.line) + this.anchor.delta);
    this.scroller.scrollTop = Math.min(top / this.#squeeze(), this.scroller.scrollHeight);
    this.put = this.scroller.scrollTop;
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
      const { indexes, tops } = this.layout.rows(chunk);
      let position = Math.max(0, tops.findLastIndex((one) => start + one <= top - OVERSCAN));
      for (; position < indexes.length && start + tops[position] < top + view + OVERSCAN; position++) {
        first ??= start + tops[position];
        wanted.push([chunk, indexes[position]]);
      }
    }
    this.#place(wanted);
    this.layer.style.transform = `translateY(${this.scroller.scrollTop + (first ?? top) - top}px)`;
    this.moved(wanted);
  }

  /** Puts the wanted rows into the page; those that are there stay the same elements, with what is selected. */
  #place(wanted) {
    const before = this.shown;
    this.shown = new Map(wanted.map(([chunk, row]) => [chunk.offsetOf(row), null]));
    for (const [offset, element] of before) if (!this.shown.has(offset)) element.remove();
    let next = this.layer.firstChild;
    for (const [chunk, row] of wanted) {
      const offset = chunk.offsetOf(row);
      const old = before.get(offset);
      const element = this.make(chunk, row, old);
      if (old && old !== element) {
        if (old === next) next = element;
        old.replaceWith(element);
      }
      if (element === next) next = next.nextSibling;
      else this.layer.insertBefore(element, next);
      this.shown.set(offset, element);
    }
  }
}
