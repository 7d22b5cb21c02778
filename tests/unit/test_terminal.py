from __future__ import annotations

import json
import logging
import unicodedata

import pytest

from rapidflow_web import server_log
from rapidflow_web.pages.origins import plain
from rapidflow_web.terminal import safe, safe_json, safe_lines

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = "".join(chr(code) for code in range(0x100) if unicodedata.category(chr(code)) == "Cc")
UNSEEN = "\u00ad\u180e\u200b\u2060\u2064\u206f\ufeff\ufff9\U000e0041\U000e0100"
HOSTILE = CONTROLS + BIDI + UNSEEN + "\u2028\u2029"


def test_nothing_that_a_terminal_obeys_is_left_in_a_line():
    shown = safe(f"a{HOSTILE}z\udc9b")
    assert shown.isprintable() and shown.startswith("a\\x00") and shown.endswith("z\\udc9b")
    assert (
        safe("\x9b31m \x1b]0;x\x07 \u202egpj.exe\t\n") == "\\x9b31m \\x1b]0;x\\x07 \\u202egpj.exe\\x09\\x0a"
    )


def test_words_of_every_language_are_left_as_they_are():
    words = "grüße, 世界, שלום, مرحبا, می\u200cخواهم, 👩\u200d💻, ❤\ufe0f\u200d🔥, naïve"
    assert safe(words) == safe_lines(words) == plain(words) == words


def test_pages_and_terminals_show_the_same_characters_as_escapes():
    text = f"{UNSEEN}{BIDI} a\u200db \u200c👩\u200d\u200d💻"
    assert safe(text).replace("\\xad", "\\u00ad") == plain(text)
    assert plain(text).isascii() is False and plain(text).isprintable()
    assert plain("a\u200db\U000e0041\x1b\t\n") == "a\\u200db\\U000e0041\\u001b\t\n"


def test_text_of_several_lines_keeps_them():
    assert safe_lines("a\n\tb\r\x1b") == "a\n\tb\\x0d\\x1b"


def test_json_means_the_same_afterwards():
    text = json.dumps({"message": HOSTILE}, ensure_ascii=False)
    assert safe_json(text).isprintable()
    assert json.loads(safe_json(text)) == {"message": HOSTILE}


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_the_server_has_nothing_that_a_terminal_obeys(
    form: str, capsys: pytest.CaptureFixture[str]
):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        server_log.configure(form)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("x").exception("pipeline %s", f"a{HOSTILE}\nERROR forged")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    written = capsys.readouterr().err
    assert written.replace("\n", "").replace("\t", "").isprintable()
    assert not any(line.startswith("ERROR forged") for line in written.splitlines())
