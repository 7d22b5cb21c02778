// Marks within the rows what a search found.

const NAME = "search";

/** Marks the [start, end] of the `matches` in each of the elements, and nothing else any more. */
export function highlight(elements, matches) {
  const ranges = elements.flatMap((element, at) => rangesIn(element, matches[at]));
  CSS.highlights?.set(NAME, new Highlight(...ranges));
}

/** Takes all marks away. */
export function unmark() {
  CSS.highlights?.delete(NAME);
}

function rangesIn(element, matches) {
  const nodes = [];
  for (let walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT); walker.nextNode(); ) nodes.push(walker.currentNode);
  let [at, before] = [0, 0]; // of the node that was reached; matches come in order
  const place = (offset) => {
    while (at < nodes.length - 1 && offset > before + nodes[at].length) before += nodes[at++].length;
    return [nodes[at], offset - before];
  };
  return matches.filter(([start, end]) => end > start).map(([start, end]) => {
    const range = new Range();
    range.setStart(...place(start));
    range.setEnd(...place(end));
    return range;
  });
}
