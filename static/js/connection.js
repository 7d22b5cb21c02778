// Lets pages ask for what is new, and says why they are not updated: the server can't be reached, refuses, or nobody is logged in any more.

const loggedOut = document.getElementById("logged-out"); // not there where a proxy in front logs people in
const notices = [...document.querySelectorAll("#lost, #refused, #logged-out")];

const UNSEEN_PAUSE = 10_000; // ms
let asked = performance.now();

/** Shows one of the notices, or none. */
function show(name) {
  for (const notice of notices) notice.hidden = notice.id !== name;
}

/** Whether somebody has typed into a form what going to another page would lose. */
function isTyped() {
  if ("posted" in document.documentElement.dataset) return true; // the fields begin with what was refused
  const fields = [...document.querySelectorAll('form[method="post"]')].flatMap((form) => [...form.elements]);
  return fields.some((field) => {
    if (field.options) return [...field.options].some((option) => option.selected !== option.defaultSelected);
    if (!("defaultValue" in field)) return false; // a button
    return field.checked !== field.defaultChecked || field.value !== field.defaultValue;
  });
}

const statusOf = (event) => event.detail?.ctx?.response?.status;

// A page that nobody sees asks for nothing, but for the end of a build now and then: its title and icon are seen.
document.addEventListener("htmx:before:request", (event) => {
  const now = performance.now();
  if (!document.hidden || (event.target.id === "job" && now - asked >= UNSEEN_PAUSE)) asked = now;
  else event.preventDefault();
});
document.addEventListener("htmx:before:response", (event) => {
  if (statusOf(event) !== 401 || !loggedOut || !isTyped()) return;
  event.preventDefault(); // which would lead to the login
  show("logged-out");
});
document.addEventListener("htmx:error", () => show("lost"));
// A swap is also announced where an error left the page as it is.
document.addEventListener("htmx:after:swap", (event) => {
  const status = statusOf(event) ?? 200;
  if (status >= 500) show("lost");
  else if (status >= 400) show("refused");
  else show(null);
});
