"""Secrets in the output of a build are masked, whatever they are and however it arrives."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rapidflow_web.logs.masking import masker
from rapidflow_web.logs.masking.forms import LEAST_BYTES, encoded, forms
from rapidflow_web.logs.masking.masker import Added, Masker, Piece, TooManyMasks

TOKEN = "hunter2-correct-horse"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEF\nAA==\n-----END KEY-----\n"


def flat(items: Iterable[list[Piece] | Added]) -> Iterator[Piece]:
    """The pieces alone, as they come."""
    for item in items:
        if isinstance(item, list):
            yield from item


def fed(masker: Masker, chunks: Iterable[bytes], source: int = 0) -> list[Piece]:
    """What comes of the chunks, the first of which begins at `source`, and of what was held at the end."""
    pieces: list[Piece] = []
    for chunk in chunks:
        source += len(chunk)
        pieces += flat(masker.feed(chunk, source))
    return [*pieces, *flat(masker.flush())]


def masked(secrets: Sequence[str], *chunks: bytes) -> bytes:
    return b"".join(piece.data for piece in fed(Masker(secrets), chunks))


def reference(secrets: Iterable[str], data: bytes) -> bytes:
    """What should come of `data`, told by looking for every form at every byte."""
    every = every_form(secrets)
    spans: list[tuple[int, int]] = []
    for start in range(len(data)):
        ends = [start + len(form) for form in every if data.startswith(form, start)]
        rest = data[start:]
        if len(rest) >= LEAST_BYTES and any(form.startswith(rest) for form in every):
            ends.append(len(data))
        if not ends:
            continue
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], *ends)
        else:
            spans.append((start, max(ends)))
    result, position = b"", 0
    for start, end in spans:
        result += data[position:start] + b"***"
        position = end
    return result + data[position:]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces."""
    edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


# Of few letters, so that secrets overlap themselves and each other, and beginnings of them stand everywhere.
FEW = st.text("ab/é\n'", min_size=6, max_size=24)
MANY = st.text(string.printable + "é€\U0001f511", min_size=6, max_size=60)
SECRETS = st.lists(st.one_of(FEW, MANY), min_size=1, max_size=4)


COMMANDS = (b"\n::add-mask::aabbaa\n", b"\n::add-mask::ab%0Aab%0A/%25/\r\n", b"::add-mask::bb/abb", b"\n::a")
Case = tuple[list[str], bytes, list[bytes]]
"""Secrets, output, and the same output in chunks."""


def every_form(secrets: Iterable[str]) -> set[bytes]:
    return set[bytes]().union(*map(forms, secrets))


@st.composite
def outputs(draw: st.DrawFn, secrets: Sequence[str], commands: Sequence[bytes]) -> bytes:
    """Output with the secrets in any form, whole and in part, with anything in between."""
    written = sorted(every_form(secrets))
    filler = st.one_of(
        st.binary(max_size=20), FEW.map(encoded), st.sampled_from([b"", b"\n", b" ", *commands])
    )
    parts: list[bytes] = []
    for _ in range(draw(st.integers(0, 8))):
        parts.append(draw(filler))
        if written:
            form = draw(st.sampled_from(written))
            parts.append(form if draw(st.booleans()) else form[: draw(st.integers(0, len(form)))])
    return b"".join(parts)


@st.composite
def cases(draw: st.DrawFn, commands: Sequence[bytes] = ()) -> Case:
    secrets = draw(SECRETS)
    data = draw(outputs(secrets, commands))
    if draw(st.booleans()):
        return secrets, data, [data[index : index + 1] for index in range(len(data))]
    return secrets, data, cut(data, draw(st.lists(st.integers(0, 400), max_size=12)))


@settings(deadline=None)
@given(cases())
def test_every_form_of_every_secret_is_masked_in_any_chunks(case: Case) -> None:
    secrets, data, chunks = case
    assume(b"::add-mask::" not in data)
    assert masked(secrets, *chunks) == reference(secrets, data)


