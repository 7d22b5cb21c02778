// A job's page, but for its log: the tab shows the state, a notification tells of the end, keys.

import { key } from "./keys.js";

const FINISHED = ["success", "failed", "cancelled"];
const job = () => document.getElementById("job");
const link = (relation) => document.querySelector(`#job a[rel="${relation}"]`)?.click();
let shown;
let wanted = false;

function follow() {
  const { job: id, status, name } = job().dataset;
  offer();
  if (status === shown) return;
  shown = status;
  document.title = `#${id} ${status} · ${name}`;
  const icon = document.querySelector('link[rel="icon"]');
  icon.setAttribute("href", icon.getAttribute("href").replace(/[^/]+$/, `${status}.svg`));
  if (wanted && FINISHED.includes(status)) new Notification(`${name} #${id}: ${status}`, { tag: `job-${id}` });
}

function offer() {
  const button = document.querySelector("[data-notify]");
  if (!button || !("Notification" in window)) return;
  button.hidden = wanted || Notification.permission === "denied";
}

document.addEventListener("click", async (event) => {
  if (!event.target.closest("[data-notify]")) return;
  wanted = (await Notification.requestPermission()) === "granted";
  offer();
});
document.addEventListener("htmx:after:swap", follow);
// The page may have gone on before this was loaded.
follow();

let retried = false;
key("r", "Retry the build", () => {
  const form = document.querySelector("[data-retry]");
  if (form && !retried) {
    retried = true;
    form.requestSubmit();
  }
});
key("c", "Cancel the build", () => {
  const form = document.querySelector("[data-cancel]");
  if (form && confirm("Cancel this build?")) form.requestSubmit();
});
key("[", "Previous build", () => link("prev"));
key("]", "Next build", () => link("next"));
key("g p", "Go to the pipeline", () => document.querySelector("[data-pipeline]").click());
