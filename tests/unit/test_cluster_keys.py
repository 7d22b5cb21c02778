"""The keys of server and relays: what a rotation that was cut short leaves, and who may read them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from rapidflow_web.errors import SettingsError
from rapidflow_web.executors.cluster import certificates
from rapidflow_web.executors.cluster.certificates import Keys, State
from rapidflow_web.executors.cluster.tls import context_of


def _subjects(pem: bytes) -> list[str]:
    return [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(pem)]


def test_relays_let_in_the_present_server_and_then_the_next(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    state = keys.make()
    assert (state, keys.make()) == (State((1,), 1), State((1,), 1))
    assert _subjects(keys.relay(state).ca) == ["CN=rapidflow ca 1"]

    state = keys.begin_rotation()
    assert state == State((1, 2), 1)
    assert _subjects(keys.relay(state).ca) == ["CN=rapidflow ca 1", "CN=rapidflow ca 2"]
    assert _subjects(keys.relay(state).certificate) == ["CN=rapidflow relay 2"]
    assert keys.certificates(state).certificate == tmp_path / "cluster/1/server.pem"

    state = keys.use_newest()
    assert state == State((1, 2), 2)
    assert _subjects(keys.relay(state).ca) == ["CN=rapidflow ca 2"]
    assert _subjects(keys.certificates(state).ca.read_bytes()) == ["CN=rapidflow ca 1", "CN=rapidflow ca 2"]
    context_of(keys.certificates(state))

    state = keys.end_rotation()
    assert state == State((2,), 2)
    assert _subjects(keys.certificates(state).ca.read_bytes()) == ["CN=rapidflow ca 2"]
    assert not (tmp_path / "cluster/1").exists()


def test_rotation_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    first = keys.relay(keys.begin_rotation())

    assert keys.relay(keys.begin_rotation()) == first
    keys.use_newest()
    assert keys.begin_rotation() == State((1, 2), 2)


def test_rotation_that_was_killed_before_it_stored_its_state_begins_anew(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    (tmp_path / "cluster/2").mkdir()
    (tmp_path / "cluster/2/ca.pem").write_text("half")

    assert _subjects(keys.relay(keys.begin_rotation()).certificate) == ["CN=rapidflow relay 2"]


def test_only_the_servers_user_may_read_keys_and_the_key_of_the_ca_is_not_kept(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    keys.begin_rotation()
    files = [path for path in (tmp_path / "cluster").rglob("*") if path.is_file()]

    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.name for path in files if "key" in path.name} == {"relay-key.pem", "server-key.pem"}


def test_damaged_state_is_named(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    (tmp_path / "cluster/state.json").write_text("{}")

    with pytest.raises(SettingsError, match=r"state\.json is damaged: .*; remove .*cluster init"):
        keys.state()


def test_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    (tmp_path / "cluster/state.json").unlink()
    (tmp_path / "cluster/state.json").mkdir()

    with pytest.raises(
        SettingsError, match=r"cluster/state\.json can't be read: Is a directory; it must belong"
    ):
        keys.state()


def test_only_one_command_changes_keys(tmp_path: Path) -> None:
    with (
        Keys(tmp_path).locked(),
        pytest.raises(SettingsError, match="another 'rapidflow cluster' command"),
        Keys(tmp_path).locked(),
    ):
        pass


def test_days_left_are_those_of_the_keys_in_use(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    state = keys.make()

    assert keys.days_left(state) == certificates._LIFE.days - 1