@settings(deadline=None)
@given(SECRETS, st.data())
def test_no_fragment_of_a_secret_gets_through(secrets: list[str], data: st.DataObject) -> None:
    """Only whole forms and bytes that are in no form are printed, so all that is left are such bytes."""
    every = sorted(every_form(secrets))
    assume(every)
    other = bytes(set(range(256)) - set(b"".join(every)) - set(b"*:"))
    parts = data.draw(st.lists(st.one_of(st.sampled_from(every), st.sampled_from([other[:1], other[-9:]]))))
    output = b"".join(parts)
    chunks = cut(output, data.draw(st.lists(st.integers(0, len(output)), max_size=20)))
    assert not masked(secrets, *chunks).replace(b"***", b"").strip(other)
    # Also where the step ends before the last secret does, from six bytes on.
    end = data.draw(st.integers(0, len(output)))
    assert len(masked(secrets, output[:end]).replace(b"***", b"").strip(other)) < LEAST_BYTES


@settings(deadline=None)
@given(cases(COMMANDS), st.lists(st.integers(0, 60), max_size=3))
def test_another_masker_goes_on_at_the_offset_of_any_piece(case: Case, places: list[int]) -> None:
    secrets, data, chunks = case
    expected = masked(secrets, data)
    masker, known = Masker(secrets), list(secrets)
    done, source = b"", 0
    stops: list[tuple[bytes, int, list[str]]] = []
    for chunk in chunks:
        source += len(chunk)
        for item in masker.feed(chunk, source):
            if isinstance(item, Added):
                known += item.values
                # It is stored before the offset gets there, so a server may be killed with it stored.
                if stops:
                    stops.append((*stops[-1][:2], list(known)))
                continue
            for piece in item:
                done += piece.data
                stops.append((done, piece.source, list(known)))
    assert done + b"".join(piece.data for piece in flat(masker.flush())) == expected
    for place in places:
        if place < len(stops):
            done, source, known = stops[place]
            # Whether a line begins there, the end of the log tells as well as the output.
            assert (done[-1:] == b"\n") == (data[source - 1 : source] == b"\n")
            other = Masker(known, done[-1:] == b"\n")
            rest = [data[index : index + 5] for index in range(source, len(data), 5)]
            assert done + b"".join(piece.data for piece in fed(other, rest, source)) == expected


@settings(deadline=None)
@given(cases(COMMANDS))
def test_values_that_are_added_are_masked_in_any_chunks(case: Case) -> None:
    secrets, data, chunks = case
    assert masked(secrets, *chunks) == masked(secrets, data)


@settings(deadline=None)
@given(cases())
def test_nothing_is_held_back_but_what_may_be_a_secret(case: Case) -> None:
    secrets, data, _ = case
    assume(b":" not in data)  # it may begin a line that adds a mask
    every = every_form(secrets)
    masker = Masker(secrets)
    certain = max((piece.source for piece in flat(masker.feed(data, len(data)))), default=0)
    held = data[certain:]
    # All that is held has a beginning at its end, or overlaps what has.
    reached = len(held)
    for start in reversed(range(len(held))):
        rest = held[start:]
        if any(form.startswith(rest) and form != rest for form in every) or any(
            rest.startswith(form) and start + len(form) > reached for form in every
        ):
            reached = start
    assert reached == 0


def test_output_without_the_beginning_of_a_secret_goes_through_at_once() -> None:
    masker = Masker([TOKEN, KEY])
    source = 0
    for chunk in (b"Password: ", b"50%", b"\r51%", b"\n", b" :", b"::add-mask::x", b"\n\n", b"x" * 50_000):
        source += len(chunk)
        # The same bytes, not even copied.
        [[piece]] = masker.feed(chunk, source)
        assert (piece.data, piece.source) == (chunk, source)
        assert piece.data is chunk
    assert list(masker.flush()) == []


# What steps add


