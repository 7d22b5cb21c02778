// Styles of a terminal's text: attributes, colours, links.

export const PLAIN = Object.freeze({
  fg: null, bg: null, under: null, bold: false, dim: false, italic: false, underline: 0, blink: false, inverse: false,
  conceal: false, strike: false, overline: false, link: null,
});

const MOST = 32; // parameters of a sequence that a terminal reads
const RGB = 0x1000000; // colours from here on are red, green and blue; those below 16 have names
const ATTRIBUTES = new Map([
  [1, { bold: true }], [2, { dim: true }], [3, { italic: true }], [4, { underline: 1 }], [5, { blink: true }], [6, { blink: true }],
  [7, { inverse: true }], [8, { conceal: true }], [9, { strike: true }], [21, { underline: 2 }], [22, { bold: false, dim: false }],
  [23, { italic: false }], [24, { underline: 0 }], [25, { blink: false }], [27, { inverse: false }], [28, { conceal: false }],
  [29, { strike: false }], [39, { fg: null }], [49, { bg: null }], [53, { overline: true }], [55, { overline: false }],
  [59, { under: null }],
]);
const MOST_KNOWN = 4096; // styles that are remembered
const MOST_STEPS = 32768; // sequences after all of them
const LONG = 300; // characters of what is not remembered
const styles = new Map([[Object.values(PLAIN).join(" "), PLAIN]]);
const after = new WeakMap(); // of styles: of sequences: the style after them
let steps = 0;
const COLOURS = { 38: "fg", 48: "bg", 58: "under" };

/** The style after the parameters of an SGR sequence, e.g. "1;38:2::255:100:0". */
export function styled(style, parameters) {
  const known = after.get(style)?.get(parameters);
  if (known) return known;
  const next = interned(changed(style, parameters));
  if (steps < MOST_STEPS && parameters.length < LONG) {
    if (!after.has(style)) after.set(style, new Map());
    after.get(style).set(parameters, next);
    steps++;
  }
  return next;
}

/** The one style of those that are alike, for neighbours to be told apart at once. */
function interned(style) {
  const key = Object.values(style).join(" ");
  const known = styles.get(key);
  if (known) return known;
  if (styles.size < MOST_KNOWN && key.length < LONG) styles.set(key, style);
  return style;
}

function changed(style, parameters) {
  const groups = parameters.split(";", MOST);
  let next = { ...style };
  for (let i = 0; i < groups.length; i++) {
    const [code, ...more] = groups[i].split(":").map(Number);
    if (groups[i].includes(":")) separated(next, code, more);
    else if (code === 0) next = { ...PLAIN, link: style.link };
    else if (ATTRIBUTES.has(code)) Object.assign(next, ATTRIBUTES.get(code));
    else if (COLOURS[code]) {
      const kind = Number(groups[i + 1]);
      const count = { 2: 4, 5: 2 }[kind] ?? 1;
      set(next, COLOURS[code], extended(kind, groups.slice(i + 2, i + 1 + count).map(Number)));
      i += count;
    } else named(next, code);
  }
  return next;
}

/** What ISO 8613-6 separates by colons: styles of underlines, and colours with or without a colour space. */
function separated(next, code, more) {
  if (code === 4 && more[0] <= 5) next.underline = more[0];
  else if (COLOURS[code]) set(next, COLOURS[code], extended(more[0], more.slice(more[0] === 2 && more.length > 4 ? 2 : 1)));
}

function named(next, code) {
  if (code >= 30 && code <= 37) next.fg = code - 30;
  else if (code >= 40 && code <= 47) next.bg = code - 40;
  else if (code >= 90 && code <= 97) next.fg = code - 82;
  else if (code >= 100 && code <= 107) next.bg = code - 92;
}

function set(next, name, colour) {
  if (colour !== null) next[name] = colour;
}

/** A colour of 256 (kind 5) or of 16 million (kind 2); null where there is no such colour. */
function extended(kind, numbers) {
  if (numbers.some((number) => !(number <= 255))) return null;
  if (kind === 5 && numbers.length) return palette(numbers[0]);
  if (kind === 2 && numbers.length >= 3) return rgb(...numbers);
  return null;
}

function rgb(red, green, blue) {
  return RGB | (red << 16) | (green << 8) | blue;
}

function palette(index) {
  if (index < 16) return index;
  if (index > 231) return rgb(...Array(3).fill(8 + (index - 232) * 10));
  const cube = index - 16;
  return rgb(...[Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((level) => (level ? 55 + level * 40 : 0)));
}

/** The style after an operating system command, one of which begins and ends links. */
export function linked(style, command) {
  const match = /^8;[^;]*;(.*)$/.exec(command);
  if (!match) return style;
  return interned({ ...style, link: /^https?:\/\//.test(match[1]) ? match[1] : null });
}

/** The style with which the line after another one begins: links end with their line. */
export function carried(style) {
  return style.link ? interned({ ...style, link: null }) : style;
}
