"""Pages that are open when their session ends: what was typed stays, and a login leads back to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Console
from tests.support.server import Server
from tests.support.users import PASSWORD, add_user, as_, token_of


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the administrator root."""
    server = Server(tmp_path_factory.mktemp("sessions") / "data", executor="process").start()
    add_user(server, "root", "admin")
    server.headers = as_(token_of(server, "root"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def refusals(console: Console) -> None:
    """Pages are refused here, and say so."""
    console.allow("401")


async def log_in(page: Page) -> None:
    await page.get_by_label("Name").fill("root")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()


async def log_out_in_another_tab(page: Page, server: Server) -> None:
    other = await page.context.new_page()
    await other.goto(f"{server.url}/ui/account")
    await other.get_by_role("button", name="Log out").click()
    await expect(other).to_have_url(f"{server.url}/login")


async def log_in_in_a_new_tab(page: Page, server: Server) -> None:
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Log in in a new tab").click()
    other = await opened.value
    await log_in(other)
    await expect(other).to_have_url(f"{server.url}/")


async def test_a_page_without_entries_leads_to_the_login_and_from_there_back(page: Page, team: Server):
    await page.goto(f"{team.url}/ui/builds?status=failed")
    await log_in(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Builds")
    await log_out_in_another_tab(page, team)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    await log_in(page)
    await expect(page).to_have_url(f"{team.url}/ui/builds?status=failed")


async def test_entries_stay_until_the_next_login(page: Page, team: Server):
    pipeline = team.pipeline({"name": "Typed", "steps": ["true"]})
    await page.goto(f"{team.url}/ui/pipelines/{pipeline}")
    await log_in(page)
    variables = page.get_by_label("Environment")
    await variables.fill("LONG=typed")
    await log_out_in_another_tab(page, team)
    await expect(page.locator("#logged-out")).to_be_visible()
    await log_in_in_a_new_tab(page, team)
    await expect(page.locator("#logged-out")).to_be_hidden()
    await expect(variables).to_have_value("LONG=typed")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Build #")


async def test_a_choice_stays_like_an_entry(page: Page, team: Server):
    pipeline = team.pipeline({"name": "Chosen", "steps": ["true"]})
    await page.goto(f"{team.url}/ui/pipelines/{pipeline}")
    await log_in(page)
    some = page.get_by_role("radio", name="Administrators and these users")
    await some.check()
    await log_out_in_another_tab(page, team)
    await expect(page.locator("#logged-out")).to_be_visible()
    await expect(some).to_be_checked()


async def test_a_form_that_was_sent_without_a_session_is_sent_again_by_loading_the_answer_again(
    page: Page, team: Server
):
    await page.goto(f"{team.url}/ui/pipelines/new")
    await log_in(page)
    await page.locator("#config").fill("name: Sent again\nsteps: [echo again]\n")
    await log_out_in_another_tab(page, team)
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are logged out")
    assert "Sent again" not in [one["name"] for one in team.get("/pipelines").json]
    await log_in_in_a_new_tab(page, team)
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sent again")
