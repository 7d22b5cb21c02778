"""Sends mails over SMTP."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from rapidflow_web.notify import news
from rapidflow_web.notify.news import News
from rapidflow_web.notify.outcome import NotTaken
from rapidflow_web.notify.words import one_line
from rapidflow_web.pipeline.mail_addresses import is_address
from rapidflow_web.setting_values import MailServer, Sender

_TIMEOUT = 30.0
"""Seconds, for each thing that is said to the mail server."""
_LONGEST = 120.0
"""Seconds, for all of it."""


def message(told: News, sender: Sender, to: str, key: str, at: int) -> EmailMessage:
    """A mail. `key` makes its Message-ID, so that one that comes twice is recognized. `at` is in ms.

    Raises `NotTaken` for an address that is none.
    """
    if not is_address(to):
        raise NotTaken(f"'{one_line(to, 100)}' is not a mail address; correct it in notify", hopeless=True)
    mail = EmailMessage(SMTP)
    mail["Subject"] = news.subject(told)
    mail["From"] = Address(sender.name, addr_spec=sender.address)
    user, _, domain = to.rpartition("@")
    mail["To"] = Address(username=user, domain=domain)
    mail["Date"] = format_datetime(datetime.fromtimestamp(at // 1000, UTC))
    mail["Message-ID"] = f"<{key}@{sender.domain}>"
    # Holiday notices and the like do not answer it.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(news.plain(told))
    mail.add_alternative(news.as_html(told), subtype="html")
    return mail


async def send(mail: EmailMessage, sender: Sender, to: str, server: MailServer) -> None:
    """Hands a mail to the mail server. Raises `NotTaken`."""
    import aiosmtplib  # only where mails are sent: it takes memory

    try:
        async with asyncio.timeout(_LONGEST):
            await aiosmtplib.send(
                mail,
                sender=sender.address,
                recipients=[to],
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.tls == "implicit",
                start_tls=server.tls == "starttls",
                # The name that it would look up is asked of a name server, on the event loop.
                local_hostname=socket.gethostname(),
                timeout=_TIMEOUT,
            )
    except aiosmtplib.SMTPRecipientsRefused as error:
        raise _refused(error.recipients[0].code, error.recipients[0].message, to=to) from None
    except aiosmtplib.SMTPAuthenticationError as error:
        said = one_line(error.message, 200)
        raise NotTaken(
            f"the mail server refused the login ({error.code} {said}); correct RAPIDFLOW_SMTP_URL",
            permanent=error.code >= 500,
        ) from None
    except aiosmtplib.SMTPResponseException as error:
        raise _refused(error.code, error.message, to=None) from None
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        said = one_line(str(error), 200)
        raise NotTaken(f"the mail server {server.host}:{server.port} can't be used: {said}") from None


def _refused(code: int, said: str, *, to: str | None) -> NotTaken:
    what = f"mail to {to}" if to is not None else "the mail"
    return NotTaken(
        f"the mail server refused {what}: {code} {one_line(said, 200)}",
        # Of the address, which stays what it is.
        hopeless=code >= 500 and to is not None,
        permanent=code >= 500,
    )
