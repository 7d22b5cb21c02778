// Copies lines of the log.

/** Copies the marked lines, or all of them, as they were printed; gives what to say about it. */
export async function copy({ rows, chunks, bytes }) {
  const from = rows.marked?.from ?? 0;
  const to = rows.marked?.to ?? chunks.lines;
  const first = chunks.points[chunks.indexOfLine(from)];
  const text = new TextDecoder().decode(await bytes.range(first.offset, chunks.end(chunks.indexOfLine(to))));
  const lines = text.split("\n").slice(from - first.line, to - first.line + 1);
  await navigator.clipboard.writeText(lines.join("\n"));
  return rows.marked ? `Copied ${lines.length} ${lines.length === 1 ? "line" : "lines"}.` : "Copied the whole log.";
}
