"""Secrets at rest: who can read them, and what becomes of them when the key changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.db import jobs, pipelines, secrets
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.errors import BuildError, Invalid
from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.secrets.keys import Keys, VaultError, new_key
from rapidflow_web.secrets.vault import Vault
from tests.support.leaks import holding

VALUE = "correct horse battery staple"


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Keys]:
    """The keys of a folder with a database."""
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    yield Keys(tmp_path, ())
    await close_database()


async def job() -> int:
    """A job that somebody could run."""
    pipeline = await pipelines.create("a", "name: a")
    fields = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "test"}
    return (await jobs.create(fields, [StepDefinition("true")], {})).id


async def test_a_build_is_given_what_it_names_and_its_pipelines_own_secret_before_that_of_all(keys: Keys):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "TOKEN", "of everybody", "anna")
    await vault.put(7, "TOKEN", "of the seventh", "anna")
    await vault.put(EVERYWHERE, "OTHER", "ümlaut\nand more lines", "anna")
    assert await vault.of_build(7, ["OTHER", "TOKEN"]) == {
        "OTHER": "ümlaut\nand more lines", "TOKEN": "of the seventh",
    }  # fmt: skip
    assert await vault.of_build(8, ["TOKEN"]) == {"TOKEN": "of everybody"}
    assert await vault.of_build(8, []) == {}
    with pytest.raises(BuildError) as error:
        await vault.of_build(8, ["TOKEN", "NONE"])
    assert str(error.value) == (
        "there is no secret NONE; an administrator can store it with 'rapidflow secret set NONE --pipeline 8'"
    )


@pytest.mark.parametrize("rest", [None, "", "\n"])
async def test_no_new_key_takes_the_place_of_one_that_is_missing_while_secrets_need_it(
    keys: Keys, rest: str | None
):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "TOKEN", VALUE, "anna")
    key = keys.path.read_text()
    keys.path.unlink()
    if rest is not None:
        keys.path.write_text(rest)

    with pytest.raises(VaultError, match="the key of the secrets is missing"):
        await vault.put(EVERYWHERE, "OTHER", VALUE, "anna")
    with pytest.raises(VaultError, match="the key of the secrets is missing"):
        await vault.check_key()

    assert not keys.path.exists() or keys.path.read_text() == rest
    keys.path.write_text(key)
    assert await vault.of_build(8, ["TOKEN"]) == {"TOKEN": VALUE}


async def test_all_missing_secrets_are_named_at_once(keys: Keys):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "SHARED", VALUE, "anna")
    await vault.put(EVERYWHERE, "GRANTED", VALUE, "anna")
    with pytest.raises(BuildError) as error:
        await vault.of_build(8, ["ONE", "SHARED", "GRANTED", "TWO"], ["GRANTED"])
    assert str(error.value) == (
        "the shared secret SHARED is not granted to this repository; an administrator can grant it on the "
        "page of the repository; 2 secrets are missing: ONE, TWO; an administrator can store them on the "
        "page of the build or the pipeline, or each with 'rapidflow secret set NAME --pipeline 8'"
    )
    with pytest.raises(BuildError, match=r"100 secrets are missing: .*S19 and 80 more; "):
        await vault.of_build(8, [f"S{number}" for number in range(100)])


async def test_a_secret_is_replaced_and_only_who_did_it_and_when_is_told(keys: Keys):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "TOKEN", "the first one", "anna")
    await vault.put(EVERYWHERE, "TOKEN", "the second one", "berta")
    (stored,) = await secrets.listed(EVERYWHERE)
    assert (stored.name, stored.updated_by) == ("TOKEN", "berta")
    assert await vault.of_build(1, ["TOKEN"]) == {"TOKEN": "the second one"}


async def test_nothing_in_the_folder_holds_a_value_and_only_the_owner_may_read_the_key(
    keys: Keys, tmp_path: Path
):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "TOKEN", VALUE, "anna")
    await vault.add_masks(await job(), [VALUE])
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert holding(tmp_path, VALUE) == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("short", "a secret has at least 6 bytes; a shorter one can't be masked in logs"),
        ("  short  \n", "a secret has at least 6 bytes; a shorter one can't be masked in logs"),
        ("x" * (64 * 1024 + 1), "a secret has at most 65536 bytes; this one has 65537"),
        ("with\0nothing", "a secret has no NUL character"),
    ],
)
async def test_a_value_that_cant_be_kept_or_given_is_refused_with_the_reason(
    keys: Keys, value: str, why: str
):
    with pytest.raises(Invalid) as error:
        await Vault(keys).put(EVERYWHERE, "TOKEN", value, "anna")
    assert str(error.value).startswith(why)
    assert error.value.problems[0].field == "value"
    for good in ("six by", "é" * 3, "x" * 64 * 1024):
        await Vault(keys).put(EVERYWHERE, "TOKEN", good, "anna")


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A" * 256, "RAPIDFLOW_COMMIT", "CI", "RANDOM", "Ä"])
async def test_a_name_that_no_variable_of_a_build_can_have_is_refused(keys: Keys, name: str):
    with pytest.raises(Invalid) as error:
        await Vault(keys).put(EVERYWHERE, name, VALUE, "anna")
    assert error.value.problems[0].field == "name"


async def test_a_value_that_was_copied_to_another_row_is_refused(keys: Keys):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "TOKEN", VALUE, "anna")
    await vault.put(7, "MINE", "something else", "berta")
    ours, theirs = (await secrets.listed(EVERYWHERE))[0], (await secrets.listed(7))[0]
    await secrets.replace(theirs, ours.value)
    with pytest.raises(VaultError, match="what is stored as the secret MINE belongs to another"):
        await vault.of_build(7, ["MINE"])


async def test_what_a_build_masks_is_kept_in_order_until_it_ends(keys: Keys):
    vault, one, other = Vault(keys), await job(), await job()
    await vault.add_masks(one, ["first", "second"])
    await vault.add_masks(other, ["of the other"])
    await vault.add_masks(one, ["first", "third"])
    assert await vault.masks_of(one) == ["first", "second", "third"]
    await vault.forget_masks(one)
    await vault.forget_masks(one)
    assert await vault.masks_of(one) == []
    assert await vault.masks_of(other) == ["of the other"]


async def test_without_the_right_key_nothing_is_read_and_the_reason_is_said(keys: Keys):
    vault, running = Vault(keys), await job()
    assert await vault.problem() is None
    await vault.put(EVERYWHERE, "TOKEN", VALUE, "anna")
    await vault.add_masks(running, [VALUE])
    assert await vault.problem() is None
    right = keys.path.read_text()
    keys.path.unlink()
    missing = "the key of the secrets is missing; put secrets.key back into the data folder"
    assert await vault.problem() == missing
    with pytest.raises(VaultError, match="is missing"):
        await vault.of_build(1, ["TOKEN"])
    with pytest.raises(VaultError, match="is missing"):
        await vault.masks_of(running)
    keys.write([new_key()])
    with pytest.raises(VaultError, match="the secret TOKEN was stored with another key"):
        await vault.of_build(1, ["TOKEN"])
    keys.path.write_text("no key at all\n")
    with pytest.raises(VaultError, match=r"secrets\.key is not a key"):
        await vault.put(EVERYWHERE, "TOKEN", VALUE, "anna")
    keys.path.write_text(right)
    assert await vault.masks_of(running) == [VALUE]


async def test_after_a_rotation_the_old_key_opens_nothing_and_the_new_one_all(keys: Keys):
    vault, running = Vault(keys), await job()
    await vault.put(EVERYWHERE, "TOKEN", VALUE, "anna")
    await vault.put(3, "TOKEN", "another value", "anna")
    await vault.add_masks(running, ["masked"])
    old = keys.path.read_text()
    assert await vault.rotate() == 2
    (new,) = keys.path.read_text().split()
    assert new not in old and keys.path.stat().st_mode & 0o777 == 0o600
    assert await vault.of_build(3, ["TOKEN"]) == {"TOKEN": "another value"}
    assert await vault.masks_of(running) == ["masked"]
    keys.path.write_text(old)
    for row in await secrets.every():
        with pytest.raises(VaultError):
            vault._open(row)  # pyright: ignore[reportPrivateUsage]


async def test_a_rotation_that_was_killed_leaves_all_readable_and_the_next_one_ends_it(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    vault = Vault(keys)
    names = [f"SECRET_{number}" for number in range(5)]
    for name in names:
        await vault.put(EVERYWHERE, name, f"value of {name}", "anna")
    replace, calls = secrets.replace, 0

    async def dies(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        await replace(*args)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr(secrets, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            await vault.rotate()
    everything = {name: f"value of {name}" for name in names}
    assert await vault.of_build(1, names) == everything
    assert len(keys.read()) == 2
    assert await vault.rotate() == 5
    assert len(keys.read()) == 1
    assert await vault.of_build(1, names) == everything


async def test_what_is_stored_while_the_key_changes_is_not_lost(keys: Keys, monkeypatch: pytest.MonkeyPatch):
    vault = Vault(keys)
    await vault.put(EVERYWHERE, "OLD", "the old value", "anna")
    every, put = secrets.every, secrets.put

    async def rotates_meanwhile(scope: int, name: str, value: str, by: str) -> None:
        monkeypatch.setattr(secrets, "put", put)
        await Vault(keys).rotate()
        await put(scope, name, value, by)

    monkeypatch.setattr(secrets, "put", rotates_meanwhile)
    await vault.put(EVERYWHERE, "NEW", "stored with a key that is gone", "anna")

    async def replaced_meanwhile() -> object:
        monkeypatch.setattr(secrets, "every", every)
        found = await every()
        await vault.put(EVERYWHERE, "OLD", "the newer value", "berta")
        return found

    monkeypatch.setattr(secrets, "every", replaced_meanwhile)
    await vault.rotate()
    assert await vault.of_build(1, ["NEW", "OLD"]) == {
        "NEW": "stored with a key that is gone", "OLD": "the newer value",
    }  # fmt: skip


async def test_what_a_build_masks_can_be_read_when_the_key_changes_meanwhile(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    vault, running, add = Vault(keys), await job(), secrets.add_mask
    await vault.add_masks(running, ["the first"])

    async def rotates_meanwhile(job_id: int, value: str, before: str | None) -> None:
        monkeypatch.setattr(secrets, "add_mask", add)
        await Vault(keys).rotate()
        await add(job_id, value, before)

    monkeypatch.setattr(secrets, "add_mask", rotates_meanwhile)
    await vault.add_masks(running, ["the second"])
    assert await vault.masks_of(running) == ["the first", "the second"]
    assert await vault.problem() is None


async def test_a_rotation_of_what_is_no_key_changes_nothing_also_where_nothing_is_stored(keys: Keys):
    keys.path.write_text("no key\n")
    for vault in (Vault(keys), Vault(Keys(keys.path.parent, ["no key"]))):
        with pytest.raises(VaultError, match="is not a key; put the right one back"):
            await vault.rotate()
    assert keys.path.read_text() == "no key\n"


async def test_a_rotation_that_lacks_a_key_changes_nothing(keys: Keys):
    await Vault(keys).put(EVERYWHERE, "TOKEN", VALUE, "anna")
    before = keys.path.read_text()
    other = Vault(Keys(keys.path.parent, [new_key()]))
    with pytest.raises(VaultError, match="the secret TOKEN was stored with another key"):
        await other.rotate()
    assert keys.path.read_text() == before
    assert await Vault(keys).of_build(1, ["TOKEN"]) == {"TOKEN": VALUE}


async def test_keys_of_the_environment_change_by_their_order(keys: Keys):
    old, new = new_key(), new_key()
    root = keys.path.parent
    await Vault(Keys(root, [old])).put(EVERYWHERE, "TOKEN", VALUE, "anna")
    assert await Vault(Keys(root, [new, old])).rotate() == 1
    assert await Vault(Keys(root, [new])).of_build(1, ["TOKEN"]) == {"TOKEN": VALUE}
    with pytest.raises(VaultError):
        await Vault(Keys(root, [old])).of_build(1, ["TOKEN"])
    assert not keys.path.exists()
