"""What administrators and developers do with accounts, in the browser: nobody needs curl."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import Console, whole
from tests.support.server import Server
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the users root (admin) and anna (builder)."""
    server = Server(tmp_path_factory.mktemp("team") / "data", executor="process", grace="1s").start()
    for name, role in (("root", "admin"), ("anna", "builder")):
        add_user(server, name, role)
    yield server
    server.stop()


async def log_in(page: Page, server: Server, name: str, then: str, password: str = PASSWORD) -> None:
    """Logs in by the form and lands at `then`."""
    await page.goto(f"{server.url}{then}")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{server.url}{then}")


async def test_from_a_server_without_login_to_the_first_two_users(
    page: Page, browser: Browser, new_server: Callable[..., Server]
):
    server = new_server(executor="process").start()
    await page.goto(server.url)
    await page.get_by_role("link", name="Users").click()
    await expect(page.get_by_text("There are no users yet")).to_be_visible()
    await page.get_by_label("Name").fill("root")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Add user").click()
    await expect(page).to_have_url(f"{server.url}/login?next=/ui/users")
    await page.get_by_label("Name").fill("root")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.locator("#add").get_by_label("Name").fill("bea")
    await page.locator("#add").get_by_label("Role").select_option("builder")
    await page.locator("#add").get_by_label("Password").fill("first password")
    await page.get_by_role("button", name="Add user").click()
    await expect(page.get_by_role("row", name="bea")).to_contain_text("builder")
    hers = await (await browser.new_context()).new_page()
    await log_in(hers, server, "bea", "/ui/account", "first password")
    await expect(hers.get_by_role("link", name="Users")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_role("row", name="bea")).to_contain_text("just now")
    await hers.context.close()


async def test_a_token_is_made_copied_used_and_revoked(page: Page, team: Server):
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await log_in(page, team, "anna", "/ui/account")
    new = page.locator("#new-token")
    await new.get_by_label("Name").fill("laptop")
    await new.get_by_label("Role").select_option("viewer")
    await new.get_by_label("Days").fill("7")
    await new.get_by_role("button", name="Create token").click()
    made = page.locator("#made")
    copied: list[str] = []
    for what in ("the token", "the command", "the line for curl"):
        await made.get_by_role("button", name=f"Copy {what}").click()
        await expect(made.get_by_role("button", name=f"Copied {what}")).to_be_visible()
        copied.append(await page.evaluate("navigator.clipboard.readText()"))
    secret, command, curl = copied
    assert secret == await page.locator("#secret").text_content()
    assert command == f"export RAPIDFLOW_URL={team.url} RAPIDFLOW_TOKEN={secret}"
    assert curl == f"curl -H 'Authorization: Bearer {secret}' {team.url}/me"
    assert team.get("/me", as_(secret)).json == {"name": "anna", "role": "viewer", "token": "laptop"}
    await page.get_by_role("link", name="anna").click()
    await expect(page.locator("#made")).to_have_count(0)
    await expect(page.locator("#tokens")).to_contain_text("just now")
    page.once("dialog", lambda dialog: dialog.dismiss())
    await page.get_by_role("button", name="Revoke laptop").click()
    assert team.get("/me", as_(secret)).status == 200
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Revoke laptop").click()
    await expect(page.get_by_text("The token is revoked.")).to_be_visible()
    assert team.get("/me", as_(secret)).status == 401


async def test_the_commands_on_a_jobs_page_take_a_token_from_the_shell(page: Page, team: Server):
    root = as_(token_of(team, "root"))
    body = json.dumps({"config": "name: Copied\nsteps: [echo copied]\n"})
    pipeline = team.request("POST", "/pipelines", body, {**root, "Content-Type": "application/json"}).json
    job = team.request("POST", f"/pipelines/{pipeline['id']}/jobs", None, root).json["id"]
    await log_in(page, team, "anna", f"/ui/jobs/{job}")
    await whole(page)
    # What comes onto the page at the end moves the rest of it away from under the pointer.
    await expect(page.get_by_role("heading", name=f"Build #{job} success")).to_be_visible()
    await page.get_by_text("Commands").click()
    await expect(page.locator("#commands .snippet").first).to_be_visible()
    follow = await page.locator("#commands .snippet").all_inner_texts()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = {**os.environ, "PATH": path, "RAPIDFLOW_TOKEN": token_of(team, "anna")}
    for command in follow[:2]:
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", command], env=shell, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.endswith("copied\n\n=== Build completed ===\n"), (command, done.stderr)
    await page.goto(f"{team.url}/ui/api")
    await expect(page.locator("main")).to_contain_text(
        f'curl -H "Authorization: Bearer $RAPIDFLOW_TOKEN" -X POST {team.url}/jobs'
    )


