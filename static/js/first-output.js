// What a build does before its first output, in the black of its log. It is no part of the log.

const place = document.querySelector("#log .doing");
const output = document.querySelector("#log .output");

function show() {
  if (output.querySelector(".row")) return end();
  const text = document.getElementById("job").dataset.doing ?? "";
  if (place.textContent !== text) place.textContent = text;
}

function end() {
  rows.disconnect();
  document.removeEventListener("htmx:after:swap", show);
  place.remove();
}

const rows = new MutationObserver(show);
rows.observe(output, { childList: true, subtree: true });
document.addEventListener("htmx:after:swap", show);
show();
