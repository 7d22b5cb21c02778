"""`rapidflow run` of a working tree: finds its pipeline, uploads it, starts its build."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError
from rapidflow_web.cli.lookups import all_repositories
from rapidflow_web.cli.meter import Meter
from rapidflow_web.cli.working_tree import DefinitionText, WorkingTree
from rapidflow_web.errors import Invalid
from rapidflow_web.forges import locations
from rapidflow_web.pipeline.definition_files import default_name
from rapidflow_web.progress import ByteCount, Counted
from rapidflow_web.terminal import note, shown_size

_LOGIN = re.compile(r"(?<=://)[^@/]*@")


def start(
    client: Client,
    folder: Path,
    file: Path | None,
    named: str | None,
    environment: Mapping[str, str],
    *,
    secrets: bool,
) -> dict[str, Any]:
    """Starts a build of the working tree around a folder, with the definition that stands in it.

    Where there are several, `file` is that of the definition, or it is `named` by its name or path. Without
    `secrets` it is built as a commit of a fork is. Returns the job. Raises `ClientError`.
    """
    tree = WorkingTree(folder)
    wanted = named if file is None else os.path.relpath(file.parent.resolve() / file.name, tree.root)
    repository = _repository(client, tree)
    with tree.packed() as packed:
        path = _chosen(packed.definitions, wanted, tree.root)
        pipeline = next((one for one in repository["pipelines"] if one["path"] == path), None)
        if pipeline is None:
            raise ClientError(
                f"the server has no pipeline for {path} yet; push that file once to a branch of "
                f"{repository['url']}; the server learns of a push by a webhook or its next poll"
            )
        for remark in packed.remarks:
            note(remark)
        note(f"uploading {shown_size(packed.size)} for pipeline {pipeline['id']} '{pipeline['name']}'")
        number = pipeline["id"]
        with packed.pack.open("rb") as pack, Meter("uploading") as meter:
            upload = client.upload(
                f"/pipelines/{number}/uploads?commit={packed.commit}",
                Counted(pack, ByteCount(meter, packed.size)),
                packed.size,
                shape=response_shapes.UPLOAD,
            )
    body: dict[str, Any] = {"upload": upload["id"], "environments": dict(environment)}
    if not secrets:
        body["secrets"] = False
    return client.call("POST", f"/pipelines/{number}/jobs", body, shape=response_shapes.STORED)


def _repository(client: Client, tree: WorkingTree) -> dict[str, Any]:
    """The repository on the server that a remote of the tree is. Raises `ClientError`."""
    known = all_repositories(client)
    remotes = tree.remotes()
    for url in (*remotes, str(tree.root)):
        if (found := _known_as(url, tree.root, known)) is not None:
            return found
    if not remotes:
        raise ClientError(
            f"{tree.root} has no remote, so its repository is unknown; add one with 'git remote add origin "
            "URL', and add the repository to the server with 'rapidflow add URL'"
        )
    from rapidflow_web.pipeline.clone_credentials import without_password

    shown = without_password(_as_url(remotes[0], tree.root))
    raise ClientError(
        f"the server has no repository {shown}, or none that you may see; add it with 'rapidflow add {shown}'"
    )


def _known_as(url: str, root: Path, known: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The repository that a remote of a tree is: of this URL, else the only one at the same place.

    Raises `ClientError` where there are several.
    """
    exact = _without_login(url)
    at_place = [one for one in known if _place(one["url"], Path("/")) == _place(url, root)]
    found = [one for one in at_place if _without_login(one["url"]) == exact] or at_place
    if len(found) > 1:
        listed = ", ".join(one["url"] for one in found)
        raise ClientError(
            f"the server has several repositories that {exact} may be: {listed}; give the remote the URL of "
            "the right one with 'git remote set-url'"
        )
    return found[0] if found else None


def _without_login(url: str) -> str:
    return _LOGIN.sub("", url).rstrip("/")


def _place(url: str, root: Path) -> tuple[str, str]:
    """Host and path of a clone URL, by which it is the same over https and ssh."""
    there = locations.of(url)
    if there is not None:
        return there.host, there.path
    path = unquote(urlsplit(url).path) if url.startswith("file://") else url
    return "", os.path.realpath(root / path).removesuffix("/.git").removesuffix(".git")


def _as_url(remote: str, root: Path) -> str:
    """A remote as `rapidflow add` takes it: git also takes paths of this machine."""
    if "://" in remote or locations.of(remote) is not None:
        return remote
    return Path(os.path.normpath(root / remote)).as_uri()


@dataclass(frozen=True, slots=True)
class _Definition:
    path: str
    name: str
    problem: str | None


def _chosen(found: Sequence[DefinitionText], wanted: str | None, root: Path) -> str:
    """The path of the definition that is to be built. Raises `ClientError`."""
    if not found:
        raise ClientError(f"{root} has neither .rapidflow.yml nor .rapidflow/*.yml; write one first")
    definitions = [_read(one) for one in found]
    listed = ", ".join(f"'{one.name}' ({one.path})" for one in definitions)
    if wanted is None:
        if len(definitions) > 1:
            raise ClientError(f"there are several definitions; choose one with --pipeline: {listed}")
        fitting = definitions
    else:
        fitting = [one for one in definitions if one.path == wanted]
        fitting = fitting or [one for one in definitions if one.name == wanted]
    if not fitting:
        raise ClientError(f"there is no definition '{wanted}' in {root}; there is {listed}")
    if fitting[0].problem is not None:
        raise ClientError(fitting[0].problem)
    return fitting[0].path


def _read(one: DefinitionText) -> _Definition:
    from rapidflow_web.pipeline.parser import parse_in_repository

    name = default_name(PurePosixPath(one.path))
    if one.text is None:
        return _Definition(one.path, name, None)  # the server says what is wrong
    try:
        return _Definition(one.path, parse_in_repository(one.text, default_name=name).name, None)
    except Invalid as error:
        problem = "\n".join(f"{one.path}: {problem.message}" for problem in error.problems)
        return _Definition(one.path, name, problem)
