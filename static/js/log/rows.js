// What a row looks like: a step, a group, or a line with its number and time.

import { formatElapsed } from "../durations.js";
import { columnsIn } from "./columns.js";
import { format } from "./permalink.js";
import { PART } from "./layout.js";
import { counted, foldRow, lineRow, linkButton } from "./row.js";
import { isSelected } from "./selection.js";
import { PLAIN } from "./sgr.js";

const BLOCK = 4096; // columns; of a line that is longer than four times this only what is near is drawn
const UNSHOWN = "This line can't be shown; download the log to read it.";
const ICONS = { success: "✓", failed: "✕", running: "●", pending: "○", cancelled: "–" };

export class Rows {
  constructor(scroller, chunks, steps, folds, times, layout) {
    Object.assign(this, { scroller, chunks, steps, folds, times, layout });
    this.marked = null;
    this.error = null;
    this.version = 0; // rows of another one are made anew
    this.made = new WeakMap();
  }

  /** The element of a row; the old one where it is still right, so that what is selected stays so. */
  element(chunk, index, part, old) {
    const line = chunk.line + index;
    const block = this.layout.columns === Infinity ? Math.floor(this.scroller.scrollLeft / this.layout.columnWidth / BLOCK) : 0;
    const state = `${this.version} ${this.layout.columns} ${chunk.version} ${index < chunk.finished ? 0 : chunk.size} ${block}`;
    const isKept = old && !old.classList.contains("fold") && isSelected(old); // folds change by a click on them
    if (old && (this.made.get(old) === state || isKept)) return old;
    const row = this.#made(chunk, index, part, block);
    if (this.marked && line >= this.marked.from && line <= this.marked.to) {
      row.classList.add("marked");
      if (line === this.marked.from && part === 0) row.append(linkButton());
    }
    if (line === this.error?.line) row.classList.add("error");
    row.dataset.line = line;
    this.made.set(row, state);
    return row;
  }

  /** The row of a step's header. */
  step(step) {
    const { status } = step;
    return foldRow({
      title: `${step.order_num}. ${step.name}`, detail: this.#detail(step), status, icon: ICONS[status],
      closed: this.folds.at(step.first_line - 1)?.closed, className: "step", href: `#step:${step.order_num}`,
    });
  }

  /** What a line has may be too much for a browser; the others are shown all the same. */
  #made(chunk, index, part, block) {
    try {
      return this.#make(chunk, index, part, block);
    } catch (error) {
      console.error(error);
      const lines = [[{ text: UNSHOWN, style: PLAIN }]];
      return lineRow({ lines, number: this.steps.number(chunk.line + index), href: null, time: "", continued: part > 0 });
    }
  }

  #make(chunk, index, part, block) {
    const line = chunk.line + index;
    const fold = this.folds.at(line);
    const header = this.steps.headers.get(line);
    if (header) return this.step(header);
    if (fold) return foldRow({ title: fold.title, detail: counted(fold.count), closed: fold.closed, className: "group" });
    const number = this.steps.number(line);
    const step = number ? this.steps.of(line) : null;
    const row = lineRow({
      ...this.#lines(chunk.shown(index), part, block), number, continued: part > 0,
      href: step && format(step.order_num, number),
      time: this.times.text(chunk.offsetOf(index), this.chunks.indexOfLine(line), step),
    });
    if (this.steps.finalLine !== null && line >= this.steps.finalLine) row.classList.add("final");
    const announces = chunk.announces(index);
    if (announces) row.classList.add("announcement", `announces-${announces}`);
    return row;
  }

  /** What a row shows of a line: lines, and the columns around the one that there is where it is not wrapped. */
  #lines(shown, part, block) {
    const { columns, columnWidth } = this.layout;
    if (columns !== Infinity) return { lines: shown.lines(columns, part * PART, (part + 1) * PART) };
    const blocks = shown.text.length > 4 * BLOCK ? shown.breaks(BLOCK).length + 1 : 1;
    if (blocks <= 4) return { lines: shown.lines(Infinity) };
    const first = Math.min(Math.max(0, block - 1), blocks - 1);
    const last = Math.min(first + 4, blocks);
    const after = last < blocks ? (blocks - 1 - last) * BLOCK + columnsIn(shown.text.slice(shown.breaks(BLOCK).at(-1))) : 0;
    return { lines: [shown.lines(BLOCK, first, last).flat()], before: first * BLOCK * columnWidth, after: after * columnWidth };
  }

  #detail(step) {
    if (!step.finished_at || !step.started_at) return step.status;
    const took = formatElapsed(step.finished_at - step.started_at);
    return step.exit_code ? `${step.status}, exit code ${step.exit_code}, ${took}` : `${step.status}, ${took}`;
  }
}
