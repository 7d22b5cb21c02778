// Colours of a terminal that can be read: text has at least 4.5:1 to what is behind it, as WCAG asks.

const LEAST = 4.5;
const STEPS = 32; // between a colour and white or black
const MOST_KNOWN = 4096;
const INK = 0xd7dde6;
const PAPER = 0x10141b;
// A row may be hovered over, marked, or have the error.
const PAPERS = [PAPER, 0x1b222d, 0x3d3413, 0x3d1a1f];
const TEXT = [
  0x7f8b9c, 0xff7a83, 0x4cc38a, 0xe6b450, 0x7fa8ff, 0xd79bff, 0x56c8d8, 0xd7dde6,
  0x8b97a8, 0xff9aa1, 0x7ee2b0, 0xffd37a, 0xa7c1ff, 0xe7c2ff, 0x8fe3ee, 0xffffff,
];
const GROUND = [
  0x0a0d12, 0x8f2630, 0x1d6b45, 0x7a5a16, 0x2b4a94, 0x6a3b94, 0x1f6a76, 0x5d6a7e,
  0x3a4454, 0xb23a45, 0x27855a, 0x94701f, 0x3a5fb8, 0x8450b4, 0x2a8593, 0xd7dde6,
];
const known = new Map();

/** The colours of a style for CSS: {text, ground, under}, each null where it is that of the log. */
export function colours(style) {
  const key = [style.fg, style.bg, style.under, style.dim, style.inverse].join();
  let found = known.get(key);
  if (!found) {
    if (known.size === MOST_KNOWN) known.clear(); // a build may print millions of colours
    known.set(key, (found = worked(style)));
  }
  return found;
}

function worked({ fg, bg, under, dim, inverse }) {
  let [text, ground] = [of(TEXT, fg), of(GROUND, bg)];
  if (inverse) [text, ground] = [ground ?? PAPER, text ?? INK];
  if (dim) text = mixed(text ?? INK, ground ?? PAPER, 0.35);
  if (ground !== null) text ??= INK;
  if (text !== null) text = readable(text, ground === null ? PAPERS : [ground]);
  return { text: css(text), ground: css(ground), under: css(of(TEXT, under)) };
}

function of(palette, colour) {
  return colour === null ? null : colour < 16 ? palette[colour] : colour & 0xffffff;
}

/** The colour nearest to one that can be read on all grounds. */
function readable(colour, grounds) {
  const isRead = (one) => grounds.every((ground) => contrast(one, ground) >= LEAST);
  const target = isRead(0xffffff) ? 0xffffff : 0;
  for (let step = 0; step < STEPS; step++) {
    const nearer = mixed(colour, target, step / STEPS);
    if (isRead(nearer)) return nearer;
  }
  return target;
}

function parts(colour) {
  return [colour >> 16, (colour >> 8) & 255, colour & 255];
}

function mixed(colour, other, share) {
  const others = parts(other);
  return parts(colour).reduce((made, part, at) => (made << 8) | Math.round(part + (others[at] - part) * share), 0);
}

function contrast(one, other) {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(colour) {
  const [red, green, blue] = parts(colour).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function css(colour) {
  return colour === null ? null : `#${colour.toString(16).padStart(6, "0")}`;
}
