// Styles of a terminal's text: colours, and links.

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

/** The style after an operating system command, one of which begins and ends links. */
export function linked(style, command) {
  const match = /^8;[^;]*;(.*)$/.exec(command);
  if (!match) return style;
  return { ...style, link: /^https?:\/\//.test(match[1]) ? match[1] : null };
}
