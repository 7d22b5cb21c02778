// The theme that was chosen, before anything is drawn. Not a module: those wait until the page is there.

document.documentElement.dataset.theme = localStorage.getItem("rapidflow.theme") ?? "system";
