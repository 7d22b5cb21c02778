// The text of an editor as lines, each with what holds where it begins, worked out as far as somebody asks.

import { START, isText, scan } from "./yaml.js";

/** Longer ones are neither read nor coloured: to cut them would take longer than to type. */
export const LONGEST = 10_000; // characters

export class Lines {
  /** `read` gives the text. */
  constructor(read) {
    this.read = read;
    this.isStale = true;
    this.kept = [];
    this.states = [START];
  }

  /** The lines, read anew if the text has changed: browsers can tell of each line that is put in alone. */
  get all() {
    if (this.isStale) {
      const lines = this.read().split("\n");
      let same = 0;
      while (same < lines.length && lines[same] === this.kept[same]) same++;
      this.kept = lines;
      this.states.length = Math.min(this.states.length, same + 1); // what was worked out before stays
      this.isStale = false;
    }
    return this.kept;
  }

  /** Whether a line is too long to be read. */
  get hasLong() {
    return this.all.some((line) => line.length > LONGEST);
  }

  /** What holds where a line begins; see `START`. */
  before(row) {
    const lines = this.all;
    for (let next = this.states.length; next <= row; next++) {
      const line = lines[next - 1];
      const state = this.states[next - 1];
      this.states.push(line.length > LONGEST ? state : scan(line, state).state);
    }
    return this.states[row];
  }

  /** Whether a line is part of a script or of a text in quotes. */
  isText(row) {
    return isText(this.all[row], this.before(row));
  }

  /** The row and the column of a place in the text. */
  at(offset) {
    const lines = this.all;
    let row = 0;
    while (row < lines.length - 1 && offset > lines[row].length) offset -= lines[row++].length + 1;
    return [row, offset];
  }

  /** Where in the text a row begins. */
  start(row) {
    return this.all.slice(0, row).reduce((offset, line) => offset + line.length + 1, 0);
  }
}
