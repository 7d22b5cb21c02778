// Buttons that copy what is beside them.

import { toClipboard } from "./clipboard.js";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const copied = await toClipboard(document.getElementById(button.dataset.copy).textContent);
    button.firstElementChild.textContent = copied ? "Copied" : "Select and copy it yourself";
  });
}
