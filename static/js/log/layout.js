// Where rows stand: heights of chunks, from which any row is found without the rows before it.

export const ROW_HEIGHT = 20;

export class Layout {
  constructor(chunks, folds) {
    this.chunks = chunks;
    this.folds = folds;
    this.columns = Infinity; // of a line that is wrapped
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
    const chunk = this.chunks.get(index === this.chunks.count - 1 ? index : -1) ?? this.chunks.held.get(index);
    if (chunk) return this.rows(chunk).height;
    return this.folds.shown(this.chunks.points[index].line, this.chunks.lineEnd(index)) * ROW_HEIGHT;
  }

  /** The shown rows of a chunk: their indexes, their tops within it, and its height. */
  rows(chunk) {
    const known = this.known.get(chunk);
    if (known && known.version === this.folds.version && known.columns === this.columns) return known;
    const indexes = [];
    const tops = [];
    let height = 0;
    const folded = this.folds.hidden.length > 0;
    for (let row = 0; row < chunk.rows; row++) {
      if (folded && this.folds.isHidden(chunk.lines[row])) continue;
      indexes.push(row);
      tops.push(height);
      height += this.columns === Infinity ? ROW_HEIGHT : ROW_HEIGHT * this.#wrapped(chunk, row);
    }
    const rows = { indexes, tops, height, version: this.folds.version, columns: this.columns };
    this.known.set(chunk, rows);
    return rows;
  }

  #wrapped(chunk, row) {
    const next = row + 1 < chunk.rows ? chunk.starts[row + 1] : chunk.data.length;
    const bytes = next - chunk.starts[row];
    if (bytes <= this.columns) return 1;
    const text = chunk.text(row).replace(/\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)/g, "");
    return Math.max(1, Math.ceil(columnsOf(text) / this.columns));
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
    const position = indexes.findIndex((row) => chunk.lines[row] >= line);
    return this.tops[index] + (position < 0 ? height : tops[position]);
  }
}

/** How many columns of a terminal a text takes. */
function columnsOf(text) {
  let columns = 0;
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code === 9) columns += 8 - (columns % 8);
    else columns += code >= 0x1100 && /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}]/u.test(character) ? 2 : 1;
  }
  return columns;
}
