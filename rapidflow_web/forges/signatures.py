"""Whether a delivery was sent by someone who knows the secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

from rapidflow_web.forges.shapes import Headers, WrongSignature

_TOLERANCE = 5 * 60
"""Seconds that a signed timestamp may differ from our clock, either way."""
_MOST_SIGNATURES = 20
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_FORMS = {
    "x-forgejo-signature": "",
    "x-gitea-signature": "",
    "x-hub-signature-256": "sha256=",
    "x-hub-signature": "sha256=",
}
_SET = "set the secret of the webhook to that of the repository"


def header(headers: Headers, name: str) -> str | None:
    """The value of a header, or several in one; None where it is not there. `name` is in lower case."""
    values = [value for key, value in headers if key.lower() == name]
    return ", ".join(values) if values else None


def verify(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> None:
    """Raises `WrongSignature` unless the sender knows one of the secrets.

    It parses nothing. The first kind of signature that is there must fit: Forgejo and Gitea send that of
    GitHub, too, so theirs come first, and GitLab sends its token in clear beside a signature. `now` is in
    seconds since 1970. Each secret takes a hash of the body (25 MB: 20 ms): call it in a thread for a large
    one.
    """
    keys = [secret.encode() for secret in secrets if secret]
    if not keys:
        raise WrongSignature("the repository has no secret for webhooks: make one")
    for name in ("x-forgejo-signature", "x-gitea-signature"):
        if (given := header(headers, name)) is not None:
            return _verify_hash(name, given, body, keys)
    if (given := header(headers, "webhook-signature")) is not None:
        return _verify_standard(headers, given, body, keys, now)
    if (given := header(headers, "x-gitlab-token")) is not None:
        return _verify_token(given, keys)
    for name in ("x-hub-signature-256", "x-hub-signature"):
        if (given := header(headers, name)) is not None:
            return _verify_hash(name, given, body, keys)
    raise WrongSignature(f"the signature is missing: {_SET}")


def _is_one_of(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Whether one is in both; how long it takes does not tell which."""
    fits = False
    for one in given:
        for other in expected:
            fits |= hmac.compare_digest(one, other)
    return fits


def _verify_hash(name: str, given: str, body: bytes, keys: Sequence[bytes]) -> None:
    form = _FORMS[name]
    if not given:
        raise WrongSignature(f"the header {name} is empty: {_SET}")
    if not given.startswith(form):
        raise WrongSignature(f"the header {name} must begin with {form}")
    expected = [hmac.new(key, body, hashlib.sha256).hexdigest().encode() for key in keys]
    if not _is_one_of([given.removeprefix(form).lower().encode(errors="replace")], expected):
        raise WrongSignature(f"the signature in the header {name} does not fit the body: {_SET}")


def _verify_token(given: str, keys: Sequence[bytes]) -> None:
    if not given:
        raise WrongSignature(f"the header x-gitlab-token is empty: {_SET}")
    if not _is_one_of([given.encode(errors="replace")], keys):
        raise WrongSignature(f"the token in the header x-gitlab-token is wrong: {_SET}")


def _verify_standard(headers: Headers, given: str, body: bytes, keys: Sequence[bytes], now: float) -> None:
    identifier = header(headers, "webhook-id") or ""
    timestamp = header(headers, "webhook-timestamp") or ""
    if not identifier or not timestamp:
        raise WrongSignature("the headers webhook-id and webhook-timestamp belong to a webhook-signature")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WrongSignature("the header webhook-timestamp must be seconds since 1970")
    signatures = [
        signature.removeprefix("v1,").encode(errors="replace")
        for signature in given.split(None, _MOST_SIGNATURES)[:_MOST_SIGNATURES]
        if signature.startswith("v1,")
    ]
    if not signatures:
        raise WrongSignature(f"the header webhook-signature has no signature that begins with v1: {_SET}")
    expected: list[bytes] = []
    for key in keys:
        signing = hmac.new(key, f"{identifier}.{timestamp}.".encode(errors="replace"), hashlib.sha256)
        signing.update(body)
        expected.append(base64.b64encode(signing.digest()))
    if not _is_one_of(signatures, expected):
        raise WrongSignature(f"the signature in the header webhook-signature does not fit the body: {_SET}")
    age = now - int(timestamp)
    if abs(age) > _TOLERANCE:
        how = f"{_duration(age)} old" if age > 0 else f"{_duration(-age)} in the future"
        raise WrongSignature(f"the timestamp is {how}, of which 5 min are allowed: compare the clocks")


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
