"""The agent's output, split into what the steps printed and the markers."""

from __future__ import annotations

import re
from typing import Any, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidflow_web.executors.agent.protocol import Marker, MarkerParser, Output, nonce_for

NONCE = nonce_for(b"key", 1)
OTHER = nonce_for(b"key", 2)
PREFIX = f"\x1e{NONCE} ".encode()
LONGEST = 120


def parse(*chunks: bytes, source: int = 0) -> list[Output | Marker]:
    """All that comes of the chunks, with what is left at the end."""
    parser = MarkerParser(NONCE, source)
    items = [item for chunk in chunks for item in parser.feed(chunk)]
    return [*items, *parser.flush()]


def summed_up(items: list[Output | Marker]) -> list[Output | Marker]:
    """The items, with output that follows upon output joined: how it is cut does not matter."""
    joined: list[Output | Marker] = []
    for item in items:
        last = joined[-1] if joined else None
        if isinstance(item, Output) and isinstance(last, Output):
            joined[-1] = Output(last.data + item.data, item.source)
        else:
            joined.append(item)
    return joined


def expected(data: bytes) -> list[Output | Marker]:
    """What should come of `data`, told by a regular expression over the whole of it."""
    items: list[Output | Marker] = []
    position = 0
    for match in re.finditer(re.escape(PREFIX) + rb"([^\n]{0,%d})\n" % (LONGEST - len(PREFIX) - 1), data):
        if match.start() > position:
            items.append(Output(data[position : match.start()], match.start()))
        items.append(Marker(tuple(match[1].decode("ascii", "replace").split()), match.end()))
        position = match.end()
    if position < len(data):
        items.append(Output(data[position:], len(data)))
    return items


