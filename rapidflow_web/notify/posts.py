"""Sends messages as HTTP requests: webhooks that follow Standard Webhooks, Slack's and ntfy's.

The URL is the value of a secret, which only administrators store: it may lead anywhere, also into the
server's own network. It is a secret itself, so no error repeats it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from rapidflow_web import outgoing
from rapidflow_web.forges.client import retry_after
from rapidflow_web.notify import news
from rapidflow_web.notify.news import News
from rapidflow_web.notify.outcome import NotTaken
from rapidflow_web.notify.words import one_line

_ANSWER = 4096
"""Bytes that are read of an answer."""
_TEMPORARY = (408, 425, 429)
_GONE = 410
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Post:
    """A request that is to be sent."""

    url: URL
    body: bytes
    headers: Mapping[str, str]


def webhook(address: str, name: str, told: News, job: Mapping[str, Any], key: str, at: int) -> Post:
    """A webhook. `key` identifies it, also when it comes twice; `at` is the time now, in seconds.

    `address` is the value of the secret `name`. What is in its fragment signs the request. Raises `NotTaken`.
    """
    url = _url(address, name)
    body = json.dumps(news.finished(told, job), ensure_ascii=False).encode()
    headers = {"webhook-id": key, "webhook-timestamp": str(at)}
    if url.fragment:
        signed = f"{key}.{at}.".encode() + body
        digest = hmac.digest(_key(url.fragment, name), signed, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return Post(url, body, headers)


def slack(address: str, name: str, told: News) -> Post:
    """A message for an incoming webhook of Slack, or of whatever takes its format. Raises `NotTaken`."""
    return Post(_url(address, name), json.dumps(news.for_slack(told)).encode(), {})


def ntfy(address: str, name: str, told: News) -> Post:
    """A message for a topic of ntfy. Raises `NotTaken`."""
    url = _url(address, name)
    if not url.name:
        raise NotTaken(
            f"the secret {name} names no topic; store it like https://ntfy.sh/TOPIC", permanent=True
        )
    # JSON goes to the root of the server. In headers, text of others would have to be encoded.
    body = json.dumps(news.for_ntfy(told, url.name)).encode()
    return Post(url.parent.with_query(url.query), body, {})


def _url(address: str, name: str) -> URL:
    try:
        url = URL(address.strip())
        if url.scheme in ("https", "http") and url.host:
            return url
    except ValueError:
        pass
    raise NotTaken(
        f"the secret {name} is not the URL of a webhook; store one that begins with https://", permanent=True
    )


def _key(fragment: str, name: str) -> bytes:
    if not fragment.startswith(_PREFIX):
        return fragment.encode()
    try:
        return base64.b64decode(fragment.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise NotTaken(
            f"the key after '#{_PREFIX}' in the secret {name} is not Base64; store the secret again",
            permanent=True,
        ) from None


async def send(post: Post, name: str) -> None:
    """Sends a request to the URL of the secret `name`. Raises `NotTaken`."""
    headers = {"Content-Type": "application/json", "User-Agent": "RapidFlow", **post.headers}
    try:
        async with (
            await outgoing.session() as session,
            session.post(
                post.url.with_fragment(None),
                data=post.body,
                headers=headers,
                allow_redirects=False,
                proxy=outgoing.proxy_of(post.url),
            ) as answer,
        ):
            said = await answer.content.read(_ANSWER)
            _judge(answer, said.decode(errors="replace"), name)
    except TimeoutError:
        raise NotTaken(f"the webhook in the secret {name} did not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # What the library says may have the URL in it.
        raise NotTaken(f"the webhook in the secret {name} can't be reached: {type(error).__name__}") from None


def _judge(answer: aiohttp.ClientResponse, said: str, name: str) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    words = one_line(said, 100)
    message = f"the webhook in the secret {name} answered {status}" + (f": {words}" if words else "")
    if 300 <= status < 400:
        message = (
            f"the webhook in the secret {name} answered {status}; redirects are not followed, "
            "so store its new URL"
        )
    again = retry_after(answer.headers, time.time())
    raise NotTaken(
        message,
        not_before=None if again is None else int(again * 1000),
        permanent=300 <= status < 500 and status not in _TEMPORARY,
        hopeless=status == _GONE,
    )
