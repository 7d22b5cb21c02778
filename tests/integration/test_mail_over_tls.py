"""Mails over TLS, to a real mail server: from the start, or by STARTTLS, and never in clear instead."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from rapidflow_web.notify import mail
from rapidflow_web.notify.outcome import NotTaken
from rapidflow_web.setting_values import MailServer, Sender, mail_server
from tests.support.git_server import tls_context
from tests.support.server import free_port

_SENDER = Sender("Builds", "ci@example.com")


class _Mails:
    """Takes mails. `taken` has what each was encrypted with; `logins` the passwords that came."""

    def __init__(self) -> None:
        self.taken: list[bool] = []
        self.logins: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, way: str, data: Any) -> AuthResult:
        self.logins.append(data.password)
        return AuthResult(success=data.password == b"right")


@contextmanager
def serving(mails: _Mails, **options: Any) -> Generator[int]:
    options |= {"authenticator": mails.authenticate, "auth_required": True}
    controller = Controller(mails, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def at(scheme: str, port: int) -> MailServer:
    found = mail_server(f"{scheme}://ci:right@127.0.0.1:{port}")
    assert found is not None
    return found


async def send(server: MailServer) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ci@example.com", "team@example.com", "broken"
    message.set_content("It is.")
    await mail.send(message, _SENDER, "team@example.com", server)


def options_of(scheme: str, folder: Path) -> dict[str, Any]:
    context = tls_context(folder)
    if scheme == "smtps":
        return {"ssl_context": context, "auth_require_tls": False}
    return {"tls_context": context, "require_starttls": True}


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_mail_and_the_login_are_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    mails = _Mails()
    with serving(mails, **options_of(scheme, tmp_path)) as port:
        # A certificate that nobody has signed is refused before the password is sent.
        with pytest.raises(NotTaken, match="certificate"):
            await send(at(scheme, port))
        assert (mails.taken, mails.logins) == ([], [])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        await send(at(scheme, port))
    assert (mails.taken, mails.logins) == ([True], [b"right"])


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_where_there_is_no_encryption_nothing_is_sent() -> None:
    mails = _Mails()
    with serving(mails, auth_require_tls=False) as port:
        for scheme in ("smtp", "smtps"):
            with pytest.raises(NotTaken, match="can't be used"):
                await send(at(scheme, port))
    assert (mails.taken, mails.logins) == ([], [])