def test_a_value_is_masked_from_the_line_that_adds_it_on_and_stored_before() -> None:
    masker = Masker([])
    data = b"s3cret-value\n::add-mask::s3cret-value\nit is s3cret-value\n"
    items = list(masker.feed(data, len(data)))
    assert items == [
        [Piece(b"s3cret-value\n", 13)],
        Added(("s3cret-value",)),
        [
            Piece(b"::add-mask::", 25),
            Piece(b"***", 37, whole=True),
            Piece(b"\nit is ", 44),
            Piece(b"***", 56, whole=True),
            Piece(b"\n", 57),
        ],
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"::add-mask::abc%0Adefghi%25\r\nabc\ndefghi%", b"::add-mask::***\r\n***"),
        (b"::add-mask::  padded   \npadded", b"::add-mask::  ***   \n***"),
        (b"::add-mask::short\nshort", b"::add-mask::short\nshort"),
        (b"::add-mask::\nx", b"::add-mask::\nx"),
        (b"a ::add-mask::no-command\nno-command", b"a ::add-mask::no-command\nno-command"),
        (b"::add-mask::\xff\xfe\xfd\xfc\xfb\xfa\n\xff\xfe\xfd\xfc\xfb\xfa", b"::add-mask::***\n***"),
        (b"one\n::add-mask::without-newline", b"one\n::add-mask::***"),
        (b"\r::add-mask::after-a-return", b"\r::add-mask::after-a-return"),
    ],
)
def test_lines_that_add_a_mask(data: bytes, expected: bytes) -> None:
    assert masked([], data) == expected
    assert masked([], *cut(data, range(len(data)))) == expected


def test_a_line_of_an_earlier_step_does_not_make_one_that_adds_a_mask() -> None:
    masker = Masker([], at_line_start=False)
    assert [*flat(masker.feed(b"::add-mask::in-the-middle\n", 26))] == [
        Piece(b"::add-mask::in-the-middle\n", 26)
    ]
    assert list(masker.flush()) == []
    assert Added(("at-a-beginning",)) in list(masker.feed(b"::add-mask::at-a-beginning\n", 53))


def test_a_line_without_end_is_not_waited_for() -> None:
    masker, source = Masker([]), 12
    assert list(masker.feed(b"::add-mask::", 12)) == []
    given = 0
    for _ in range(70):
        source += 1000
        given += sum(len(piece.data) for piece in flat(masker.feed(b"x" * 1000, source)))
    assert given == source


def test_a_step_can_not_add_masks_without_end() -> None:
    masker, source = Masker([]), 0
    with pytest.raises(TooManyMasks, match="may mask 500 values"):
        for number in range(1, 502):
            line = b"::add-mask::value-%d\n" % number
            source += len(line)
            list(masker.feed(line, source))
    assert list(masker.flush()) == []
    with pytest.raises(TooManyMasks, match="64 KiB together"):
        for letter in b"abcdefghi":
            list(masker.feed(b"::add-mask::" + bytes([letter]) * 8000 + b"\n", source := source + 8013))
    with pytest.raises(TooManyMasks, match="of 8 KiB each"):
        list(masker.feed(b"::add-mask::" + b"a" * 8193 + b"\n", source + 8206))


# Between steps, and between what is no output


def test_a_secret_that_a_step_leaves_half_printed_goes_on_masked_in_the_next() -> None:
    masker = Masker([TOKEN])
    first = [*flat(masker.feed(b"a hunter2-corr", 14)), *flat(masker.flush())]
    # A marker of 40 bytes ends the step.
    second = [*flat(masker.feed(b"ect-", 58)), *flat(masker.feed(b"horse b", 65))]
    assert first == [Piece(b"a ", 2), Piece(b"***", 14, whole=True)]
    assert second == [Piece(b"***", 63, whole=True), Piece(b" b", 65)]


@settings(deadline=None)
@given(SECRETS, st.data())
def test_no_fragment_gets_through_where_steps_end_in_the_middle_of_secrets(
    secrets: list[str], data: st.DataObject
) -> None:
    every = sorted(every_form(secrets))
    assume(every)
    other = bytes(set(range(256)) - set(b"".join(every)) - set(b"*:"))[-1:]
    parts = data.draw(st.lists(st.one_of(st.sampled_from(every), st.just(9 * other)), max_size=6))
    output = b"".join(parts)
    masker, source, through = Masker(secrets), 0, b""
    for step in cut(output, data.draw(st.lists(st.integers(0, len(output)), max_size=3))):
        source += len(step)
        for piece in fed(masker, cut(step, range(0, len(step), 7)), source - len(step)):
            through += piece.data
        source += 50  # a marker
        through += b"\0"  # what the log has between steps
    # A step may leave up to five bytes of what could have become anything.
    for part in through.replace(b"***", b"\0").replace(other, b"\0").split(b"\0"):
        assert len(part) < LEAST_BYTES


