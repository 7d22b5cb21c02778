// Shows a job's log as it is written. Goes on from the byte where it was when a connection breaks off, so
// that nothing is lost or doubled. Text only ever becomes text nodes.

const BLOCK = 64 * 1024;
const RETRY = [200, 500, 1000, 2000, 5000];

const view = document.getElementById("log");
const decoder = new TextDecoder();
let offset = 0;
let block = null;
let size = 0;

function append(text) {
  const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  if (block === null || size > BLOCK) {
    block = view.appendChild(document.createElement("pre"));
    size = 0;
  }
  block.append(text);
  size += text.length;
  if (atEnd) view.scrollTop = view.scrollHeight;
}

async function follow() {
  const response = await fetch(`${view.dataset.stream}?follow=true&offset=${offset}`);
  if (!response.ok) throw new Error(await response.text());
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    offset += value.length;
    append(decoder.decode(value, { stream: true }));
  }
}

let failures = 0;
for (;;) {
  const before = offset;
  try {
    await follow();
    break;
  } catch {
    failures = offset > before ? 0 : failures + 1;
    await new Promise((again) => setTimeout(again, RETRY[Math.min(failures, RETRY.length - 1)]));
  }
}
