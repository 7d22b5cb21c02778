from __future__ import annotations

import copy
import json
import sys
import threading
import tracemalloc
from typing import Any
from urllib.parse import quote_from_bytes, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rapidflow_web.forges import base, payloads
from rapidflow_web.forges.base import Change, Unreadable
from tests.support.payloads import event_of, forge_of, headers_for, names, payload

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MIB = 1024 * 1024
LARGE = 25 * MIB
EVENTS = [
    ("github", "push"),
    ("github", "pull_request"),
    ("gitea", "push"),
    ("gitea", "pull_request"),
    ("gitea", "create"),
    ("forgejo", "delete"),
    ("gitlab", "Push Hook"),
    ("bitbucket", "repo:push"),
    ("bitbucket", "pullrequest:updated"),
    ("git", ""),
]
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

keys = st.sampled_from(
    [
        "ref",
        "before",
        "after",
        "deleted",
        "created",
        "head_commit",
        "commits",
        "repository",
        "sender",
        "pusher",
        "action",
        "number",
        "pull_request",
        "head",
        "base",
        "repo",
        "id",
        "sha",
        "ref_type",
        "object_kind",
        "object_attributes",
        "project",
        "source",
        "iid",
        "checkout_sha",
        "push",
        "changes",
        "old",
        "new",
        "target",
        "hash",
        "type",
        "name",
        "pullrequest",
        "links",
        "html",
        "href",
        "data",
        "title",
        "user",
        "login",
        "message",
        "draft",
        "oldrev",
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(
        ["push", "tag_push", "merge_request", "branch", "tag", "refs/heads/main", "a" * 40, "0" * 40]
    )
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=8),
    max_leaves=40,
)


def is_sound(found: base.Read) -> bool:
    """Whether everything in what was read is what its type says, and can be stored."""
    texts: list[str | None] = [found.reason]
    for change in found.changes:
        assert isinstance(change, Change) and change.ref.startswith("refs/")
        texts += [
            change.ref,
            change.before,
            change.after,
            change.sender,
            change.title,
        ]
        if pull_request := change.pull_request:
            assert type(pull_request.number) is int and 0 <= pull_request.number < 2**63
            assert type(pull_request.fork) is bool and type(pull_request.draft) is bool
            texts += [pull_request.title, pull_request.url, pull_request.source, pull_request.target]
            texts += [pull_request.action]
    assert all(text is None or (type(text) is str and len(text) <= 1100) for text in texts)
    return all("\0" not in (text or "").encode().decode() for text in texts)


def read_or_refuse(forge: str, event: str, body: bytes) -> None:
    try:
        found = base.read(headers_for(forge, event, body), body)
    except Unreadable as error:
        assert 0 < len(str(error)) < 500
    else:
        assert found.changes or found.reason
        assert is_sound(found)


@FUZZ
@given(st.sampled_from(EVENTS), values)
def test_any_json_is_read_or_refused(sent: tuple[str, str], value: object) -> None:
    read_or_refuse(*sent, json.dumps(value).encode())


@FUZZ
@given(st.sampled_from(EVENTS), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(sent: tuple[str, str], body: bytes) -> None:
    read_or_refuse(*sent, body)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a JSON value."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        found += places(item, (*path, key))
    return found


@settings(FUZZ, max_examples=300)
@given(st.sampled_from(names()), st.data())
def test_a_real_payload_with_something_else_in_it_is_read_or_refused(name: str, data: st.DataObject) -> None:
    body: Any = copy.deepcopy(payload(name))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(places(body)))
        inner = body
        for key in above:
            inner = inner[key]
        if data.draw(st.booleans()) and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = data.draw(values)
    read_or_refuse(forge_of(name), event_of(name), json.dumps(body).encode())


@pytest.mark.parametrize("name", names())
def test_each_real_payload_is_read(name: str) -> None:
    body = json.dumps(payload(name)).encode()

    assert is_sound(base.read(headers_for(forge_of(name), event_of(name), body), body))


