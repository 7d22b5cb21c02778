"""People and programs are told of builds: by mail, and by webhooks of three kinds."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from rapidflow_web.api import representations
from rapidflow_web.db import claims, jobs, notifications, outbox, pipelines
from rapidflow_web.db.database import now_ms, sqlite_url
from rapidflow_web.db.models import Job, OutboxRow
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.db.trigger_models import Notification
from rapidflow_web.notify.notifications import LISTENER, NotificationMessages, Notifications
from rapidflow_web.notify.service import LISTENERS
from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.secrets.keys import Keys
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import from_environment
from tests.support.databases import opened
from tests.support.receiver import Receiver, receiving, reply
from tests.support.server import free_port

KEY = base64.b64encode(b"a key of twenty-four byte").decode()


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        outbox.register(LISTENERS)
        yield Vault(Keys(tmp_path, ()))
        outbox.register()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


async def add_pipeline(*targets: str, name: str = "web") -> int:
    listed = ", ".join(targets)
    return (await pipelines.create(name, f"name: web\nnotify: [{listed}]\nsteps: ['true']")).id


async def build(pipeline_id: int, status: str, branch: str | None = "main", **fields: Any) -> int:
    pipeline = await pipelines.existing(pipeline_id)
    columns = {
        "pipeline_id": pipeline_id, "definition_id": pipeline.definition_id, "started_by": "test",
        "branch": branch, **fields,
    }  # fmt: skip
    job_id = (await jobs.create(columns, [StepDefinition("true")], {})).id
    await claims.begin(job_id, 1000)
    cancelled = {"cancelled": True} if status == "cancelled" else {}
    error = "step 1 (bash) exited with 1" if status == "failed" else None
    await jobs.transition(job_id, "running", status, finished_at=66_000, error=error, **cancelled)
    for row in await outbox.Reader(LISTENER).rows():
        await Notifications(lambda: None).note(row)
    return job_id


def messages_of(vault: Vault, **settings: str) -> NotificationMessages:
    variables = {f"RAPIDFLOW_{name.upper()}": value for name, value in settings.items()}
    return NotificationMessages(
        from_environment({"RAPIDFLOW_PUBLIC_URL": "https://ci.example.com", **variables}),
        vault,
        representations.job,
    )


async def send_all(messages: NotificationMessages) -> None:
    for lane in await messages.lanes(now_ms()):
        while await messages.send_next(lane):
            pass


async def occasions() -> list[str]:
    return [row.occasion for row in await Notification.all().order_by("id")]


@pytest.mark.usefixtures("vault")
async def test_each_branch_is_broken_and_fixed_by_itself() -> None:
    pipeline = await add_pipeline("{mail: a@example.com}")
    for status, branch in [
        ("success", "main"), ("failed", "main"), ("failed", "main"), ("failed", "other"),
        ("cancelled", "main"), ("success", "main"), ("success", "main"), ("success", "other"),
    ]:  # fmt: skip
        await build(pipeline, status, branch)
    assert await occasions() == ["broken", "broken", "fixed", "fixed"]
    assert await outbox.Reader(LISTENER).rows() == []


@pytest.mark.usefixtures("vault")
async def test_builds_of_forks_neither_tell_anybody_nor_count() -> None:
    pipeline = await add_pipeline("{mail: a@example.com, when: [broken, fixed, failed, always]}")
    await build(pipeline, "success", None, ref="refs/pull/1/head")
    await build(pipeline, "failed", None, ref="refs/pull/1/head", untrusted=True)
    await build(pipeline, "success", None, ref="refs/pull/1/head")
    assert await occasions() == ["always", "always"]


async def test_a_webhook_is_signed_and_keeps_its_id(vault: Vault, receiver: Receiver) -> None:
    pipeline = await add_pipeline("{webhook: TEAM_HOOK, when: always}")
    await vault.put(pipeline, "TEAM_HOOK", f"{receiver.url}/in?x=1#whsec_{KEY}", "test")
    receiver.judge = lambda request: reply(500)
    job_id = await build(pipeline, "failed")
    messages = messages_of(vault)
    await send_all(messages)
    row = await Notification.get()
    assert row.attempts == 1 and row.error is not None and "answered 500" in row.error
    assert receiver.url not in row.error and row.next_at is not None
    await Notification.all().update(next_at=0)
    receiver.judge = lambda request: reply(204, b"")
    await send_all(messages)
    assert (await Notification.get()).sent_at is not None
    first, second = receiver.received
    assert first.path == "/in?x=1"
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    # By the specification of Standard Webhooks.
    for request in (first, second):
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
        expected = hmac.new(base64.b64decode(KEY), signed + request.body, hashlib.sha256).digest()
        assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    told = second.json
    assert list(told) == ["type", "timestamp", "data"] and told["type"] == "build.finished"
    assert told["data"]["job"] == representations.job(await Job.get(id=job_id))
    assert told["data"]["pipeline"] == {"id": pipeline, "name": "web"}
    assert told["data"]["url"] == f"https://ci.example.com/ui/jobs/{job_id}"
    assert told["data"]["occasion"] == "always"


async def test_slack_and_ntfy_are_told_in_their_formats(vault: Vault, receiver: Receiver) -> None:
    pipeline = await add_pipeline("{slack: CHAT}", "{ntfy: TOPIC}")
    await vault.put(EVERYWHERE, "CHAT", f"{receiver.url}/services/T/B", "test")
    await vault.put(pipeline, "TOPIC", f"http://me:pass@127.0.0.1:{receiver.port}/base/builds", "test")
    job_id = await build(pipeline, "failed", "a<!channel>&b", title="fix \n<b>")
    await send_all(messages_of(vault))
    by_path = {request.path: request for request in receiver.received}
    text = by_path["/services/T/B"].json["text"]
    assert text.startswith(
        f"<https://ci.example.com/ui/jobs/{job_id}|web #{job_id} failed on a&lt;!channel&gt;&amp;b>\n"
    )
    ntfy = by_path["/base"]
    assert ntfy.json["topic"] == "builds" and ntfy.json["title"].endswith("failed on a<!channel>&b")
    assert ntfy.headers["authorization"] == "Basic " + base64.b64encode(b"me:pass").decode()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("postgres://u:hunter2@db/x", "is not the URL"),
        ("hunter2 is no URL", "is not the URL"),
        (None, "is no secret"),
    ],
)
async def test_a_secret_that_is_no_url_is_not_repeated(vault: Vault, value: str | None, said: str) -> None:
    pipeline = await add_pipeline("{webhook: DATABASE}")
    if value is not None:
        await vault.put(pipeline, "DATABASE", value, "test")
    await build(pipeline, "failed")
    await send_all(messages_of(vault))
    row = await Notification.get()
    assert row.error is not None and said in row.error and "hunter2" not in row.error


@pytest.mark.parametrize("value", ["https://a..b/", f"https://{'a' * 64}.example.com/"])
async def test_a_host_that_can_not_be_looked_up_is_given_up_in_time(vault: Vault, value: str) -> None:
    pipeline = await add_pipeline("{webhook: TEAM_HOOK, when: always}")
    await vault.put(pipeline, "TEAM_HOOK", value, "test")
    await build(pipeline, "failed")
    await send_all(messages_of(vault))
    row = await Notification.get()
    assert row.attempts == 1 and row.next_at is not None
    assert row.error == "the webhook in the secret TEAM_HOOK can't be reached: UnicodeError"
    await Notification.all().update(next_at=0, created_at=0)
    await send_all(messages_of(vault))
    assert await notifications.waiting() == 0


async def test_a_message_that_the_server_fails_to_make_is_given_up_in_time(
    vault: Vault, receiver: Receiver
) -> None:
    pipeline = await add_pipeline("{webhook: TEAM_HOOK, when: always}")
    await vault.put(pipeline, "TEAM_HOOK", receiver.url, "test")
    job_id = await build(pipeline, "failed")
    await build(pipeline, "failed")

    def as_json(job: Job) -> dict[str, Any]:
        if job.id == job_id:
            raise KeyError(job_id)
        return representations.job(job)

    await Notification.filter(job_id=job_id).update(created_at=0)
    await send_all(NotificationMessages(from_environment({}), vault, as_json))
    first, second = await Notification.all().order_by("id")
    assert (first.error, first.attempts) == ("the server failed to send it: KeyError", 1)
    assert second.sent_at is not None


async def test_redirects_are_not_followed_and_what_is_gone_is_given_up(
    vault: Vault, receiver: Receiver
) -> None:
    pipeline = await add_pipeline("{webhook: TEAM_HOOK}")
    await vault.put(pipeline, "TEAM_HOOK", f"{receiver.url}/in", "test")
    receiver.judge = lambda request: reply(307, Location=f"{receiver.url}/elsewhere")
    await build(pipeline, "failed")
    await send_all(messages_of(vault))
    assert [request.path for request in receiver.received] == ["/in"]
    assert (await Notification.get()).next_at is not None
    await Notification.all().update(next_at=0)
    receiver.judge = lambda request: reply(410)
    await send_all(messages_of(vault))
    assert await notifications.waiting() == 0


class _Mails:
    """Takes mails, after a login if `password` is set. `refusal` is what it answers instead."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.refusal: dict[str, str] = {}

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address in self.refusal:
            return self.refusal[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.taken.append(parsed)
        return "250 OK"


@contextmanager
def mail_server(mails: _Mails, **options: Any) -> Iterator[str]:
    controller = Controller(mails, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield f"127.0.0.1:{controller.port}"
    finally:
        controller.stop()


async def test_a_mail_has_its_subject_both_forms_and_one_id(vault: Vault) -> None:
    pipeline = await add_pipeline("{mail: team@example.com}", name="web")
    job_id = await build(
        pipeline, "failed", "x\r\nBcc: spy@example.com", title="<script>\r\nX-Evil: 1", author="Zoë\nB"
    )
    mails = _Mails()
    with mail_server(mails) as address:
        messages = messages_of(
            vault, smtp_url=f"smtp://{address}?starttls=never", mail_from="Builds <ci@example.com>"
        )
        await send_all(messages)
        await Notification.all().update(next_at=0, sent_at=None)
        await send_all(messages)
    first, second = mails.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Subject"] == f"[RapidFlow] web #{job_id} failed on x"
    assert (first["To"], first["From"]) == ("team@example.com", "Builds <ci@example.com>")
    assert "Bcc" not in first and "X-Evil" not in first
    plain, html = first.get_body(("plain",)), first.get_body(("html",))
    assert plain is not None and html is not None
    assert f"https://ci.example.com/ui/jobs/{job_id}" in plain.get_content()
    assert "&lt;script&gt;" in html.get_content() and "<script>" not in html.get_content()


@pytest.mark.parametrize(
    ("refusal", "again"), [("450 busy, try later", True), ("550 no such mailbox", False)]
)
async def test_a_mailbox_that_is_busy_is_tried_again_and_one_that_is_not_there_is_not(
    vault: Vault, refusal: str, again: bool
) -> None:
    pipeline = await add_pipeline("{mail: gone@example.com}", "{mail: here@example.com}")
    await build(pipeline, "failed")
    mails = _Mails()
    mails.refusal["gone@example.com"] = refusal
    with mail_server(mails) as address:
        await send_all(
            messages_of(vault, smtp_url=f"smtp://{address}?starttls=never", mail_from="ci@example.com")
        )
    assert [mail["To"] for mail in mails.taken] == ["here@example.com"]
    row = await Notification.get(lane="gone@example.com")
    assert (row.next_at is not None) == again
    assert row.error is not None and refusal in row.error


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_a_wrong_login_at_the_mail_server_is_said(vault: Vault) -> None:
    pipeline = await add_pipeline("{mail: team@example.com}")
    await build(pipeline, "failed")

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == b"right", handled=False)

    mails = _Mails()
    options: dict[str, Any] = {"authenticator": check, "auth_require_tls": False, "auth_required": True}
    with mail_server(mails, **options) as address:
        for password in ("wrong", "right"):
            await Notification.all().update(next_at=0)
            await send_all(
                messages_of(
                    vault,
                    smtp_url=f"smtp://ci:{password}@{address}?starttls=never",
                    mail_from="ci@example.com",
                )
            )
            if password == "wrong":
                row = await Notification.get()
                assert row.error is not None and "refused the login" in row.error
                assert row.next_at is not None and row.next_at > now_ms() + 3_000_000
    assert len(mails.taken) == 1


async def test_without_a_mail_server_the_reason_is_kept(vault: Vault) -> None:
    pipeline = await add_pipeline("{mail: team@example.com}")
    await build(pipeline, "failed")
    await send_all(messages_of(vault))
    row = await Notification.get()
    assert row.next_at is None and row.error is not None and "RAPIDFLOW_SMTP_URL" in row.error


@pytest.mark.usefixtures("vault")
async def test_changes_that_an_earlier_version_stored_of_every_job_tell_nobody() -> None:
    pipeline = await add_pipeline("{mail: a@example.com, when: [always]}")
    job_id = await build(pipeline, "failed", "main", untrusted=True)
    other = await build(pipeline, "failed", "main")
    assert await occasions() == ["always"]
    for job, status in ((job_id, "failed"), (other, "running"), (other, "pending")):
        await OutboxRow.create(listener=LISTENER, job_id=job, status=status, at=now_ms())
    for change in await outbox.Reader(LISTENER).rows():
        await Notifications(lambda: None).note(change)
    assert await occasions() == ["always"]
    assert await outbox.Reader(LISTENER).rows() == []


async def test_what_a_clock_that_was_ahead_has_put_off_is_sent(vault: Vault, receiver: Receiver) -> None:
    pipeline = await add_pipeline("{webhook: HOOK, when: always}")
    await vault.put(pipeline, "HOOK", receiver.url, "test")
    await build(pipeline, "success")
    later = now_ms() + 3600_000
    await Notification.all().update(created_at=later, next_at=later)
    messages = messages_of(vault)
    await send_all(messages)
    assert not receiver.received
    await messages.clock_was_ahead(now_ms(), everything=False)
    await send_all(messages)
    assert len(receiver.received) == 1
