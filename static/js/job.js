// A job's page, but for its log: the tab shows the state, screen readers hear of it, keys.

import { key } from "./keys.js";

const SAYING = 500; // milliseconds; screen readers miss what changes while a page is loaded
const job = () => document.getElementById("job");
const link = (relation) => document.querySelector(`#job a[rel="${relation}"]`)?.click();
const before = `rapidflow.before ${job().dataset.job}`; // what was shown before a reload
let shown = sessionStorage.getItem(before);
sessionStorage.removeItem(before);

function follow() {
  const { job: id, status, name } = job().dataset;
  if (status === shown) return;
  if (shown) setTimeout(() => (document.getElementById("job-said").textContent = `${name} #${id}: ${status}`), SAYING);
  shown = status;
  document.title = `#${id} ${status} · ${name}`;
  const icon = document.querySelector('link[rel="icon"]');
  icon.setAttribute("href", icon.getAttribute("href").replace(/[^/]+$/, `${status}.svg`));
}

// The first part that failed: its log comes in place of the build's, unless somebody reads that. Whether it does so.
function openFailed() {
  const { failed } = job().dataset;
  const log = document.getElementById("log");
  if (!failed || failed === log.dataset.id || location.search || location.hash) return false;
  if (log.contains(document.activeElement)) return false;
  sessionStorage.setItem(before, shown); // the page says after the reload that it is another one
  location.reload();
  return true;
}

document.addEventListener("htmx:after:swap", () => openFailed() || follow());
// The page may have gone on before this was loaded.
follow();

key("r", "Retry the build", () => document.querySelector("[data-retry]")?.requestSubmit());
key("c", "Cancel the build", () => document.querySelector("[data-cancel]")?.requestSubmit());
key("[", "Previous build", () => link("prev"));
key("]", "Next build", () => link("next"));
key("g p", "Go to the pipeline", () => document.querySelector("[data-pipeline]").click());
