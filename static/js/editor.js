// The editor of a definition: line numbers, and what is wrong with it while one types.

const WAIT = 400; // milliseconds after the last key

for (const editor of document.querySelectorAll(".editor")) {
  const text = editor.querySelector("textarea");
  const gutter = editor.querySelector(".gutter");
  const checks = editor.querySelector(".checks");
  let timer = 0;
  let asked = 0;

  function number() {
    const wrong = new Set([...checks.querySelectorAll("[data-line]")].map((item) => Number(item.dataset.line)));
    const count = text.value.split("\n").length;
    gutter.replaceChildren(
      ...Array.from({ length: count }, (_, index) => {
        const line = document.createElement("span");
        line.textContent = String(index + 1);
        line.className = wrong.has(index + 1) ? "wrong" : "";
        return line;
      }),
    );
    gutter.scrollTop = text.scrollTop;
  }

  async function check() {
    const mine = ++asked;
    const body = new URLSearchParams({ config: text.value });
    const response = await fetch(editor.dataset.check, { method: "POST", body }).catch(() => null);
    if (!response?.ok || mine !== asked) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    checks.replaceChildren(...page.body.childNodes);
    number();
  }

  text.addEventListener("input", () => {
    number();
    clearTimeout(timer);
    timer = setTimeout(check, WAIT);
  });
  text.addEventListener("scroll", () => (gutter.scrollTop = text.scrollTop));
  number();
}
