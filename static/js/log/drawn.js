// The rows that are in the page.

export class Drawn {
  /** `make(chunk, index, part, old)` gives the element of a row, which may be the old one. */
  constructor(layer, make) {
    Object.assign(this, { layer, make });
    this.shown = new Map();
  }

  /** Puts the wanted rows into the page; those that are there stay the same elements, with what is selected. */
  show(wanted) {
    const before = this.shown;
    const key = ([chunk, index, part]) => `${chunk.offsetOf(index)} ${part}`;
    const shown = new Map(wanted.map((row) => [key(row), null]));
    for (const [place, element] of before) {
      if (shown.has(place)) continue;
      element.remove();
      before.delete(place);
    }
    let next = this.layer.firstChild;
    for (const row of wanted) {
      const old = before.get(key(row));
      const element = this.make(...row, old);
      if (old && old !== element) {
        if (old === next) next = element;
        old.replaceWith(element);
      }
      if (element === next) next = next.nextSibling;
      else this.layer.insertBefore(element, next);
      shown.set(key(row), element);
      before.set(key(row), element); // should the next one fail
    }
    this.shown = shown;
  }
}