@st.composite
def chunked(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """Data, and the same in pieces of any size."""
    whole = draw(data)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return whole, [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


PIECES = st.sampled_from(
    [
        PREFIX, PREFIX + b"exit 1 0\n", PREFIX + b"start 2\n", PREFIX + b"\n", PREFIX[:-1], PREFIX[:5],
        b"\x1e", b"\x1e\x1e", f"\x1e{OTHER} exit 1 0\n".encode(), f"\x1e{NONCE}".encode(),
        f"\x1e{NONCE.upper()} exit 1 0\n".encode(), PREFIX + b"x" * (LONGEST - 34),
        PREFIX + b"x" * (LONGEST - 36) + b"\n", PREFIX + b"x" * (LONGEST - 35) + b"\n",
        PREFIX + b"\xff\x00 \n", b"\n", b" ", b"line\n", b"no newline", b"\xff\xfe\x00", b"",
    ]
)  # fmt: skip
ANY_OUTPUT = st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join)


@given(chunked(ANY_OUTPUT))
def test_any_output_in_any_chunks_gives_the_same_bytes_and_markers(output: tuple[bytes, list[bytes]]):
    whole, chunks = output
    assert summed_up(parse(*chunks)) == expected(whole)


@given(chunked(ANY_OUTPUT), st.integers(0, 2**62))
def test_every_item_knows_where_it_ends_in_the_source(output: tuple[bytes, list[bytes]], source: int):
    whole, chunks = output
    position = source
    for item in parse(*chunks, source=source):
        if isinstance(item, Output):
            assert item.data
            assert whole[position - source : item.source - source] == item.data
        else:
            marker = whole[position - source : item.source - source]
            assert marker.startswith(PREFIX) and marker.endswith(b"\n")
        position = item.source
    assert position == source + len(whole)


@given(chunked(ANY_OUTPUT), st.data())
def test_a_parser_that_takes_up_at_an_item_goes_on_as_if_nothing_had_happened(
    output: tuple[bytes, list[bytes]], data: st.DataObject
):
    whole, chunks = output
    items = parse(*chunks)
    kept = data.draw(st.integers(0, len(items)))
    source = items[kept - 1].source if kept else 0
    again = parse(whole[source:], source=source)
    assert summed_up([*items[:kept], *again]) == expected(whole)


@given(chunked(ANY_OUTPUT))
def test_nothing_is_held_back_but_what_may_be_a_marker(output: tuple[bytes, list[bytes]]):
    parser = MarkerParser(NONCE)
    fed, given_out = b"", 0
    for chunk in output[1]:
        fed += chunk
        for item in parser.feed(chunk):
            given_out = item.source
        held = fed[given_out:]
        assert held == b"" or PREFIX.startswith(held) or (held.startswith(PREFIX) and b"\n" not in held)
        assert len(held) < LONGEST


@st.composite
def near_markers(draw: st.DrawFn) -> bytes:
    """Markers of which a byte is changed, left out or doubled, one after the other, some of them real."""
    output = b""
    for _ in range(draw(st.integers(1, 6))):
        marker = PREFIX + draw(st.sampled_from([b"exit 1 0\n", b"start 2\n", b"sync 1 0 2\n", b"\n"]))
        at = draw(st.integers(0, len(marker) - 1))
        changed = draw(
            st.sampled_from([marker[at : at + 1], b"", marker[at : at + 1] * 2, b"\x1e", b"\n", b"\0"])
        )
        output += marker[:at] + changed + marker[at + 1 :]
    return output


@given(chunked(near_markers()))
def test_what_is_nearly_a_marker_is_output_and_hides_no_real_one(output: tuple[bytes, list[bytes]]):
    whole, chunks = output
    assert summed_up(parse(*chunks)) == expected(whole)


@pytest.mark.parametrize("flood", [b"\x1e", PREFIX[:-1], PREFIX, PREFIX + b"x" * (LONGEST - 34)])
def test_a_flood_of_beginnings_is_output_in_any_chunks(flood: bytes):
    whole = flood * (1_000_000 // len(flood))
    chunks = [whole[begin : begin + 65_521] for begin in range(0, len(whole), 65_521)]
    assert summed_up(parse(*chunks)) == [Output(whole, len(whole))]


def test_a_marker_in_the_middle_of_a_line_is_found():
    assert parse(b"no newline" + PREFIX + b"exit 1 0\nnext") == [
        Output(b"no newline", 10),
        Marker(("exit", "1", "0"), 10 + 34 + 9),
        Output(b"next", 57),
    ]


def test_a_marker_that_comes_byte_by_byte_is_found():
    data = b"a" + PREFIX + b"exit 12 255 term\n"
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == [
        Output(b"a", 1),
        Marker(("exit", "12", "255", "term"), len(data)),
    ]


@pytest.mark.parametrize(
    "forged",
    [
        f"\x1e{OTHER} exit 1 0\n",
        f"{NONCE} exit 1 0\n",
        f"\x1e {NONCE} exit 1 0\n",
        f"\x1e{NONCE}exit 1 0\n",
        f"\x1e{NONCE[:-1]} exit 1 0\n",
        f"\x1e{NONCE.upper()} exit 1 0\n",
        "\x1e exit 1 0\n",
        f"\x1e{NONCE} exit 1 0",
        f"\x1e{NONCE} {'1 ' * 60}\n",
    ],
)
def test_what_only_looks_like_a_marker_is_output(forged: str):
    assert summed_up(parse(forged.encode())) == [Output(forged.encode(), len(forged))]


def test_a_lone_separator_at_the_end_of_a_chunk_is_given_out_with_the_next():
    parser = MarkerParser(NONCE)
    assert list(parser.feed(b"a\x1e")) == [Output(b"a", 1)]
    assert list(parser.feed(b"b")) == [Output(b"\x1eb", 3)]
    assert list(parser.feed(b"\x1e")) == []
    assert list(parser.feed(PREFIX + b"exit 1 0\n")) == [Output(b"\x1e", 4), Marker(("exit", "1", "0"), 47)]
    assert list(parser.flush()) == []


def test_what_was_held_back_is_given_out_once_at_the_end():
    parser = MarkerParser(NONCE)
    assert list(parser.feed(PREFIX + b"exit 1")) == []
    assert list(parser.flush()) == [Output(PREFIX + b"exit 1", 40)]
    assert list(parser.flush()) == []


def test_a_flood_of_markers_is_parsed_without_copying_what_is_left_for_each() -> None:
    class Counted(bytes):
        """Bytes that count how many of theirs are copied by slices."""

        copied = 0

        def __getitem__(self, key: SupportsIndex | slice) -> Any:
            part = super().__getitem__(key)
            if isinstance(part, bytes):
                Counted.copied += len(part)
                return Counted(part)
            return part

    flood = Counted((PREFIX + b"x\n") * 20_000)
    items = list(MarkerParser(NONCE).feed(flood))
    assert items == [Marker(("x",), 36 * number) for number in range(1, 20_001)]
    assert Counted.copied < 2 * len(flood)


def test_the_words_of_a_marker_can_be_read_as_numbers():
    marker = Marker(("sync", "2", "0", "17"), 0)
    assert marker.numbers(1) == [2, 0, 17]
    assert marker.numbers(1, 3) == [2, 0]


@pytest.mark.parametrize("word", ["two", "-1", "1.5", "\u0661", "\xb2", "1_0", "0x1", "1" * 10, "\ufffd"])
def test_a_word_that_is_no_number_is_not_taken_for_one(word: str):
    assert Marker(("sync", "1", word, "0"), 0).numbers(1) is None
    assert Marker(("sync", "1", word, "0"), 0).numbers(1, 2) == [1]


def test_nonces_differ_by_job_and_by_installation_and_stay_the_same():
    assert len({NONCE, OTHER, nonce_for(b"other", 1)}) == 3
    assert nonce_for(b"key", 1) == NONCE
    assert re.fullmatch("[0-9a-f]{32}", NONCE)
