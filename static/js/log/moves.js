// Control sequences that move the cursor in its line, or erase.

import { FURTHEST } from "./line.js";

const TAB = 8;

/** Does what a control sequence says that ends in `final`; cells that it erases keep the background of `style`. */
export function move(line, final, parameters, style) {
  const [first, second] = parameters.split(";", 2).map(Number);
  const mode = first || 0;
  const count = Math.min(Math.max(1, mode), FURTHEST);
  const { column } = line;
  switch (final) {
    case "@":
    case "P":
      return line.shift(final === "@", count, style);
    case "C":
    case "a":
      return (line.column = Math.min(column + count, Math.max(column, FURTHEST)));
    case "D":
      return (line.column = Math.max(0, column - Math.max(1, mode)));
    case "E":
    case "F":
      return (line.column = 0);
    case "G":
    case "`":
      return (line.column = count - 1);
    case "H":
    case "f":
      return (line.column = Math.min(Math.max(1, second || 0), FURTHEST) - 1);
    case "I":
      return line.tab(count);
    case "J":
    case "K":
      return line.erase(mode, style);
    case "X":
      return line.fill(column, Math.min(column + count, line.length), style);
    case "Z":
      return (line.column = Math.max(0, (Math.ceil(column / TAB) - count) * TAB));
    case "b":
      return line.repeat(count, style);
  }
}
