"""Copies what the relay needs to run into an empty folder: what its image consists of (see Dockerfile).

The interpreter, the modules of the standard library that the relay imports, and the libraries they need: no
shell, and no tool for somebody who gets in.
"""

from __future__ import annotations

import importlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

_ALWAYS = ("encodings.ascii", "encodings.latin_1", "encodings.idna", "encodings.utf_8")
"""Modules that are imported only when something calls for them."""


def main(sources: Path, root: Path) -> None:
    """Copies the relay to the folder `root`, with all that it needs at the paths that these have here.

    `sources` has its modules in the folders of their packages.
    """
    program = root / "relay"
    shutil.copytree(sources, program)
    (program / "__main__.py").write_text("from rapidflow_web.executors.cluster.relay import main\n\nmain()\n")
    sys.path.insert(0, str(program))
    importlib.import_module("rapidflow_web.executors.cluster.relay")
    for name in _ALWAYS:
        __import__(name)
    interpreter = Path(sys.executable).resolve()
    binaries = {interpreter}
    for module in list(sys.modules.values()):
        file = Path(getattr(module, "__file__", None) or "built in")
        if file.suffix == ".so":
            binaries.add(file)
        elif file.suffix == ".py" and not file.is_relative_to(program) and Path(__file__) != file:
            # Compiled only: half the size, and nothing is compiled when a relay starts.
            target = root / file.with_suffix(".pyc").relative_to("/")
            py_compile.compile(str(file), str(target), dfile=str(file), doraise=True)
    for binary in binaries | _libraries(binaries):
        target = root / binary.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(binary, target)
    # Where the dynamic linker looks for libraries that are not in folders which it knows by itself.
    if Path("/etc/ld.so.cache").exists():
        (root / "etc").mkdir(exist_ok=True)
        shutil.copy("/etc/ld.so.cache", root / "etc/ld.so.cache")
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin/python3").symlink_to(interpreter)
    for folder in ("run/secrets", "var/run", "proc", "sys", "dev", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _libraries(binaries: set[Path]) -> set[Path]:
    """The shared libraries that programs and modules need, and the links that lead to them as files."""
    printed = subprocess.run(["ldd", *binaries], capture_output=True, text=True).stdout
    return {Path(found) for found in re.findall(r"(/\S+) \(0x", printed)}


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
