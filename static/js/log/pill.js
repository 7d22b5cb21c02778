// What there is to see elsewhere while one reads: new lines below, or why a build failed.

import { counted } from "./row.js";

export class Pill {
  constructor(button, viewer) {
    Object.assign(this, { button, viewer });
    this.left = null; // how many lines there were when the end went out of sight
    this.error = null;
    button.addEventListener("click", () => this.#go());
  }

  /** Takes that rows were drawn, or that there are more. */
  update() {
    if (!this.viewer.viewport.stays) this.left = null;
    else this.left ??= this.viewer.chunks.lines;
    const fresh = this.left === null ? 0 : this.viewer.chunks.lines - this.left;
    this.button.hidden = !this.error && fresh <= 0;
    this.button.textContent = this.error ? "Build failed: go to the first error" : `↓ ${counted(fresh).replace(/ /, " new ")}`;
  }

  /** Offers to go to a line with an error. */
  offer(line) {
    this.error = { line };
    this.update();
  }

  #go() {
    const { error } = this;
    this.error = null;
    if (error) this.viewer.show(error.line);
    else this.viewer.viewport.follow();
    this.update();
  }
}
