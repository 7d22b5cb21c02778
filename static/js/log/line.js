// One line of a terminal: cells that can be written over.

import { PLAIN } from "./sgr.js";

const FURTHEST = 1000; // columns that a cursor moves to; a terminal is hardly as wide
const MOST = 1 << 20; // columns that there are

export class Line {
  constructor() {
    this.codes = new Uint32Array(128); // 0 is a cell that nothing was written to
    this.styles = [];
    this.length = 0;
    this.column = 0;
    this.blank = MOST; // the cells before this one are, and so are those from `length` on
  }

  write(text, style) {
    for (const character of text) {
      if (this.column === MOST) {
        this.codes[MOST - 1] = 0x2026; // an ellipsis for all that follows
        return;
      }
      this.#reach();
      this.codes[this.column] = character.codePointAt(0);
      this.styles[this.column++] = style;
    }
  }

  /** Makes a cell where the cursor is. */
  #reach() {
    const { column } = this;
    if (column < this.blank) this.blank = column;
    if (column < this.length) return;
    if (column >= this.codes.length) {
      const wider = new Uint32Array(Math.max(2 * this.codes.length, column + 1));
      wider.set(this.codes);
      this.codes = wider;
    }
    while (this.styles.length < column) this.styles.push(PLAIN);
    this.length = column + 1;
  }

  /** Does what a control sequence says that ends in `final`. */
  move(final, count) {
    if (final === "K") this.#erase(count);
    else if (final === "G") this.column = Math.max(0, count - 1);
    else if (final === "C") this.column = Math.min(this.column + Math.max(1, count), Math.max(this.column, FURTHEST));
    else if (final === "D") this.column = Math.max(0, this.column - Math.max(1, count));
    if (final === "G") this.column = Math.min(this.column, FURTHEST);
  }

  /** Erases from the cursor on, with 1 up to it, with 2 everything; what is blank already costs nothing. */
  #erase(mode) {
    const from = mode === 1 || mode === 2 ? 0 : this.column;
    const to = mode === 1 ? Math.min(this.column + 1, this.length) : this.length;
    this.codes.fill(0, Math.max(from, this.blank), Math.max(to, this.blank));
    if (mode === 1) this.blank = Math.max(this.blank, to);
    else this.length = Math.min(this.length, from);
    if (mode === 2) this.blank = MOST;
  }

  /** The cells from one up to another, as pieces {text, style}. */
  pieces(from = 0, to = this.length) {
    const found = [];
    for (let at = from; at < Math.min(to, this.length); at++) {
      const style = this.codes[at] ? this.styles[at] : PLAIN;
      const character = String.fromCodePoint(this.codes[at] || 0x20);
      const last = found.at(-1);
      if (last?.style === style) last.text += character;
      else found.push({ text: character, style });
    }
    return found;
  }

  text(from = 0, to = this.length) {
    let text = "";
    for (let at = from; at < Math.min(to, this.length); at++) text += String.fromCodePoint(this.codes[at] || 0x20);
    return text;
  }
}