async def test_a_token_with_a_long_name_and_many_pipelines_leaves_room_to_revoke_it(page: Page, team: Server):
    headers = {"Cookie": session_of(team, "root"), "Content-Type": "application/json"}
    bodies = [json.dumps({"name": f"Service {number}", "config": "steps: ['true']\n"}) for number in range(6)]
    pipelines = [team.request("POST", "/pipelines", body, headers).json["id"] for body in bodies]
    body = json.dumps({"name": "W" * 64, "role": "viewer", "pipelines": pipelines})
    assert team.request("POST", "/tokens", body, headers).status == 201
    await log_in(page, team, "root", "/ui/account")
    await expect(page.get_by_role("button", name=f"Revoke {'W' * 64}")).to_be_in_viewport(ratio=1)
    row = page.get_by_role("row").filter(has_text="W" * 64)
    await expect(row).not_to_contain_text("Service 1", use_inner_text=True)
    await row.get_by_text("6 pipelines").click()
    await expect(row).to_contain_text("Service 0, Service 1", use_inner_text=True)


async def test_why_a_form_was_refused_is_in_sight_wherever_the_form_is(
    page: Page, team: Server, console: Console
):
    console.allow("Failed to load resource")
    await page.set_viewport_size({"width": 390, "height": 700})
    await log_in(page, team, "root", "/ui/users")
    headers = {"Cookie": session_of(team, "root"), "Content-Type": "application/yaml"}
    answer = team.request("POST", "/pipelines", "name: Refused\nsteps: ['true']\n", headers)
    refused = page.get_by_role("alert").filter(visible=True)
    for address, fields, button, sentence in (
        ("/ui/users", {"Name": "anna", "Password": PASSWORD}, "Add user", "There is a user anna already"),
        (
            "/ui/account",
            {"Current password": "another one", "New password": PASSWORD, "New password again": PASSWORD},
            "Change password",
            "password",
        ),
        (f"/ui/pipelines/{answer.json['id']}", {"Environment": "no variable"}, "Start", "no variable"),
    ):
        await page.goto(f"{team.url}{address}")
        for label, text in fields.items():
            await page.get_by_label(label, exact=True).fill(text)
        await page.get_by_role("button", name=button, exact=True).click()
        await expect(refused).to_contain_text(sentence)
        await expect(refused).to_be_in_viewport()
        await expect(refused).to_be_focused()


async def test_a_password_is_changed_and_other_browsers_are_logged_out(
    page: Page, team: Server, console: Console
):
    console.allow("422")
    add_user(team, "paula", "viewer")
    other = {"Cookie": session_of(team, "paula")}
    await log_in(page, team, "paula", "/ui/account")
    form = page.locator("#password")
    for password, again, said in (
        ("not the password", "new password", "The current password is wrong"),
        (PASSWORD, "other password", "do not match"),
        (PASSWORD, "new password", None),
    ):
        await form.get_by_label("Current password").fill(password)
        await form.get_by_label("New password", exact=True).fill("new password")
        await form.get_by_label("New password again").fill(again)
        await form.get_by_role("button", name="Change password").click()
        if said is not None:
            await expect(form.get_by_role("alert")).to_contain_text(said)
    await expect(page.get_by_text("Your password is changed")).to_be_visible()
    assert team.get("/me", other).status == 401
    assert session_of(team, "paula", "new password")
    await page.get_by_role("button", name="Log out").click()
    await expect(page).to_have_url(f"{team.url}/login")
    answer = await page.goto(f"{team.url}/ui/account")
    assert answer is not None and "/login?next=" in answer.url


async def test_who_may_see_a_pipeline_is_chosen_on_its_page(page: Page, browser: Browser, team: Server):
    await log_in(page, team, "root", "/ui/pipelines/new")
    await page.get_by_label("Definition, in YAML").fill("name: Hidden\nsteps:\n  - 'true'\n")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hidden")
    address = page.url
    hers = await (await browser.new_context()).new_page()
    await log_in(hers, team, "anna", address.removeprefix(team.url))
    panel = page.locator("#visibility")
    await panel.get_by_label("Administrators and these users").check()
    await panel.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("restricted")
    gone = await hers.reload()
    assert gone is not None and gone.status == 404
    await panel.get_by_label("anna").check()
    await panel.get_by_role("button", name="Save").click()
    await expect(panel.get_by_label("anna")).to_be_checked()
    await hers.goto(team.url)
    await expect(hers.get_by_role("row", name="Hidden").first).to_contain_text("restricted")
    await hers.context.close()


async def test_the_audit_log_is_filtered_by_a_user(page: Page, team: Server):
    await log_in(page, team, "root", "/ui/audit")
    await expect(page.get_by_role("row").filter(has_text="user add").first).to_contain_text("command line")
    await page.get_by_label("User").fill("anna")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("user=anna"))
    await expect(page.get_by_role("heading", level=2)).to_have_text("Activity of anna")
    for who in await page.locator("tbody .who:first-of-type").all_text_contents():
        assert who.startswith("anna")


