"""The log of a build that has printed nothing yet."""

from __future__ import annotations

from collections.abc import Callable

from playwright.async_api import Browser, Page, expect

from tests.support.gates import let_go, waiting
from tests.support.server import Server


async def test_waiting_build_says_so_in_its_log_until_the_first_byte(
    page: Page, browser: Browser, new_server: Callable[..., Server]
) -> None:
    server = new_server(executor="process", concurrency="1").start()
    first = server.start_job({"name": "first", "steps": [waiting()]})
    second = server.start_job({"name": "second", "steps": [f"{waiting()}; echo here"]})
    server.wait_output(first, "=== Step 1")
    await page.goto(f"{server.url}/ui/jobs/{second}")
    doing = page.locator("#log .screen .doing")
    await expect(doing).to_have_text("Waiting for a free slot; it is next…")
    await expect(doing).to_be_in_viewport()
    assert server.stream(second) == ""
    context = await browser.new_context(java_script_enabled=False)
    plain = await context.new_page()
    await plain.goto(f"{server.url}/ui/jobs/{second}")
    await expect(plain.locator("#log noscript .plain").first).to_have_text(
        "Waiting for a free slot; it is next…"
    )
    third = server.start_job({"name": "third", "steps": ["true"]})
    await plain.goto(f"{server.url}/ui/jobs/{third}")
    await expect(plain.locator("#log noscript .plain").first).to_contain_text("1 build is ahead of it…")
    await context.close()
    let_go(server, first)
    server.wait_output(second, "=== Step 1")
    await expect(page.locator("#log .row").first).to_be_visible()
    await expect(doing).to_have_count(0)
    let_go(server, second)
    server.wait_finished(second)
    assert server.stream(second) == "=== Step 1 (bash) ===\nhere\n\n=== Build completed ===\n"
