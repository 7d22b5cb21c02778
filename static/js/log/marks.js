// Where in the log the lines are that a search found: marks beside the scroll bar.

const COLOUR = "#e6b450";
const HEIGHT = 2; // pixels
const APART = 500; // milliseconds between two drawings of the same lines

export class Marks {
  constructor(canvas, viewer) {
    Object.assign(this, { canvas, viewer });
    this.lines = [];
    this.drawn = -APART;
    this.due = 0;
  }

  /** Draws the marks of lines; those in the same place are one. */
  show(lines) {
    const { layout } = this.viewer;
    const height = this.viewer.scroller.clientHeight;
    const state = `${layout.height} ${height}`;
    if (lines === this.lines && state === this.state) return;
    const wait = lines === this.lines ? this.drawn + APART - performance.now() : 0;
    if (wait > 0) {
      this.due ||= setTimeout(() => {
        this.due = 0;
        this.show(this.lines);
      }, wait);
      return;
    }
    Object.assign(this, { lines, state, drawn: performance.now() });
    this.canvas.hidden = !lines.length;
    this.canvas.height = height;
    const places = new Set(lines.map((line) => Math.floor((layout.top(line) / Math.max(layout.height, 1)) * (height - HEIGHT))));
    const context = this.canvas.getContext("2d");
    context.fillStyle = COLOUR;
    for (const place of places) context.fillRect(0, place, this.canvas.width, HEIGHT);
    this.canvas.dataset.marks = places.size;
  }
}
