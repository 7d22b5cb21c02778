// Lines by which a build announces errors, warnings and notices, as GitHub Actions reads them.

const ANNOTATION = /^(?:::(error|warning|notice)(?: [^\n]*?)?::|##\[(error|warning|notice)\])/i;

/** A line that GitHub Actions would show as an error, a warning or a notice, as it does; the others as they are. */
export function announced(text) {
  const found = /^(?:::|##\[)/.test(text) && ANNOTATION.exec(text);
  if (!found) return text;
  const kind = kindOf(found);
  return `${kind[0].toUpperCase()}${kind.slice(1)}: ${text.slice(found[0].length)}`;
}

/** The kind of such a line; undefined for the others. */
export function annotation(text) {
  const found = ANNOTATION.exec(text);
  return found ? kindOf(found) : undefined;
}

function kindOf(found) {
  return (found[1] ?? found[2]).toLowerCase();
}
