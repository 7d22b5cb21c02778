// Has the browser refuse secrets that the server would refuse: its answer shows no values, so all that was typed is lost.

const LEAST = 6; // bytes
const encoder = new TextEncoder();

document.addEventListener("input", ({ target }) => {
  if (!target.matches("textarea.masked")) return;
  const size = encoder.encode(target.value.trim()).length;
  target.setCustomValidity(target.value && size < LEAST ? `A secret has at least ${LEAST} bytes.` : "");
});
