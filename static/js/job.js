// A job's page, but for its log: the tab shows the state, screen readers hear of it, keys.

import { key } from "./keys.js";

const job = () => document.getElementById("job");
const link = (relation) => document.querySelector(`#job a[rel="${relation}"]`)?.click();
let shown;

function follow() {
  const { job: id, status, name } = job().dataset;
  if (status === shown) return;
  if (shown) document.getElementById("job-said").textContent = `${name} #${id}: ${status}`;
  shown = status;
  document.title = `#${id} ${status} · ${name}`;
  const icon = document.querySelector('link[rel="icon"]');
  icon.setAttribute("href", icon.getAttribute("href").replace(/[^/]+$/, `${status}.svg`));
}

// The first part that failed: its log comes in place of the build's, unless somebody reads that.
function openFailed() {
  const { failed } = job().dataset;
  const log = document.getElementById("log");
  if (!failed || failed === log.dataset.id || location.search || location.hash) return;
  if (!log.contains(document.activeElement)) location.reload();
}

document.addEventListener("htmx:after:swap", follow);
document.addEventListener("htmx:after:swap", openFailed);
// The page may have gone on before this was loaded.
follow();

key("r", "Retry the build", () => document.querySelector("[data-retry]")?.requestSubmit());
key("c", "Cancel the build", () => document.querySelector("[data-cancel]")?.requestSubmit());
key("[", "Previous build", () => link("prev"));
key("]", "Next build", () => link("next"));
key("g p", "Go to the pipeline", () => document.querySelector("[data-pipeline]").click());
