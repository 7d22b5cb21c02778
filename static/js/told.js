// Which builds somebody wants to hear of, and the notifications of their ends. Kept in this browser, so that any page
// of the server can tell; of all that are open, the one that has the lock asks for them.

const { told, who } = document.documentElement.dataset;
const NAME = `rapidflow.told ${told} ${who}`; // two servers may be below one host, and two people at one browser
const MOST = 50; // builds; the server answers for no more
const KEPT = 7 * 86_400_000; // milliseconds
const PAUSE = 5_000; // milliseconds; browsers make a minute of it in a tab that is hidden for long
const PAUSE_AFTER_ERROR = 30_000;
let watching = false;

/** Why the browser can't tell of builds, as a sentence; empty where it can, perhaps after it asked. */
export function obstacle() {
  if (!isSecureContext) return "Browsers show notifications only of pages over HTTPS or on localhost.";
  if (!("Notification" in window && navigator.locks)) return "This browser does not support notifications.";
  if (/android/i.test(navigator.userAgent)) return "Browsers on Android show no notifications of pages.";
  if (Notification.permission === "denied") return "Notifications of this site are blocked. Allow them in the site settings of the browser.";
  return "";
}

/** The ids of the builds, as text. */
export function wanted() {
  return Object.keys(kept());
}

/** Adds a build, or takes it away; on all pages. The oldest of too many go. */
export function want(id, is = true) {
  const builds = kept();
  delete builds[id];
  if (is) builds[id] = Date.now() + KEPT;
  localStorage.setItem(NAME, JSON.stringify(bounded(builds)));
  changed();
}

/** Calls `action` whenever the builds are others, whichever page changed them. */
export function onChange(action) {
  document.addEventListener("rapidflow:told", action);
}

/** What the server says of builds; null where it can't be asked. */
export async function ask(ids) {
  const response = await fetch(`${told}?ids=${ids.slice(-MOST)}`).catch(() => null);
  if (!response?.ok || response.redirected) return null; // to the login
  const found = await response.json().catch(() => null);
  return Array.isArray(found) ? found : null;
}

/** The address of a build's page. */
export function pageOf(id) {
  return new URL(`../jobs/${id}`, new URL(told, location.origin)).href;
}

function kept() {
  try {
    return bounded(JSON.parse(localStorage.getItem(NAME)) ?? {});
  } catch {
    return {};
  }
}

function bounded(builds) {
  const now = Date.now();
  const valid = ([id, until]) => /^[1-9]\d{0,14}$/.test(id) && until > now && until <= now + KEPT;
  const oldestFirst = Object.entries(builds).filter(valid).sort(([, one], [, other]) => one - other);
  return Object.fromEntries(oldestFirst.slice(-MOST));
}

function changed() {
  document.dispatchEvent(new CustomEvent("rapidflow:told"));
  watch();
}

async function watch() {
  if (watching || obstacle() || Notification.permission !== "granted" || !wanted().length) return;
  watching = true;
  // It is refused to a page that goes away.
  const watched = await navigator.locks.request(NAME, poll).then(() => true, () => false);
  watching = false;
  if (watched) watch(); // what was added just when the last one had ended
}

async function poll() {
  while (wanted().length && Notification.permission === "granted") {
    const pause = (await asked()) ? PAUSE : PAUSE_AFTER_ERROR;
    if (wanted().length) await new Promise((resume) => setTimeout(resume, pause));
  }
}

/** Asks once, and tells; says whether all of it went well. What did not is tried again. */
async function asked() {
  const ids = wanted();
  const found = await ask(ids);
  let isWell = found !== null;
  for (const id of found ? ids : []) {
    try {
      settle(id, found.find((build) => String(build.id) === id));
    } catch {
      isWell = false; // the browser showed no notification, or stored nothing
    }
  }
  return isWell;
}

/** Tells of a build that has ended, unless somebody took it away meanwhile; forgets it, also if it is not there any more. */
function settle(id, build) {
  if ((build && !build.ended) || !wanted().includes(id)) return;
  if (build) tell(build);
  want(id, false);
}

function tell({ id, name, status, title, reason }) {
  const body = [reason, title].filter(Boolean).join("\n").slice(0, 500);
  const icon = document.querySelector('link[rel="icon"]').href.replace(/[^/]+$/, `${status}.svg`);
  const shown = new Notification(`${name} #${id}: ${status}`, { body, icon, tag: `${NAME} ${id}` });
  shown.addEventListener("click", () => {
    shown.close();
    focus();
    // Never in place of a page on which somebody may be writing.
    if (location.pathname !== new URL(pageOf(id)).pathname) open(pageOf(id), `rapidflow-build-${id}`);
  });
}

addEventListener("storage", (event) => {
  if (event.key === NAME || event.key === null) changed();
});
watch();
