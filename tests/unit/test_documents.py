"""The documentation as pages: anchors, links between documents, text that is no markup."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from rapidflow_web.errors import Invalid
from rapidflow_web.pages.documents import NAMES, anchor_of, document
from rapidflow_web.pipeline.language import PIPELINE, STEP
from rapidflow_web.pipeline.parser import parse
from rapidflow_web.settings import Settings, variable
from rapidflow_web.web import assets


def _anchors(name: str) -> list[str]:
    return re.findall(r' id="([^"]*)"', document("", name).body)


def test_every_key_of_the_language_has_the_anchor_to_which_its_problems_lead() -> None:
    anchors = set(_anchors("pipelines"))
    assert {anchor_of(key) for key in PIPELINE} <= anchors
    assert {anchor_of(f"steps[3].{key}") for key in STEP} <= anchors
    assert len({anchor_of(key) for key in PIPELINE} | {anchor_of(f"steps[0].{key}") for key in STEP}) == len(
        (*PIPELINE, *STEP)
    )


@pytest.mark.parametrize(
    ("definition", "anchor"),
    [
        ("name: a\nsteps: [b]\ntimeout: c", "keys-timeout"),
        ("name: a\nstpes: [b]", "keys"),
        ("name: a\nsteps: [{content: b, type: c}]", "keys-of-a-step-type"),
        ("name: a\nsteps: [{content: b, when: {event: c}}]", "keys-of-a-step-when"),
        ("name: a\nsteps: [[b]]", "keys-of-a-step"),
        ("name: a\nsteps: [b]\non: {psuh: }", "keys-on"),
        ("name: a", "keys-steps"),
        ("- a", "keys"),
        ("{", "keys"),
    ],
)
def test_problem_of_a_definition_leads_to_the_docs_of_its_key(definition: str, anchor: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(definition)
    assert anchor_of(refused.value.problems[0].field) == anchor
    assert anchor in _anchors("pipelines")


def test_every_setting_has_an_anchor() -> None:
    names = {setting.metadata.get("name") or variable(setting.name) for setting in fields(Settings)}
    assert {re.sub("[<>]", "", name) for name in names} <= set(_anchors("settings"))


@pytest.mark.parametrize("name", NAMES)
def test_anchors_are_unique_and_every_link_between_documents_leads_to_one(name: str) -> None:
    anchors = _anchors(name)
    assert len(anchors) == len(set(anchors))
    for address in re.findall(r'href="([^"]*)"', document("/below", name).body):
        if address.startswith("https://"):
            continue
        page, _, anchor = address.partition("#")
        target = page.removeprefix("/below/ui/docs/") if page else name
        assert target in NAMES or page == "/below/ui/api", address
        assert not anchor or anchor in _anchors(target), address


@pytest.mark.parametrize("name", NAMES)
def test_index_of_a_document_names_all_its_parts(name: str) -> None:
    listed = [anchor for part in document("", name).parts for anchor in (part.anchor, *part.names.values())]
    assert set(filter(None, listed)) == set(_anchors(name))


def test_every_document_for_users_is_shown() -> None:
    files = {path.stem for path in (Path(__file__).parents[2] / "docs").glob("*.md")}
    assert files - set(NAMES) == {"api", "development"}  # of these, one has a page made of the routes


def test_markup_in_a_document_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.md").write_text(
        "# <b>\n\n## <img src=x onerror=alert(1)>\n\n<script>alert(1)</script>\n\n"
        '[x](javascript:alert(1)) `<i>`\n\n| a |\n|---|\n| `x" onclick="y` |\n'
    )
    monkeypatch.setattr(assets, "folder", lambda name: tmp_path)
    shown = document("", "hostile")
    assert "<script" not in shown.body and "<img" not in shown.body and "<i>" not in shown.body
    assert "javascript:" not in re.findall(r'href="([^"]*)"', shown.body)
    assert 'onclick="' not in shown.body
    assert str(shown.parts[1].title) == "&lt;img src=x onerror=alert(1)&gt;"
