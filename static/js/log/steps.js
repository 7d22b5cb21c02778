// The steps of a build in its log: which line belongs to which step, and its number in it.

export class Steps {
  constructor(steps, finalLine) {
    this.update(steps, finalLine);
  }

  /** Takes what the server's map says of the steps. */
  update(steps, finalLine) {
    this.all = steps;
    this.finalLine = finalLine;
    this.headers = new Map(steps.map((step) => [step.first_line - 1, step]));
  }

  /** The step that a line belongs to; undefined for the lines after the last one. */
  of(line) {
    if (this.finalLine !== null && line >= this.finalLine) return undefined;
    return this.all.findLast((step) => step.first_line - 1 <= line);
  }

  /** The last line of a step's output, up to which its lines have numbers. */
  lastLine(step) {
    if (step.end === null) return Infinity;
    const next = this.all[this.all.indexOf(step) + 1];
    const end = next ? next.first_line - 1 : this.finalLine;
    return end === null ? Infinity : end - 2; // an empty line stands between
  }

  /** The number of a line within its step, from 1; 0 where it has none. */
  number(line) {
    const step = this.of(line);
    return step && line >= step.first_line && line <= this.lastLine(step) ? line - step.first_line + 1 : 0;
  }

  /** The line with a number in the step with an order number; undefined where there is no such step yet. */
  line(order, number) {
    const step = this.all.find((one) => one.order_num === order);
    return step && step.first_line - 1 + number;
  }
}
