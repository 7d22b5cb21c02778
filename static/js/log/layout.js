// Where rows stand: heights of chunks, from which any row is found without the rows before it.

export const ROW_HEIGHT = 20;
export const PART = 32; // lines of a row at most, where a line is wrapped

export class Layout {
  constructor(chunks, folds) {
    this.chunks = chunks;
    this.folds = folds;
    this.columns = Infinity; // of a line that is wrapped
    this.columnWidth = 8; // pixels
    this.known = new WeakMap();
    this.update();
  }

  /** Works out the tops of all chunks again, after anything changed. */
  update() {
    const { chunks } = this;
    this.tops = new Float64Array(chunks.count + 1);
    for (let index = 0; index < chunks.count; index++) {
      this.tops[index + 1] = this.tops[index] + this.#height(index);
    }
    this.height = this.tops[chunks.count];
  }

  #height(index) {
    const chunk = this.chunks.held.get(index);
    if (chunk) return this.rows(chunk).height;
    return this.folds.shown(this.chunks.points[index].line, this.chunks.lineEnd(index)) * ROW_HEIGHT;
  }

  /** The shown rows of a chunk: the indexes of their lines, which parts of these they are, their tops, its height. */
  rows(chunk) {
    const known = this.known.get(chunk);
    const state = `${this.folds.version} ${this.columns} ${chunk.version}`;
    if (known?.state === state && known.size === chunk.size) return known;
    const rows = known?.state === state ? known : { indexes: [], parts: [], tops: [], height: 0, state, fixed: 0 };
    const { indexes, parts, tops } = rows;
    // Of a chunk that has grown only the end is worked out again.
    while (indexes.at(-1) >= rows.fixed) {
      indexes.pop();
      parts.pop();
      rows.height = tops.pop();
    }
    for (let index = rows.fixed; index < chunk.count; index++) {
      const line = chunk.line + index;
      if (this.folds.isHidden(line)) continue;
      // A fold is a single row, with a title.
      const height = this.folds.at(line) ? 1 : chunk.height(index, this.columns);
      for (let part = 0; part * PART < height; part++) {
        indexes.push(index);
        parts.push(part);
        tops.push(rows.height);
        rows.height += ROW_HEIGHT * Math.min(PART, height - part * PART);
      }
    }
    rows.size = chunk.size;
    rows.fixed = chunk.finished;
    this.known.set(chunk, rows);
    return rows;
  }

  /** The index of the chunk at a height, and the position of its first row that reaches below it. */
  at(y) {
    let low = 0;
    let high = this.chunks.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return { index: low, inside: y - this.tops[low] };
  }

  /** The top of a line. */
  top(line) {
    const index = this.chunks.indexOfLine(line);
    const chunk = this.chunks.get(index);
    if (!chunk) return this.tops[index] + this.folds.shown(this.chunks.points[index].line, line) * ROW_HEIGHT;
    const { indexes, tops, height } = this.rows(chunk);
    let low = 0;
    let high = indexes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (chunk.line + indexes[middle] < line) low = middle + 1;
      else high = middle;
    }
    return this.tops[index] + (low < indexes.length ? tops[low] : height);
  }
}
