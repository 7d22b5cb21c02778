"""Calls to the API of a forge: bounded in time and size, and to one host only, which alone gets the token."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import quote

import aiohttp
from yarl import URL

from rapidflow_web import outgoing
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import ForgeError, Unreadable

_MOST_BYTES = 1024 * 1024
_MOST_PAGES = 20
_REDIRECTS = 3
_LONGEST_WAIT = 24 * 60 * 60
_SECONDARY_LIMIT = 60
"""Seconds that GitHub demands where it says nothing else."""
_PERMANENT = (400, 401, 403, 404, 405, 410, 411, 413, 414, 415, 422)
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for, and what a token needs for it: "make webhooks", "the scope admin:repo_hook".

    `hint` says what else may be wrong where the forge refuses what it was sent.
    """

    act: str
    needs: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and JSON of an answer; null where it was not JSON."""

    status: int
    headers: Mapping[str, str]
    data: Field

    def said(self) -> str:
        """What the forge says in it, for people; empty where it says nothing."""
        return _said(self.data.value)


class Client:
    """Calls one API with one token. `base` is its URL, without a slash at the end.

    `headers` are sent with each call, the token among them. `what` names the repository.
    """

    def __init__(self, base: str, headers: Mapping[str, str], what: str) -> None:
        self._base = URL(base, encoded=True)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "rapidflow-web",
            **headers,
        }
        self._what = what

    @property
    def host(self) -> str:
        """The host of the API, with the port where it is not the usual one."""
        return self._base.authority

    @contextlib.contextmanager
    def understood(self) -> Generator[None]:
        """What is wrong with an answer that is read in here is a `ForgeError`."""
        try:
            yield
        except Unreadable as error:
            raise ForgeError(f"{self.host} does not answer like the API of a forge: {error}") from None

    async def call(
        self, purpose: Purpose, method: str, path: str, body: object = None, *, allowed: tuple[int, ...] = ()
    ) -> Answer:
        """The answer to a call. `path` is that below the base, encoded.

        Raises `ForgeError` unless the status is one of success or in `allowed`.
        """
        answer = await self._answered(method, URL(f"{self._base}{path}", encoded=True), body)
        if answer.status // 100 == 2 or answer.status in allowed:
            return answer
        raise self._refused(purpose, answer)

    async def remove(self, purpose: Purpose, path: str, name: str) -> None:
        """Removes the item of this id below `path`, if it is there. Raises `ForgeError`."""
        await self.call(purpose, "DELETE", f"{path}/{quote(name, safe='')}", allowed=(404,))

    async def listed(self, purpose: Purpose, path: str, size: str, *, below: str = "") -> list[Field]:
        """The items of a list that comes in pages of 100; `size` is the name of that parameter.

        `below` is the field that has the list, where it is not the body itself.
        """
        items: list[Field] = []
        for page in range(1, _MOST_PAGES + 1):
            answer = await self.call(purpose, "GET", f"{path}?{size}=100&page={page}")
            found = list((answer.data[below] if below else answer.data).items())
            items += found
            # Pages may be smaller than was asked for. Bitbucket says which is the last, and refuses more.
            if not found or (below and not answer.data["next"]):
                break
        return items

    async def _answered(self, method: str, url: URL, body: object) -> Answer:
        try:
            async with (
                asyncio.timeout(outgoing.TIMEOUT.total),
                await outgoing.session(self._headers) as session,
            ):
                for _ in range(_REDIRECTS + 1):
                    async with session.request(
                        method, url, json=body, proxy=outgoing.proxy_of(url), allow_redirects=False
                    ) as response:
                        if response.status not in (301, 302, 307, 308):
                            return await self._read(response)
                        there = url.join(URL(response.headers.get("Location", "")))
                        changes_method = response.status in (301, 302) and method != "GET"
                    if changes_method or there.origin() != self._base.origin():
                        break
                    url = there
        except TimeoutError:
            raise ForgeError(f"{self.host} did not answer within {outgoing.TIMEOUT.total:.0f} s") from None
        except aiohttp.ClientConnectorCertificateError:
            message = f"the certificate of {self.host} is not trusted: name its authority in SSL_CERT_FILE"
            raise ForgeError(message) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ForgeError(f"{self.host} does not answer: {_plain(str(error))}") from None
        message = (
            f"{self.host} redirects API calls for {self._what} to another server; if the repository has "
            "moved, correct its URL"
        )
        raise ForgeError(message, permanent=True)

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        data = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            data += chunk
            if len(data) > _MOST_BYTES:
                raise ForgeError(f"{self.host} answered with more than {_MOST_BYTES // 1024**2} MiB")
        try:
            value = json.loads(data) if data else None
        except (ValueError, RecursionError):
            value = None
        return Answer(response.status, response.headers.copy(), Field(value))

    def _refused(self, purpose: Purpose, answer: Answer) -> ForgeError:
        status, said = answer.status, answer.said()
        addition = f" ({said})" if said else ""
        now = time.time()
        if (until := _allowed_again(answer, said, now)) is not None:
            clock = time.strftime("%H:%M:%S", time.gmtime(until))
            message = f"{self.host} limits API calls; the next is allowed at {clock} UTC{addition}"
            return ForgeError(message, status, retry_at=until)
        if status == 401:
            message = f"{self.host} rejected the token, which may have expired or been revoked; store another"
        elif status == 403:
            message = f"the token may not {purpose.act}: it needs {purpose.needs}{addition}"
        elif status == 404:
            message = (
                f"{self.host} has no '{self._what}', or the token can't access it: check the URL; to "
                f"{purpose.act}, the token needs {purpose.needs}{addition}"
            )
        elif status >= 500:
            message = f"{self.host} failed with the status {status}{addition}"
        else:
            hint = f"; {purpose.hint}" if purpose.hint else ""
            message = f"{self.host} refused to {purpose.act} with the status {status}{addition}{hint}"
        retry_at = retry_after(answer.headers, now)
        return ForgeError(message, status, retry_at=retry_at, permanent=status in _PERMANENT)


def shortened(text: str, most: int) -> str:
    """The text in at most as many characters; two that differ still do."""
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{text[: most - 9]}-{digest}"


def cut(text: str, most: int) -> str:
    """The first line of the text, in at most as many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _allowed_again(answer: Answer, said: str, now: float) -> float | None:
    """When calls are allowed again, in seconds since 1970, if they were limited."""
    headers = answer.headers
    if answer.status not in (403, 429):
        return None
    used_up = any(headers.get(f"{form}RateLimit-Remaining") == "0" for form in ("X-", ""))
    limited = used_up or "Retry-After" in headers or "rate limit" in said.lower()
    if answer.status != 429 and not limited:
        return None
    if (after := retry_after(headers, now)) is not None:
        return after
    if used_up:
        for name in ("X-RateLimit-Reset", "RateLimit-Reset"):
            reset = headers.get(name, "")
            if reset.isascii() and reset.isdigit() and len(reset) < 12:
                return _bounded(int(reset), now)
    return now + _SECONDARY_LIMIT


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """When one may call again by the header Retry-After, within a day; in seconds since 1970, as `now`."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return _bounded(now + int(value[:12]), now)
    try:
        return _bounded(parsedate_to_datetime(value).timestamp(), now) if value else None
    except (ValueError, OverflowError, OSError):
        return None


def _bounded(moment: float, now: float) -> float:
    return min(max(moment, now), now + _LONGEST_WAIT)


def _said(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    body = cast(dict[str, object], value)
    parts: list[str] = []
    for key in ("message", "error", "error_description", "errors"):
        part = body.get(key)
        if isinstance(part, dict):
            # Bitbucket has the message one level below.
            inner = cast(dict[str, object], part)
            part = inner.get("message") or inner
        if part:
            parts.append(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False))
    return _plain("; ".join(parts))


def _plain(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[:1_000])
    return cut(shown, _LONGEST_REASON)
