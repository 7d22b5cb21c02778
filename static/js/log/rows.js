// What a row looks like: a step, a group, or a line with its number and time.

import { format } from "./permalink.js";
import { foldRow, lineRow } from "./row.js";

const ICONS = { success: "✓", failed: "✕", running: "●", pending: "○", cancelled: "–" };

export class Rows {
  constructor(chunks, steps, folds, times, layout) {
    Object.assign(this, { chunks, steps, folds, times, layout });
    this.marked = null;
    this.error = null;
    this.version = 0; // rows of another one are made anew
    this.made = new WeakMap();
  }

  /** The element of a row; the old one where it is still right, so that what is selected stays so. */
  element(chunk, index, old) {
    const line = chunk.lines[index];
    const state = `${this.version} ${this.layout.columns} ${chunk.remade} ${index < chunk.fixed ? 0 : chunk.size}`;
    if (old && this.made.get(old) === state) return old;
    const row = this.#make(chunk, index, line);
    if (this.marked && line >= this.marked.from && line <= this.marked.to) row.classList.add("marked");
    if (line === this.error?.line) row.classList.add("error");
    row.dataset.line = line;
    this.made.set(row, state);
    return row;
  }

  #make(chunk, index, line) {
    const fold = this.folds.at(line);
    const header = this.steps.headers.get(line);
    if (header) {
      const status = header.status;
      return foldRow({
        title: `${header.order_num}. ${header.name}`, detail: this.#detail(header), status, icon: ICONS[status],
        closed: fold?.closed, className: "step", href: `#step:${header.order_num}`,
      });
    }
    if (fold) return foldRow({ title: fold.title, detail: "", closed: fold.closed, className: "group" });
    const number = this.steps.number(line);
    const step = number ? this.steps.of(line) : null;
    const row = lineRow({
      pieces: chunk.pieces(index), columns: this.layout.columns, number, continued: chunk.continued(index),
      href: step && format(step.order_num, number),
      time: this.times.text(chunk.offsetOf(index), this.chunks.indexOfLine(line), step),
    });
    if (this.steps.finalLine !== null && line >= this.steps.finalLine) row.classList.add("final");
    return row;
  }

  #detail(step) {
    if (!step.finished_at || !step.started_at) return step.status;
    const seconds = (step.finished_at - step.started_at) / 1000;
    const took = seconds < 60 ? `${seconds.toFixed(1)}s` : `${Math.floor(seconds / 60)}m ${Math.round(seconds % 60)}s`;
    return step.exit_code ? `${step.status}, exit code ${step.exit_code}, ${took}` : `${step.status}, ${took}`;
  }
}
