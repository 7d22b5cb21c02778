// The log of a job: what is in sight, what is folded, what is marked, and the end that is still written.

import { LogBytes } from "./bytes.js";
import { Chunks } from "./chunks.js";
import { Folds } from "./folds.js";
import { Layout } from "./layout.js";
import { format, parse } from "./permalink.js";
import { Rows } from "./rows.js";
import { Steps } from "./steps.js";
import { Times } from "./times.js";
import { Viewport } from "./viewport.js";
import { Wrapping } from "./wrapping.js";

const AGAIN = 2000; // milliseconds

export class Viewer {
  /** `job` is the address of the job's page; `said` is told what there is to say in a sentence. */
  constructor(scroller, job, stream, map, said) {
    Object.assign(this, { scroller, said, address: `${job}/log`, sealed: map.sealed, last: map.lines - 1 });
    this.bytes = new LogBytes(stream);
    this.chunks = new Chunks(this.bytes, map);
    this.steps = new Steps(map.steps, map.final_line);
    this.folds = new Folds();
    this.layout = new Layout(this.chunks, this.folds);
    this.times = new Times(`${this.address}/times`, this.chunks, () => this.redraw());
    this.viewport = new Viewport(scroller, this.chunks, this.layout, (...row) => this.rows.element(...row), (rows) => this.#moved(rows));
    this.wrapping = new Wrapping(scroller, this.layout, () => this.viewport.changed());
    this.rows = new Rows(scroller, this.chunks, this.steps, this.folds, this.times, this.layout);
    this.outlined = "";
    this.#foldSteps();
    scroller.addEventListener("click", (event) => this.#clicked(event));
  }

  /** Everything that is shown is made anew. */
  redraw() {
    this.rows.version++;
    this.viewport.changed();
  }

  // Folds

  #foldSteps() {
    for (const step of this.steps.all) {
      this.folds.set(step.first_line - 1, Math.min(this.steps.lastLine(step) + 1, Number.MAX_SAFE_INTEGER));
    }
    // The last line says that there are no more, unless there was no step; an empty one may be above it.
    const { finalLine } = this.steps;
    if (this.sealed && finalLine !== null && this.steps.all.length) {
      this.folds.remove(finalLine < this.last ? this.last : finalLine - 1, Number.MAX_SAFE_INTEGER);
    }
    this.folds.settle();
  }

  /** Fetches what the build printed as groups, the first error, and the styles with which parts of the log begin. */
  async outline() {
    clearTimeout(this.again);
    const response = await fetch(`${this.address}/outline`).catch(() => null);
    if (response?.status >= 400 && response.status < 500) return;
    const answer = response?.ok ? await response.json().catch(() => null) : null;
    clearTimeout(this.again); // of one that was asked for meanwhile
    if (!answer) {
      this.again = setTimeout(() => this.outline(), AGAIN);
      return;
    }
    const { groups, error, styles, styles_until: until } = answer;
    this.chunks.know(styles, until);
    this.viewport.changed();
    const outlined = JSON.stringify([groups, error, this.sealed]);
    if (outlined === this.outlined) return; // what is selected stays so
    this.outlined = outlined;
    this.rows.error = error;
    for (const group of groups) {
      // What is still written is not hidden from who follows it.
      const closed = group.closed && (this.sealed || group.end < this.chunks.lines - 1);
      this.folds.set(group.line, group.end, { ...group, closed, count: group.end - group.line - Number(group.marked) });
      if (group.marked) this.folds.remove(group.end, group.end);
    }
    this.folds.settle();
    this.redraw();
  }

  #clicked(event) {
    const row = event.target.closest(".row");
    const line = Number(row?.dataset.line);
    if (event.target.closest(".toggle")) {
      this.folds.toggle(line);
      this.redraw();
      this.viewport.draw();
      this.scroller.querySelector(`[data-line="${line}"] .toggle`)?.focus();
    } else if (event.target.closest("a.number")) {
      event.preventDefault();
      const step = this.steps.of(line);
      const number = this.steps.number(line);
      const from = event.shiftKey && this.rows.marked?.step === step.order_num ? this.rows.marked.number : number;
      history.replaceState(null, "", format(step.order_num, from, number));
      this.mark(format(step.order_num, from, number), from);
    }
  }

  // Places

  /** Marks the lines that a hash names; gives the first of them, or null where there is no such place (yet). */
  mark(hash, first) {
    const place = parse(hash);
    const line = place && this.steps.line(place.step, place.from);
    if (line === undefined || line === null) return null;
    const last = this.steps.line(place.step, place.to);
    this.rows.marked = place.from ? { from: line, to: last, step: place.step, number: first ?? place.from } : null;
    this.redraw();
    return line;
  }

  /** Brings a line into sight, whatever it is folded into. */
  async show(line) {
    this.folds.reveal(line);
    this.rows.version++;
    await this.viewport.show(line);
  }

  get firstShown() {
    return this.viewport.anchor.line;
  }

  /** Goes to the next step, or with -1 to the previous one. */
  async step(direction) {
    const lines = this.steps.all.map((step) => step.first_line - 1);
    const here = this.current ?? this.firstShown;
    const line = direction > 0 ? lines.find((one) => one > here) : lines.findLast((one) => one < here);
    if (line === undefined) return;
    await this.show(line);
    this.current = line;
    this.scroller.querySelector(`[data-line="${line}"] .toggle`)?.focus({ preventScroll: true });
  }

  #moved(rows) {
    if (this.viewport.put !== this.scroller.scrollTop) this.current = undefined;
    this.onmoved?.(rows);
  }

  /** Wraps lines that are too long, or not. */
  wrap(on) {
    this.wrapping.on = on;
    this.wrapping.measure();
    this.redraw();
  }

  /** Takes what the server's map says after more was written. */
  learn(map) {
    this.sealed = map.sealed;
    this.last = map.lines - 1;
    this.steps.update(map.steps, map.final_line);
    this.#foldSteps();
    this.redraw();
    this.onlearned?.();
  }
}
