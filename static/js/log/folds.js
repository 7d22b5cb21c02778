// What is folded: steps, and the groups that a build prints.

export class Folds {
  constructor() {
    this.folds = new Map();
    this.version = 0;
    this.hidden = [];
  }

  /** A fold whose first line stays when `last - first` lines are hidden below it. Known ones stay as they are. */
  set(first, last, { title = null, closed = false } = {}) {
    const known = this.folds.get(first);
    this.folds.set(first, { first, last, title: title ?? known?.title, closed: known?.closed ?? closed });
  }

  at(line) {
    return this.folds.get(line);
  }

  toggle(line, closed = !this.folds.get(line)?.closed) {
    const fold = this.folds.get(line);
    if (fold) fold.closed = closed;
    this.settle();
  }

  toggleAll(closed) {
    for (const fold of this.folds.values()) fold.closed = closed;
    this.settle();
  }

  /** Opens all folds that hide a line. */
  reveal(line) {
    for (const fold of this.folds.values()) if (fold.first < line && line <= fold.last) fold.closed = false;
    this.settle();
  }

  /** Works out what is hidden: ranges of lines, ascending, apart from each other. */
  settle() {
    const ranges = [...this.folds.values()].filter((fold) => fold.closed && fold.last > fold.first);
    this.hidden = [];
    for (const { first, last } of ranges.sort((a, b) => a.first - b.first)) {
      const before = this.hidden.at(-1);
      if (before && first < before.to) before.to = Math.max(before.to, last);
      else this.hidden.push({ from: first + 1, to: last });
    }
    let count = 0;
    for (const range of this.hidden) {
      range.before = count; // how many lines are hidden before it
      count += range.to - range.from + 1;
    }
    this.version++;
  }

  /** The last range that begins before a line; there may be thousands. */
  #rangeBefore(line) {
    let low = 0;
    let high = this.hidden.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.hidden[middle].from < line) low = middle + 1;
      else high = middle;
    }
    return this.hidden[low - 1];
  }

  isHidden(line) {
    const range = this.#rangeBefore(line + 1);
    return range !== undefined && line <= range.to;
  }

  #hiddenBefore(line) {
    const range = this.#rangeBefore(line);
    return range ? range.before + Math.min(line, range.to + 1) - range.from : 0;
  }

  /** How many lines from `start` up to, not including, `end` are shown. */
  shown(start, end) {
    return Math.max(0, end - start - (this.#hiddenBefore(end) - this.#hiddenBefore(start)));
  }
}
