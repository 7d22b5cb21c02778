"""The documentation names what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from rapidflow_web.settings import Settings, variable

_DOCS = Path(__file__).parent.parent.parent / "docs"


def _documented() -> dict[str, str]:
    """Each documented setting and its row."""
    rows = re.findall(
        r"^\| `(RAPIDFLOW_[A-Z_<>]+)` \|(.*)$", (_DOCS / "settings.md").read_text(), re.MULTILINE
    )
    return dict(rows)


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    real = {setting.metadata.get("name") or variable(setting.name) for setting in fields(Settings)}
    assert set(_documented()) == real


def test_the_documentation_gives_the_words_and_defaults_of_the_code() -> None:
    documented = _documented()
    for setting in fields(Settings):
        row = documented[setting.metadata.get("name") or variable(setting.name)]
        assert setting.metadata["doc"].partition(" Default:")[0] in row
        if setting.name != "concurrency" and setting.metadata["default"]:
            assert f"`{setting.metadata['default']}`" in row
