// Text of a terminal to styled pieces: colours, and the carriage returns and cursor moves within a line.

// A control sequence, an operating system command, another escape, or a control character.
const ESCAPE = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\]([^\x07\x1b]*)(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g;

export const PLAIN = Object.freeze({
  fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, inverse: false, strike: false,
  link: null,
});

/** The style after the parameters of an SGR sequence, e.g. "1;31". */
export function styled(style, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  let next = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) next = { ...PLAIN, link: style.link };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 9) next.strike = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code === 29) next.strike = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 39) next.fg = null;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, i + 1);
      next[code === 38 ? "fg" : "bg"] = colour;
      i += used;
    }
  }
  return next;
}

/** A colour of 256 or of 16 million, and how many codes it took. */
function extended(codes, at) {
  if (codes[at] === 5) return [palette(codes[at + 1] & 255), 2];
  if (codes[at] === 2) return [`rgb(${codes.slice(at + 1, at + 4).map((c) => c & 255).join(" ")})`, 4];
  return [null, 0];
}

function palette(index) {
  if (index < 16) return index;
  if (index > 231) return `rgb(${Array(3).fill(8 + (index - 232) * 10).join(" ")})`;
  const cube = index - 16;
  const level = (n) => (n ? 55 + n * 40 : 0);
  return `rgb(${[Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level).join(" ")})`;
}

/** The style at the end of a line that begins with `style`; cheap for text without escapes. */
export function styleAfter(line, style) {
  if (!line.includes("\x1b")) return style;
  for (const [, parameters, final, command] of line.matchAll(ESCAPE)) {
    if (final === "m") style = styled(style, parameters);
    else if (command !== undefined) style = linked(style, command);
  }
  return style;
}

function linked(style, command) {
  const match = /^8;[^;]*;(.*)$/.exec(command);
  if (!match) return style;
  return { ...style, link: /^https?:\/\//.test(match[1]) ? match[1] : null };
}

/** What a terminal shows of a line that begins with `style`: pieces {text, style}. */
export function pieces(line, style) {
  if (!/[\x00-\x08\x0b-\x1f\x7f]/.test(line)) return line ? [{ text: line, style }] : [];
  const screen = new Line();
  let from = 0;
  for (const match of line.matchAll(ESCAPE)) {
    screen.write(line.slice(from, match.index), style);
    from = match.index + match[0].length;
    const [all, parameters, final, command] = match;
    if (final === "m") style = styled(style, parameters);
    else if (final) screen.move(final, parameters);
    else if (command !== undefined) style = linked(style, command);
    else if (all === "\r") screen.column = 0;
    else if (all === "\b") screen.column = Math.max(0, screen.column - 1);
    else if (all.length === 1 && all !== "\x07" && all !== "\x1b") screen.write(visible(all), style);
  }
  screen.write(line.slice(from), style);
  return screen.pieces();
}

/** A control character as its picture, so that it is seen and harmless. */
function visible(character) {
  const code = character.charCodeAt(0);
  return String.fromCharCode(code === 0x7f ? 0x2421 : 0x2400 + code);
}

/** One line of a terminal: cells that can be written over. */
class Line {
  constructor() {
    this.cells = [];
    this.column = 0;
  }

  write(text, style) {
    for (const character of text) {
      while (this.cells.length < this.column) this.cells.push({ character: " ", style: PLAIN });
      this.cells[this.column++] = { character, style };
    }
  }

  move(final, parameters) {
    const count = Number(parameters.split(";")[0]) || 0;
    if (final === "K") this.erase(count);
    else if (final === "G") this.column = Math.max(0, count - 1);
    else if (final === "C") this.column += Math.max(1, count);
    else if (final === "D") this.column = Math.max(0, this.column - Math.max(1, count));
    this.column = Math.min(this.column, 10_000);
  }

  erase(mode) {
    const end = mode === 1 || mode === 2 ? Math.min(this.column + 1, this.cells.length) : this.cells.length;
    if (mode !== 1) this.cells.length = Math.min(this.cells.length, this.column);
    if (mode) for (let i = 0; i < Math.min(end, this.cells.length); i++) this.cells[i] = { character: " ", style: PLAIN };
  }

  pieces() {
    const found = [];
    for (const { character, style } of this.cells) {
      const last = found.at(-1);
      if (last?.style === style) last.text += character;
      else found.push({ text: character, style });
    }
    return found;
  }
}
