"""Folders of builds are removed, whatever builds left in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

# Root may write anywhere, unless it gives that up.
LIKE_OTHERS = (
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
)


def removed(folder: Path) -> None:
    """Removes a folder as a server does that is not root."""
    program = "import sys, pathlib; from rapidflow_web.removal import remove_folder; "
    subprocess.run(
        [*LIKE_OTHERS, sys.executable, "-c", f"{program}remove_folder(pathlib.Path(sys.argv[1]))", folder],
        cwd=CHECKOUT,
        check=True,
    )


def test_folders_that_nobody_may_write_or_enter_are_removed(tmp_path: Path):
    root = tmp_path / "42"
    for name in ("cache/module/deep", "closed/inside"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text("x")
    for name in ("cache/module/deep", "cache/module", "cache"):
        (root / name).chmod(0o555)
    (root / "closed").chmod(0)
    removed(root)
    assert not root.exists()


def test_what_a_link_leads_to_is_left_alone(tmp_path: Path):
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o555)
    root = tmp_path / "42"
    (root / "closed").mkdir(parents=True)
    (root / "closed" / "link").symlink_to(precious)
    (root / "closed").chmod(0o555)
    removed(root)
    assert not root.exists()
    assert precious.stat().st_mode & 0o777 == 0o555


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path):
    removed(tmp_path / "nothing")
