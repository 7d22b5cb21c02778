"""Folders of builds are removed, whatever builds left in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# Root may write anywhere, unless it gives that up.
LIKE_OTHERS = (
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
)


def removed(folder: Path, function: str = "remove_folder") -> str:
    """Removes a folder as a server does that is not root; returns what is said."""
    program = f"import sys, pathlib, rapidflow_web.removal as it; it.{function}(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [*LIKE_OTHERS, sys.executable, "-c", program, folder], cwd=CHECKOUT, capture_output=True, text=True
    )
    return done.stderr


@pytest.mark.parametrize("function", ["remove_folder", "remove_surely"])
def test_folders_that_nobody_may_write_or_enter_are_removed(tmp_path: Path, function: str):
    root = tmp_path / "42"
    for name in ("cache/module/deep", "closed/inside"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text("x")
    for name in ("cache/module/deep", "cache/module", "cache"):
        (root / name).chmod(0o555)
    (root / "closed").chmod(0)
    assert removed(root, function) == ""
    assert not root.exists()


def test_what_a_link_leads_to_is_left_alone(tmp_path: Path):
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o555)
    root = tmp_path / "42"
    (root / "closed").mkdir(parents=True)
    (root / "closed" / "link").symlink_to(precious)
    (root / "closed").chmod(0o555)
    assert removed(root) == ""
    assert not root.exists()
    assert precious.stat().st_mode & 0o777 == 0o555


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path):
    assert removed(tmp_path / "nothing") == ""


def test_what_can_not_be_removed_is_an_error_for_who_wants_it_gone(tmp_path: Path):
    folder = tmp_path / "closed" / "42"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o555)
    assert removed(folder) == ""
    assert "Permission denied" in removed(folder, "remove_surely")
    assert folder.exists()
