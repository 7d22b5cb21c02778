// Asks before edits are lost that nobody saved.

/** Lets the browser ask when somebody leaves the page with edits in `text`; saving them is no leaving. */
export function guard(editor, text) {
  const isUnsaved = () => "unsaved" in editor.dataset || text.value !== text.defaultValue;
  const ask = (event) => {
    if (!isUnsaved()) return;
    event.preventDefault();
    // Who stays may send later the form that was about to be sent: the pages send each only once.
    setTimeout(() => document.dispatchEvent(new Event("stay")));
  };
  // Only once there may be something to lose: some browsers keep no page that listens, for when one goes back to it.
  const watch = () => addEventListener("beforeunload", ask);
  text.addEventListener("input", watch);
  addEventListener("pageshow", () => isUnsaved() && watch());
  text.form.addEventListener("submit", () => removeEventListener("beforeunload", ask));
}
