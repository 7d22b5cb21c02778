// One line of a terminal: cells that can be written over. What moves the cursor to other lines leaves it in this one.

import { MOST_MARKS } from "./marked.js";
import { PLAIN } from "./sgr.js";
import { width } from "./widths.js";

// Cells that the sequences of a line may erase, move or repeat in all, beyond so many free ones each. Those that would go
// beyond that do nothing, so that a short line does not take long.
const FREE = 256;
const MOST_BEYOND = 1 << 16;
const TAB = 8;
const ASCII = /^[\x20-\x7e]*$/;

export const FURTHEST = 1000; // columns that a cursor moves to; a terminal is hardly as wide
export const MOST = 1 << 20; // columns that there are

export class Line {
  constructor() {
    this.lead = ""; // marks before the first cell
    this.length = 0; // the cells from here on are blank, and not shown
    this.cells = []; // characters with their marks; "" is the second half of a wide one
    this.styles = [];
    this.column = 0;
    this.blank = MOST; // the cells before this one are, and so are those from `length` on
    this.saved = [0, PLAIN];
    this.left = MOST_BEYOND;
    this.full = false; // whether an ellipsis is in the last column, for all that follows
  }

  write(text, style) {
    if (this.full && this.column >= MOST) return;
    const narrow = ASCII.test(text);
    for (const character of text) {
      const columns = narrow ? 1 : width(character.codePointAt(0));
      if (columns === 0) this.#mark(character);
      else if (this.column + columns > MOST) {
        this.column = MOST - 1;
        this.#put("…", 1, style); // for all that follows
        this.full = true;
        return;
      } else this.#put(character, columns, style);
    }
  }

  #put(character, columns, style) {
    const { cells, column } = this;
    for (let at = cells.length; at < column; at++) {
      cells.push(" ");
      this.styles.push(PLAIN);
    }
    this.blank = Math.min(this.blank, column);
    this.#cut(column);
    this.#cut(column + columns);
    cells[column] = character;
    this.styles[column] = style;
    if (columns === 2) {
      cells[column + 1] = "";
      this.styles[column + 1] = style;
    }
    this.column += columns;
    this.length = Math.max(this.length, this.column);
    if (this.column === MOST) this.full = false;
  }

  /** A wide character of which one half is written over is gone. */
  #cut(column) {
    if (this.cells[column] === "") this.cells[column - 1] = this.cells[column] = " ";
  }

  #mark(character) {
    let at = Math.min(this.column, this.length) - 1;
    if (this.cells[at] === "") at--;
    if (at < 0) this.lead = added(this.lead, character);
    else this.cells[at] = added(this.cells[at], character);
  }

  tab(count = 1) {
    const most = count === 1 ? MOST : Math.max(this.column, FURTHEST);
    this.column = Math.min((Math.floor(this.column / TAB) + count) * TAB, most);
  }

  save(style) {
    this.saved = [Math.min(this.column, FURTHEST), style];
  }

  /** Goes back to where `save` was called; gives the style from there. */
  restore() {
    this.column = this.saved[0];
    return this.saved[1];
  }

  clear() {
    this.erase(2, PLAIN);
    this.column = 0;
    this.lead = "";
  }

  /** Erases from the cursor on, with 1 up to it, with 2 everything; what is blank already costs nothing. */
  erase(mode, style) {
    if (mode === 0 || mode === 2) {
      const from = mode === 2 ? 0 : this.column;
      if (!this.fill(Math.max(from, this.blank), this.length, PLAIN)) return;
      this.length = Math.min(from, this.length);
      if (mode === 2) this.blank = MOST;
    } else if (mode === 1) {
      const until = Math.min(this.column + 1, this.length);
      if (this.fill(Math.min(this.blank, until), until, style)) this.blank = Math.max(this.blank, until);
    }
  }

  /** Erases the cells from one up to another; false where the line has no more of them left. */
  fill(from, to, style) {
    if (from >= to) return true;
    // What is wider than a cursor moves was written first.
    if (!this.#may(Math.min(to - from, FURTHEST))) return false;
    this.#cut(from);
    this.#cut(to);
    this.cells.fill(" ", from, to);
    this.styles.fill(ground(style), from, to);
    return true;
  }

  #may(cells) {
    this.left -= Math.max(0, cells - FREE);
    return this.left >= 0;
  }

  /** Makes room in a line that is no longer than a terminal, or takes cells out of it. */
  shift(inserts, count, style) {
    const { cells, styles, column } = this;
    if (column >= this.length || cells.length > FURTHEST || !this.#may(count + this.length - column)) return;
    this.#cut(column);
    if (inserts) {
      cells.splice(column, 0, ...Array(count).fill(" "));
      styles.splice(column, 0, ...Array(count).fill(ground(style)));
      this.#cut(FURTHEST);
      cells.length = styles.length = Math.min(cells.length, FURTHEST);
      this.length = Math.min(this.length + count, FURTHEST);
    } else {
      this.#cut(column + count);
      cells.splice(column, count);
      styles.splice(column, count);
      this.length = Math.max(column, this.length - count);
    }
  }

  /** Writes the character before the cursor again, so many times. */
  repeat(count, style) {
    const last = this.cells.slice(Math.max(0, this.column - 2), Math.min(this.column, this.length)).findLast((cell) => cell);
    const times = Math.min(count, FURTHEST - this.column);
    // Without its marks, which may be many.
    if (last && times > 0 && this.#may(times)) this.write(String.fromCodePoint(last.codePointAt(0)).repeat(times), style);
  }

  /** The cells as pieces {text, style}. */
  pieces() {
    const found = this.lead ? [{ text: this.lead, style: PLAIN }] : [];
    for (let at = 0, from = 0; at < this.length; from = at) {
      const style = this.styles[at];
      while (at < this.length && this.styles[at] === style) at++;
      found.push({ text: this.cells.slice(from, at).join(""), style });
    }
    return found;
  }

  text() {
    return this.lead + this.cells.slice(0, this.length).join("");
  }
}

function added(cell, mark) {
  return cell.length + mark.length <= MOST_MARKS ? cell + mark : cell;
}

/** What erased cells look like. */
function ground(style) {
  return style?.bg == null ? PLAIN : { ...PLAIN, bg: style.bg };
}