@pytest.mark.parametrize("filler", [b"", b" " * 300_000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": 1}}', "is not JSON"),
        (b'{"a": NaN}', "is not JSON: NaN is no number"),
        (b'{"a": -Infinity}', "is no number"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a number that is too long"),
    ],
)
def test_what_is_not_sound_json_is_refused_with_a_sentence(body: bytes, message: str, filler: bytes) -> None:
    with pytest.raises(Unreadable, match=message):
        payloads.parsed(filler + body, JSON)


def test_a_depth_that_is_refused_does_not_depend_on_the_size() -> None:
    nested = b'{"a":' * 400 + b"1" + b"}" * 400

    assert payloads.parsed(nested, JSON) == payloads.parsed(b" " * 300_000 + nested, JSON)


def test_a_mark_at_the_beginning_is_allowed() -> None:
    assert payloads.parsed(b"\xef\xbb\xbf{}", JSON) == {}


@pytest.mark.parametrize("filler", ["", " " * 300_000], ids=["short", "long"])
def test_both_decoders_read_the_same(filler: str) -> None:
    value = {"a": [1, 2.5, -1e9, True, False, None, 'ü€👩\u2028\\"\n'], "b": {"": {}}, "c": []}

    assert payloads.parsed((filler + json.dumps(value)).encode(), JSON) == value
    assert payloads.parsed((filler + json.dumps(value, ensure_ascii=False)).encode(), JSON) == value


def test_a_bomb_of_many_values_is_refused_before_it_takes_memory() -> None:
    bombs = [b"[" + b"[]," * (LARGE // 3), b"{}," * (LARGE // 3), b"[" * LARGE, b'{"":0},' * (LARGE // 7)]
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(Unreadable, match="has more than 1,000,000 values"):
                payloads.parsed(bomb, JSON)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB


def test_a_long_delivery_is_read_while_other_threads_run() -> None:
    commits = [{"id": "a" * 40, "message": "x" * 1000, "added": [f"src/{n}.py" for n in range(50)]}] * 4_000
    body = json.dumps({**payload("github-push"), "commits": commits[:1], "more": commits}).encode()
    assert len(body) > 5 * MIB
    found: list[base.Read] = []
    reader = threading.Thread(target=lambda: found.append(base.read([["X-GitHub-Event", "push"]], body)))
    turns = 0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        reader.start()
        while reader.is_alive():
            reader.join(0.001)
            turns += 1
    finally:
        sys.setswitchinterval(interval)

    # The decoder in C would not let this thread run before it is done.
    assert turns > 25
    assert found[0].changes[0].ref == "refs/heads/master"


def test_a_form_is_decoded() -> None:
    text = json.dumps({"ref": "refs/heads/ü+%&=", "long": "x y+%" * 50_000}, ensure_ascii=False)
    form = b"a=1&payload=" + quote_plus(text).encode() + b"&b=2"
    assert len(form) > 4 * 64 * 1024

    assert payloads.parsed(form, FORM) == json.loads(text)


@pytest.mark.parametrize("offset", range(6))
def test_no_escape_of_a_form_is_cut_in_two(offset: int) -> None:
    text = json.dumps("x" * offset + "€" * 100_000, ensure_ascii=False)

    assert payloads.parsed(b"payload=" + quote_from_bytes(text.encode()).encode(), FORM) == json.loads(text)


@pytest.mark.parametrize("form", [b"", b"a=1", b"a=1&b=2", b"&" * 1_000_000, b"payload"])
def test_a_form_without_the_field_is_refused(form: bytes) -> None:
    with pytest.raises(Unreadable):
        payloads.parsed(form, FORM)


def test_stray_signs_in_a_form_stay_as_they_are() -> None:
    assert payloads.parsed(b'payload="%zz%4"', FORM) == "%zz%4"


def test_a_long_form_takes_little_more_memory_than_its_size() -> None:
    form = b"payload=" + b"%20" * MIB
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="is not JSON"):
            payloads.parsed(form, FORM)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(form)
