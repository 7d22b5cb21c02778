"""The folder that holds all that the server keeps."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from rapidflow_web.data_folder import DataFolder, InUse, locked
from rapidflow_web.errors import SettingsError


def test_a_data_folder_is_made_with_all_its_rooms(tmp_path: Path):
    root = tmp_path / "new" / "data"
    folder = DataFolder(root)
    assert folder.logs.is_dir() and folder.mirrors.is_dir() and folder.work.is_dir()
    assert folder.database.parent == root


def test_nobody_else_can_look_into_a_data_folder(tmp_path: Path):
    DataFolder(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError) as error:
        DataFolder(tmp_path / "file" / "data")
    assert str(error.value) == (
        f"RAPIDFLOW_DATA is '{tmp_path}/file/data', which can't be used: Not a directory."
    )


def test_a_folder_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path):
    folder = DataFolder(tmp_path / "data")
    # As a program has it that a server was starting when it was killed.
    with contextlib.ExitStack() as program:
        program.enter_context(locked(tmp_path / "data"))
        with pytest.raises(InUse, match="another server uses the data folder"), folder.owned(0.05):
            pass
        threading.Timer(0.2, program.close).start()
        with folder.owned(60), pytest.raises(InUse), locked(tmp_path / "data"):
            pass


def test_the_name_of_the_installation_and_its_key_stay(tmp_path: Path):
    first = DataFolder(tmp_path)
    name, key = first.installation(), first.key()
    again = DataFolder(tmp_path)
    assert (again.installation(), again.key()) == (name, key)
    assert len(name) == 32 and len(key) == 32
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_a_folder_that_can_not_be_written_is_refused(tmp_path: Path):
    (tmp_path / "key.new").mkdir()
    with pytest.raises(SettingsError) as error:
        DataFolder(tmp_path).key()
    assert str(error.value) == (
        f"RAPIDFLOW_DATA is '{tmp_path}', which can't be used: {tmp_path}/key.new: Is a directory."
    )


def test_a_folder_in_which_no_lock_can_be_made_is_refused(tmp_path: Path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(SettingsError) as error, DataFolder(tmp_path).owned():
        pass
    assert str(error.value) == (
        f"RAPIDFLOW_DATA is '{tmp_path}', which can't be used: {tmp_path}/lock: Is a directory."
    )


@pytest.mark.parametrize(
    ("name", "data"), [("key", b""), ("key", bytes(31)), ("installation", b""), ("installation", bytes(32))]
)
def test_a_name_or_key_that_is_damaged_is_not_used(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SettingsError) as error:
        getattr(DataFolder(tmp_path), name)()
    assert str(error.value).startswith(
        f"the file {tmp_path}/{name} is damaged; take it from a backup, or remove"
    )


def test_two_installations_have_nothing_in_common(tmp_path: Path):
    one, other = DataFolder(tmp_path / "one"), DataFolder(tmp_path / "other")
    assert one.installation() != other.installation()
    assert one.key() != other.key()


def test_what_a_killed_server_had_only_begun_to_keep_is_made_anew(tmp_path: Path):
    (tmp_path / "key.new").write_bytes(b"half")
    key = DataFolder(tmp_path).key()
    assert len(key) == 32
    assert not (tmp_path / "key.new").exists()


def test_a_second_server_is_kept_away_until_the_first_has_ended(tmp_path: Path):
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    with first.owned():
        with pytest.raises(SettingsError) as error, second.owned():
            pass
        assert str(error.value) == (
            f"another server uses the data folder {tmp_path}; stop it, or set RAPIDFLOW_DATA."
        )
    with second.owned():
        pass
