// What is folded: steps, and the groups that a build prints.

export class Folds {
  constructor() {
    this.folds = new Map();
    this.gone = new Map(); // of lines that are not shown: first and last
    this.wanted = new Set(); // lines that are shown all the same
    this.version = 0;
    this.hidden = [];
  }

  /** A fold whose first line stays when `last - first` lines are hidden below it. Known ones stay as they are. */
  set(first, last, { title = null, count = 0, closed = false } = {}) {
    const known = this.folds.get(first);
    this.folds.set(first, { first, last, count, title: title ?? known?.title, closed: known?.closed ?? closed });
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

  /** Opens all folds that hide a line, and has it be shown if it is one that is not. */
  reveal(line) {
    this.wanted.add(line);
    for (const fold of this.folds.values()) if (fold.first < line && line <= fold.last) fold.closed = false;
    this.settle();
  }

  /** Has lines not be shown, unless somebody goes to them. */
  remove(first, last) {
    this.gone.set(first, last);
  }

  /** Works out what is hidden: ranges of lines, ascending, apart from each other. */
  settle() {
    const closed = [...this.folds.values()].filter((fold) => fold.closed && fold.last > fold.first);
    const ranges = closed.map(({ first, last }) => [first + 1, last]);
    const wanted = [...this.wanted].sort((a, b) => a - b);
    for (const [first, last] of this.gone) {
      let from = first;
      for (const line of wanted) {
        if (line < from || line > last) continue;
        if (line > from) ranges.push([from, line - 1]);
        from = line + 1;
      }
      if (from <= last) ranges.push([from, last]);
    }
    this.hidden = [];
    for (const [from, to] of ranges.sort((a, b) => a[0] - b[0])) {
      const before = this.hidden.at(-1);
      if (before && from <= before.to) before.to = Math.max(before.to, to);
      else this.hidden.push({ from, to });
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
