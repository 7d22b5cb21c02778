// What is shown of one line: its text in pieces, some of them links, and where it is broken.

import { breaks } from "./columns.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"'`\x00-\x1f]+[^\s<>"'`\x00-\x1f.,;:!?)\]}]/g;

export class Shown {
  /** `pieces` are {text, style}. */
  constructor(pieces) {
    this.plain = pieces;
    this.text = pieces.length === 1 ? pieces[0].text : pieces.map(({ text }) => text).join("");
    this.broken = { columns: Infinity, ends: [] };
  }

  /** The indexes of the text at which its second line of so many columns begins, its third … */
  breaks(columns) {
    if (this.broken.columns !== columns) this.broken = { columns, ends: breaks(this.text, columns) };
    return this.broken.ends;
  }

  /** The lines of so many columns from one up to another, each of which is pieces {text, style, href}. */
  lines(columns, first = 0, last = Infinity) {
    this.pieces ??= linked(this.plain, this.text);
    const ends = [0, ...this.breaks(columns).slice(Math.max(0, first - 1), last), this.text.length];
    const starts = first > 0 ? ends.slice(1) : ends;
    return cut(this.pieces, starts.slice(0, Math.min(last - first, starts.length - 1) + 1));
  }
}

/** Pieces between positions of their text, in as many parts as there are positions but one. */
function cut(pieces, positions) {
  const parts = positions.slice(1).map(() => []);
  let part = 0;
  let at = 0;
  for (const piece of pieces) {
    const end = at + piece.text.length;
    for (let from = Math.max(at, positions[0]); from < end && part < parts.length; ) {
      const to = Math.min(end, positions[part + 1]);
      if (to > from) parts[part].push({ ...piece, text: piece.text.slice(from - at, to - at) });
      from = to;
      if (to === positions[part + 1]) part++;
    }
    at = end;
    if (part === parts.length) break;
  }
  return parts;
}

/** The pieces with addresses in the text as links, whatever colours change within them. */
function linked(pieces, text) {
  if (!text.includes("http")) return pieces.map(own);
  const found = [...text.matchAll(ADDRESS)];
  const parts = [];
  let at = 0;
  let next = 0;
  for (const piece of pieces) {
    const end = at + piece.text.length;
    for (let from = at; from < end; ) {
      while (next < found.length && found[next].index + found[next][0].length <= from) next++;
      const link = found[next];
      const inside = link && link.index <= from;
      const to = Math.min(end, inside ? link.index + link[0].length : (link?.index ?? end));
      parts.push(own({ ...piece, text: piece.text.slice(from - at, to - at), href: inside ? link[0] : undefined }));
      from = to;
    }
    at = end;
  }
  return parts;
}

/** A link that the build made goes before one that is an address in the text. */
function own(piece) {
  return piece.style.link ? { ...piece, href: piece.style.link } : piece;
}