async def test_secrets_are_set_where_they_are_missing_replaced_and_removed(page: Page, team: Server):
    await log_in(page, team, "root", "/ui/pipelines/new")
    config = "name: Secretive\nsecrets: [TOKEN]\nsteps:\n  - 'true'\n"
    await page.get_by_label("Definition, in YAML").fill(config)
    await page.get_by_role("button", name="Save", exact=True).click()
    panel = page.locator("#secrets")
    await expect(panel).to_contain_text("missing: builds will fail")
    await panel.get_by_role("link", name="Set TOKEN").click()
    await expect(panel.get_by_label("Name")).to_have_value("TOKEN")
    value = panel.get_by_label("Value")
    await expect(value).to_be_focused()
    hidden = "(field) => getComputedStyle(field).webkitTextSecurity"
    assert await value.evaluate(hidden) == "disc"
    await panel.get_by_label("Show what I type").check()
    assert await value.evaluate(hidden) == "none"
    # An answer of the server would not show the value.
    for wrong, name, typed in (
        (value, "TOKEN", "short"),
        (panel.get_by_label("Name"), "TO-KEN", "long enough"),
    ):
        await panel.get_by_label("Name").fill(name)
        await value.fill(typed)
        await panel.get_by_role("button", name="Save secret").click()
        assert await wrong.evaluate("(field) => field.matches(':invalid:focus')")
    await panel.get_by_label("Name").fill("TOKEN")
    await value.fill("long enough\nand of two lines")
    await panel.get_by_role("button", name="Save secret").click()
    await expect(panel.locator("li")).to_contain_text("set just now by root")
    page.once("dialog", lambda dialog: dialog.accept())
    await panel.get_by_role("button", name="Remove TOKEN").click()
    await expect(panel).to_contain_text("missing: builds will fail")
    await page.get_by_role("link", name="Secrets", exact=True).click()
    await page.get_by_label("Name").fill("TOKEN")
    await page.get_by_label("Value").fill("for all pipelines")
    await page.get_by_role("button", name="Save secret").click()
    await expect(page.get_by_text("The secret is stored.")).to_be_visible()
    await page.go_back()
    await page.go_back()
    await page.reload()
    await expect(panel.get_by_role("link", name="all pipelines")).to_be_visible()


async def test_without_scripts_users_tokens_passwords_and_visibility_are_kept(browser: Browser, team: Server):
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await log_in(page, team, "root", "/ui/users")
    add = page.locator("#add")
    await add.get_by_label("Name").fill("anna")
    await add.get_by_label("Password").fill("first password")
    await add.get_by_role("button", name="Add user").click()
    await expect(add.get_by_role("alert")).to_contain_text("There is a user anna already")
    await expect(add.get_by_label("Name")).to_have_value("anna")
    await expect(add.get_by_label("Password")).to_have_value("")
    await add.get_by_label("Name").fill("nora")
    await add.get_by_label("Password").fill("first password")
    await add.get_by_role("button", name="Add user").click()
    await page.get_by_role("link", name="nora").click()
    await page.locator("#role-of").get_by_label("Role").select_option("admin")
    await page.get_by_role("button", name="Change role").click()
    await expect(page.get_by_text("The role is changed.")).to_be_visible()
    await page.get_by_label("New password").fill("second password")
    await page.get_by_role("button", name="Set password").click()
    await expect(page.get_by_text("The password is set")).to_be_visible()
    await page.get_by_text("Remove this user").click()
    await page.get_by_role("button", name="Remove “nora”").click()
    await expect(page.get_by_text("The user is removed.")).to_be_visible()
    await expect(page.get_by_role("link", name="nora")).to_have_count(0)
    await page.get_by_role("banner").get_by_role("link", name="root").click()
    await page.locator("#token-name").fill("no scripts")
    await page.get_by_role("button", name="Create token").click()
    secret = await page.locator("#secret").text_content()
    assert secret is not None and team.get("/me", as_(secret)).json["name"] == "root"
    await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    await page.get_by_role("button", name="Revoke no scripts").click()
    await expect(page.get_by_text("The token is revoked.")).to_be_visible()
    assert team.get("/me", as_(secret)).status == 401
    await page.get_by_role("link", name="Secrets").click()
    await page.get_by_label("Name").fill("PLAIN")
    await page.get_by_label("Value").fill("without scripts")
    await page.get_by_role("button", name="Save secret").click()
    await page.get_by_role("button", name="Remove PLAIN").click()
    await expect(page.get_by_text("The secret is removed.")).to_be_visible()
    await context.close()


async def test_a_page_that_answers_a_form_is_not_loaded_again_for_a_script_that_did_not_arrive(
    page: Page, team: Server, console: Console
):
    console.allow("ERR_FAILED")
    console.allow("401")
    await page.goto(f"{team.url}/login")
    await page.route("**/js/keys.js*", lambda route: route.abort())
    sent: list[str] = []
    page.on("request", lambda request: request.is_navigation_request() and sent.append(request.method))
    await page.get_by_label("Name").fill("nobody")
    await page.get_by_label("Password").fill("wrong password")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Wrong name or password")
    described = page.get_by_label("Password")
    await expect(described).to_have_accessible_description(re.compile("Wrong name or password"))
    await page.wait_for_load_state()
    await page.wait_for_timeout(300)
    assert sent == ["POST"]
    await expect(page.get_by_label("Name")).to_have_value("nobody")