def test_a_step_that_ends_in_what_might_have_been_a_secret_takes_nothing_from_the_next() -> None:
    masker = Masker([TOKEN])
    first = [*flat(masker.feed(b"a hunt", 6)), *flat(masker.flush())]
    second = [*flat(masker.feed(b"ing", 49)), *flat(masker.flush())]
    assert first == [Piece(b"a ", 2), Piece(b"hunt", 6)]
    assert second == [Piece(b"ing", 49)]


def test_offsets_are_right_where_a_marker_stood_in_what_was_held() -> None:
    masker = Masker([TOKEN, "t" * 8])
    assert [*flat(masker.feed(b"x hunt", 6))] == [Piece(b"x ", 2)]
    # A marker of 100 bytes, which is no output.
    assert [*flat(masker.feed(b"er2-t", 111))] == [Piece(b"hunter2-", 110)]
    assert [*flat(masker.feed(b"!", 112))] == [Piece(b"t!", 112)]


# Secrets that repeat themselves


def test_output_that_repeats_a_secret_without_end_is_not_held_without_end() -> None:
    masker, source, held = Masker(["aaaaaaaa"]), 0, 0
    for _ in range(40):
        source += 1000
        for piece in flat(masker.feed(b"a" * 1000, source)):
            assert piece.data == b"***"
            held = piece.source
        assert source - held < 8000
    assert b"".join(piece.data for piece in flat(masker.flush())) == b"***"


@settings(deadline=None, max_examples=20)
@given(st.integers(4000, 14000), st.lists(st.integers(0, 14000), max_size=8))
def test_a_long_run_of_a_secret_is_masked_alike_in_any_chunks(length: int, places: list[int]) -> None:
    secrets, data = ["aaaaaaaa", "abaaaaaaab"], b"a" * length + b"b" + b"a" * 5000
    assert masked(secrets, *cut(data, places)) == masked(secrets, data)


def test_output_that_looks_like_many_long_secrets_at_every_byte_is_no_work_without_end() -> None:
    """It would take many minutes if each were compared with each byte of each secret."""
    run = "a" * 16
    secrets = [f"{run}%<é '{number:04}" for number in range(500)]
    secrets += [f"{run}{'A' * number}" for number in range(1, 200)]
    output = b"a" * 150_000 + b"\n"
    assert masked(secrets, output) == output
    long = "a" * 8000
    assert masked([f"{long}b"], output) == output
    assert set(masked([long], output)) == set(b"*\n")


@settings(deadline=None)
@given(st.text("ab", min_size=1, max_size=80), st.integers(1, 300), st.integers(0, 80), st.integers(0, 200))
def test_a_secret_that_repeats_itself_is_masked_as_a_whole(
    unit: str, times: int, more: int, before: int
) -> None:
    secret = unit * times + unit[:more]
    assume(LEAST_BYTES <= len(secret) <= 512)
    output = b"-" * before + encoded(secret) + b"-"
    assert masked([secret], output) == b"-" * before + b"***-"
    assert masked([secret], *cut(output, range(0, len(output), 7))) == b"-" * before + b"***-"


def test_a_sentence_is_masked() -> None:
    masker = Masker([TOKEN, "pässwörd"])
    assert masker.mask(f"could not log in as {TOKEN}: é pässwörd") == "could not log in as ***: é ***"
    assert masker.mask("hunter2 it is") == "hunter2 it is"


@pytest.mark.parametrize("at", [0, 16_373, 16_384, 40_000])
def test_a_command_is_found_wherever_it_stands_and_no_further(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"x" * at + b"::add-mask::" * 50_000
    listed: list[int] = []

    class Counted:
        def find_matches_as_indexes(self, part: bytes) -> list[tuple[int, int, int]]:
            found = search.find_matches_as_indexes(part)
            listed.append(len(found))
            return found

    search = masker._COMMAND_SEARCH  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(masker, "_COMMAND_SEARCH", Counted())
    assert masker._has_command(data)  # pyright: ignore[reportPrivateUsage]
    assert 0 < sum(listed) < 2_000
