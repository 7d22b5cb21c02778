"""Commands that people copy from a job's page."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Collection, Mapping, Sequence

from rapidflow_web.pipeline.definition import StepDefinition


def reproduce(
    image: str,
    steps: Sequence[StepDefinition],
    environment: Mapping[str, str],
    secrets: Collection[str] = (),
    *,
    repo_name: str | None,
    commit: str | None,
    folder: str | None,
    network: bool = True,
    uploaded: bool = False,
) -> str:
    """What runs the same steps on the reader's machine: the source beside, all steps in one container.

    The source of a build that was `uploaded` is the folder in which it runs, for nobody else has it.
    """
    lines: list[str] = []
    mount = ""
    if uploaded:
        mount = ' -v "$PWD:/workspace"'
    elif repo_name is not None:
        lines.append(f"git clone --recurse-submodules {shlex.quote(repo_name)} source")
        if commit is not None:
            lines.append(f"git -C source checkout --recurse-submodules {shlex.quote(commit)}")
        mount = ' -v "$PWD/source:/workspace"'
    script = "\n".join(_step(step) for step in steps)
    # Of secrets docker takes the value that the reader's shell has.
    given = [name if name in secrets else f"{name}={value}" for name, value in environment.items()]
    variables = "".join(f" -e {shlex.quote(variable)}" for variable in given)
    workdir = shlex.quote(posixpath.normpath(posixpath.join("/workspace", folder or ".")))
    closed = "" if network else " --network none"
    lines.append(
        f"docker run --rm{closed} --entrypoint sh{mount} -w {workdir}{variables} "
        f"{shlex.quote(image)} -ec {shlex.quote(script)}"
    )
    return "\n".join(lines)


def _step(step: StepDefinition) -> str:
    files = [
        f"mkdir -p -- {shlex.quote(posixpath.dirname(path) or '.')}\n"
        f"printf %s {shlex.quote(text)} >{shlex.quote(path)}"
        for path, text in step.files.items()
    ]
    shell = "bash -e -o pipefail" if step.type == "bash" else "sh -e"
    return "\n".join([*files, f"{shell} -c {shlex.quote(step.content)}"])
