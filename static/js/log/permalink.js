// Addresses of lines: #step:2:15, ranges like #step:2:15-20, and whole steps like #step:2.

const FORM = /^#step:(\d+)(?::(\d+)(?:-(\d+))?)?$/;

/** The place that a location's hash names: {step, from, to}, with `from` 0 for a whole step; or null. */
export function parse(hash) {
  const match = FORM.exec(hash);
  if (!match) return null;
  const [step, from, to] = match.slice(1).map((digits) => Number(digits ?? 0));
  return { step, from: Math.min(from, to || from), to: Math.max(from, to) };
}

/** The hash of a line, or of the lines from one to another in the same step. */
export function format(step, from, to = from) {
  const [first, last] = [Math.min(from, to), Math.max(from, to)];
  return first === last ? `#step:${step}:${first}` : `#step:${step}:${first}-${last}`;
}
