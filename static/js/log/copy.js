// Copies lines of the log.

import { toClipboard } from "../clipboard.js";
import { announced } from "./annotations.js";
import { counted } from "./row.js";
import { plain } from "./terminal.js";

const AT_ONCE = 20; // milliseconds, after which the page gets its turn

/** Copies the marked lines, or all of them, as they are shown; gives what to say about it. */
export async function copy({ rows, chunks, bytes }) {
  const from = rows.marked?.from ?? 0;
  const to = rows.marked?.to ?? chunks.lines;
  const first = chunks.points[chunks.indexOfLine(from)];
  const text = new TextDecoder().decode(await bytes.range(first.offset, chunks.end(chunks.indexOfLine(to))));
  const lines = text.split("\n").slice(from - first.line, to - first.line + 1);
  await shown(lines);
  if (!(await toClipboard(lines.join("\n")))) return "The browser refused to copy; select the lines, or download the log.";
  return rows.marked ? `Copied ${counted(lines.length)}.` : "Copied the whole log.";
}

async function shown(lines) {
  let since = performance.now();
  for (let at = 0; at < lines.length; at++) {
    lines[at] = plain(announced(lines[at]));
    if (performance.now() - since < AT_ONCE) continue;
    await new Promise((go) => setTimeout(go));
    since = performance.now();
  }
}
