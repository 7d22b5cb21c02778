// What somebody selects stays as it is until they are done.

/** Whether text within an element, or only some of it, is selected. */
export function isSelected(element) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(element, true);
}

/** Watches selecting within an element: `selecting` says whether somebody does, `ended` is called when they are done. */
export class Selecting {
  constructor(element, ended) {
    this.element = element;
    this.isPressed = false;
    element.addEventListener("pointerdown", (event) => {
      this.isPressed = event.button === 0 && event.target !== element; // not the scroll bar
    });
    // After the last two, the pointer may go up where it is not seen.
    for (const name of ["pointerup", "pointercancel", "contextmenu", "blur"]) {
      addEventListener(name, () => {
        const was = this.isPressed;
        this.isPressed = false;
        if (was && !this.selecting) ended();
      });
    }
    document.addEventListener("selectionchange", () => {
      const was = this.was;
      this.was = this.selecting;
      if (was && !this.was) ended();
    });
  }

  get selecting() {
    return this.isPressed || isSelected(this.element);
  }
}
