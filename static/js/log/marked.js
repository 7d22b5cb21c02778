// Marks on characters, of which a browser draws many only slowly.

import { width } from "./widths.js";

export const MOST_MARKS = 250; // UTF-16 units of a cell, most of them marks on its character
const BEYOND_LATIN = /[\u0300-\uffff]/;

/** Text in pieces, in which no character has more marks than a cell has. */
export class Marked {
  #units = 0; // of the last character with its marks

  /** Takes the next piece; gives what is left of it. */
  take(text) {
    if (!BEYOND_LATIN.test(text)) {
      if (text) this.#units = 1;
      return text;
    }
    let kept = "";
    let from = 0;
    let at = 0;
    for (const character of text) {
      if (width(character.codePointAt(0))) this.#units = 0;
      if (this.#units + character.length > MOST_MARKS) {
        kept += text.slice(from, at);
        from = at + character.length;
      } else this.#units += character.length;
      at += character.length;
    }
    return from ? kept + text.slice(from) : text;
  }
}

/** A whole text with no more marks than that. */
export function marked(text) {
  return text.length > MOST_MARKS ? new Marked().take(text) : text;
}
