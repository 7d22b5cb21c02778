// Buttons that copy what is beside them.

// Browsers have a clipboard only for pages that came over TLS or from their own machine.
for (const button of navigator.clipboard ? document.querySelectorAll("[data-copy]") : []) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.firstElementChild.textContent = "Copied";
  });
}
