"""The agent, run by every shell that images have: what it does with steps."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.executors.agent import protocol
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support import agents
from tests.support.agents import NONCE, SHELLS, Agent, Start
from tests.support.server import wait_for


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """The command of a shell that runs the agent."""
    return SHELLS[request.param]


@pytest.fixture
def start(tmp_path: Path, shell: list[str]) -> Iterator[Start]:
    """Starts an agent with the given steps, `environment`, `folder` and so on."""
    started: list[Agent] = []

    def begin(*steps: str | StepDefinition, output: str = "copy", **options: object) -> Agent:
        agents.write(tmp_path, steps, **options)  # type: ignore[arg-type]
        one = Agent(tmp_path, shell, output)
        started.append(one)
        one.begin(wait=output == "copy")
        return one

    yield begin
    for one in started:
        one.kill()


def test_it_says_first_of_all_that_it_is_ready_and_what_it_can_do(start: Start):
    one = start()
    assert one.raw == f"\x1e{NONCE} ready unpack\n".encode()


def test_a_step_is_run_between_markers_and_its_exit_code_is_told(start: Start):
    one = start("echo one", "echo two; exit 7", StepDefinition("echo three; exit 255", "sh"))
    assert one.run(1, 2, 3) == [("0",), ("7",), ("255",)]
    markers = "".join(f"\x1e{NONCE} start {n}\n{text}\n\x1e{NONCE} exit {n} {code}\n"
                      for n, text, code in [(1, "one", 0), (2, "two", 7), (3, "three", 255)])  # fmt: skip
    assert one.raw.decode() == f"\x1e{NONCE} ready unpack\n{markers}"
    assert one.end_all() == 0
    assert (one.home / "log").read_bytes() == one.raw


def test_output_and_errors_keep_the_order_in_which_they_were_written(start: Start):
    one = start("i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i + 1)); done")
    one.run(1)
    assert one.output.decode() == "".join(f"out {i}\nerr {i}\n" for i in range(300))


def test_a_lot_of_output_is_complete_and_its_marker_unbroken(start: Start):
    one = start("head -c 3000000 /dev/zero | tr '\\0' x; echo", "echo next")
    assert one.run(1, 2) == [("0",), ("0",)]
    assert one.output == b"x" * 3_000_000 + b"\nnext\n"
    one.end_all()
    assert (one.home / "log").read_bytes() == one.raw


def test_a_step_stops_at_the_first_command_that_fails(start: Start):
    one = start(
        "echo a; false; echo b", StepDefinition("echo c; false; echo d", "sh"), "false | true; echo e"
    )
    assert one.run(1, 2, 3) == [("1",), ("1",), ("1",)]
    assert one.output == b"a\nc\n"


def test_bash_is_bash_and_sh_is_not(start: Start):
    one = start("a=(x y); echo ${a[1]}", StepDefinition("echo $0 $#", "sh"))
    one.run(1, 2)
    assert one.output.decode() == f"y\n{one.home}/steps/2.sh 0\n"


def test_a_step_that_is_not_valid_or_not_there_fails_with_the_words_of_the_shell(start: Start):
    one = start("if then", "no-such-program")
    assert [code != "0" for (code,) in one.run(1, 2, 3)] == [True, True, True]
    assert b"syntax error" in one.output
    assert b"no-such-program: command not found" in one.output
    assert b"steps/3.sh" in one.output


def test_commands_that_come_again_or_too_late_or_are_none_are_ignored(start: Start):
    one = start("echo one", "echo two", "echo three")
    one.run(1)
    one.send(b"run 1\nrun 0\nrun -5\nrun\nrun x\nrun 99999999999999999999999\n\nfoo 2\nunknown\n")
    one.run(3)
    one.send(protocol.run_command(2) + protocol.run_command(3) + b"run 4")
    assert one.end_all() == 0
    assert one.output == b"one\nthree\n"
    assert one.markers == [("start", "1"), ("exit", "1", "0"), ("start", "3"), ("exit", "3", "0")]


def test_a_step_has_no_input_and_does_not_eat_commands(start: Start):
    one = start("cat; read x || echo none; ls -l /proc/self/fd", "echo two")
    one.send(protocol.run_command(1) + protocol.run_command(2))
    one.wait_marker("exit", "2", "0")
    assert one.output.startswith(b"none\n") and one.output.endswith(b"two\n")
    assert b" 3 -> " + bytes(one.home / "out") not in one.output


def test_steps_begin_in_the_working_folder_with_the_variables_of_the_pipeline(start: Start):
    values = {"A": 'it\'s "quoted" $HOME `id`\n\\n\t', "EMPTY": "", "UTF": "ümlaut ✓", "PATHS": "/a:/b"}
    show = "printf '%s|' \"$PWD\" " + " ".join(f'"${key}"' for key in values)
    one = start(f"{show}; cd /; A=changed", show, environment=values, folder="my app/it's")
    one.run(1, 2)
    expected = "|".join([f"{one.root}/workspace/my app/it's", *values.values(), ""])
    assert one.output.decode() == expected * 2


OWN_NAMES = [
    "n",
    "d",
    "i",
    "step",
    "rf_home",
    "rf_out",
    "rf_last",
    "rf_pid",
    "rf_nonce",
    "rf_setsid",
    "rf_bash",
    "rf_sh",
    "rf_group",
    "rf_code",
    "rf_current",
    "rf_forgets",
]


def test_variables_of_the_pipeline_may_have_any_name(start: Start):
    values = {
        name: f"/nowhere/{name}" for name in [*OWN_NAMES, "IFS", "PS4", "ENV", "CDPATH", "HOME", "TMPDIR"]
    }
    show = "; ".join(f'printf "%s\\n" "${{{name}}}"' for name in OWN_NAMES)
    one = start(show, show, "echo three", environment=values)
    assert one.run(1, 2, 3) == [("0",), ("0",), ("0",)]
    assert one.output.decode() == "".join(f"/nowhere/{name}\n" for name in OWN_NAMES) * 2 + "three\n"


def test_variables_that_shells_have_themselves_do_no_harm(start: Start):
    numbers = dict.fromkeys(["UID", "EUID", "PPID", "OPTIND", "RANDOM", "LINENO", "GROUPS"], "7")
    options = {"SHELLOPTS": "braceexpand", "BASHOPTS": "extglob"}
    values = {**numbers, **options, "PATH": "/usr/bin:/bin", "B": "b c"}
    one = start(StepDefinition('echo "$B"', "sh"), 'echo "$B"', environment=values)
    assert one.run(1, 2) == [("0",), ("0",)]
    assert one.output == b"b c\nb c\n"


def test_a_pipeline_may_change_path(start: Start):
    files = StepDefinition("echo one; type ls || echo no ls", "bash", files={"f": "x"})
    one = start(files, "echo two", environment={"PATH": "/nowhere"})
    assert one.run(1, 2) == [("0",), ("0",)]
    assert b"no ls\n" in one.output and b"two\n" in one.output
    assert (one.root / "workspace" / "f").read_text() == "x"


def test_what_a_step_does_to_its_shell_stays_there(start: Start):
    one = start(
        "rf_last=9 n=1 PATH=; trap '' TERM; umask 077; ulimit -n 20; exec >/dev/null", "umask; ulimit -n"
    )
    assert one.run(1, 2) == [("0",), ("0",)]
    assert one.output.split()[0] == b"0022"
    assert one.output.split()[1] != b"20"


def test_the_files_of_a_step_are_there_before_it_and_not_before_its_turn(start: Start):
    second = StepDefinition(
        "cat a 'b c/d.txt' .hidden; printf changed > a",
        "sh",
        files={"a": "A\r\n", "b c/d.txt": "ü\n", ".hidden": "h", "empty": ""},
    )
    one = start("ls -A; echo mine > a", second, StepDefinition("cat a", files={}), folder="app")
    assert one.run(1, 2, 3) == [("0",), ("0",), ("0",)]
    assert one.output == "A\r\nü\nhchanged".encode()


def test_a_file_of_a_step_is_not_written_through_a_link(start: Start, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    one = start(
        f"ln -s {outside}/kept f; ln -s {outside}/new g; ln -s {outside} d",
        StepDefinition("cat f g", files={"f": "mine", "g": " too"}),
        StepDefinition("true", files={"d/x": "mine"}),
    )
    assert one.run(1, 2)[1] == ("0",)
    assert one.output == b"mine too"
    assert one.run(3) != [("0",)]
    assert b"no file is written through the link 'd'\n" in one.output
    assert [path.read_text() for path in outside.iterdir()] == ["kept"]


def test_a_working_folder_that_is_gone_fails_the_step_with_a_reason(start: Start):
    one = start("rm -r ../app", "echo never", folder="app")
    ends = one.run(1, 2)
    assert ends[1] != ("0",)
    assert b"app" in one.output and b"never" not in one.output


def test_a_file_that_can_not_be_copied_fails_the_step_with_a_reason(start: Start):
    one = start("mkdir f", StepDefinition("echo never", files={"f": "x"}))
    assert one.run(1, 2)[1] != ("0",)
    assert b"directory" in one.output and b"never" not in one.output


def test_the_nonce_is_in_no_environment(tmp_path: Path, shell: list[str]):
    agents.write(
        tmp_path, ["env; tr '\\0' '\\n' < /proc/self/environ; echo \"[$rf_nonce]\"; sleep 0.01 & wait"]
    )
    one = Agent(tmp_path, shell, environment={"rf_nonce": "of the image", "rf_home": "of the image"})
    try:
        one.begin()
        one.run(1)
        assert NONCE.encode() not in one.output
        assert b"\nrf_last=" not in one.output and b"\nrf_command=" not in one.output
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and b"rapidflow-agent" in read(process / "cmdline"):
                assert NONCE.encode() not in read(process / "environ") + read(process / "cmdline")
    finally:
        one.kill()


def read(path: Path) -> bytes:
    """The bytes of a file of the kernel's that may be gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


# Background processes.


def test_a_background_process_that_keeps_the_output_open_does_not_hold_the_step(start: Start):
    one = start("sleep 100 & echo one", "echo two")
    assert one.run(1, 2) == [("0",), ("0",)]
    assert one.output == b"one\ntwo\n"
    assert one.end() == 0


def test_what_a_background_process_prints_soon_after_the_step_comes_before_the_marker(start: Start):
    one = start("(sleep 0.05; echo late) & echo one", "echo two")
    assert one.run(1, 2) == [("0",), ("0",)]
    ended = one.raw.index(f"\x1e{NONCE} exit 1 0\n".encode())
    assert one.raw.index(b"late\n") < ended


def test_a_background_process_goes_on_during_the_next_step(start: Start):
    one = start("(while [ ! -e stop ]; do sleep 0.02; done; echo from step 1) & ", "touch stop; sleep 0.3")
    assert one.run(1, 2) == [("0",), ("0",)]
    begun = one.raw.index(f"\x1e{NONCE} start 2\n".encode())
    assert begun < one.raw.index(b"from step 1\n") < one.raw.index(f"\x1e{NONCE} exit 2 0\n".encode())


def test_a_step_that_makes_its_output_non_blocking_harms_nobody_else(start: Start):
    unblock = "import fcntl, os; fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)"
    one = start(f'{sys.executable} -c "{unblock}"; sleep 100 &', "head -c 1000000 /dev/zero")
    one.run(1)
    one.pause()
    one.send(protocol.run_command(2))
    # With a reader that does not read, everything in between is full.
    wait_for(lambda: waits_to_write(one, b"head"), "the step waits until somebody reads")
    one.go_on()
    one.wait_marker("exit", "2", "0")
    assert one.output == b"\0" * 1_000_000


def waits_to_write(one: Agent, name: bytes) -> bool:
    """Whether a process of the agent's with this name is in the kernel, waiting for room in a pipe."""
    mark = f"RAPIDFLOW_TEST_ROOT={one.root}".encode()
    for process in Path("/proc").iterdir():
        if (
            process.name.isdigit()
            and read(process / "comm") == name + b"\n"
            and mark in read(process / "environ")
        ):
            return read(process / "syscall").startswith(b"1 ")
    return False


# Images that lack something.


def only(folder: Path, *programs: str) -> dict[str, str]:
    """An environment whose PATH has these programs alone."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None, program
        (folder / program).symlink_to(os.path.realpath(found))
    return {"PATH": str(folder)}


NEEDED = ("sh", "mkdir", "mkfifo", "tee", "cp", "sleep", "cat")


def test_a_bash_step_is_run_by_sh_where_there_is_no_bash(tmp_path: Path):
    agents.write(tmp_path / "root", ["echo one; echo ${BASH_VERSION:-no bash}; false; echo two"])
    one = Agent(tmp_path / "root", ["/bin/dash"], environment=only(tmp_path / "bin", *NEEDED, "setsid"))
    try:
        one.begin()
        assert one.raw == f"\x1e{NONCE} ready -\n".encode()
        assert one.run(1) == [("1",)]
        assert one.output == b"one\nno bash\n"
    finally:
        one.kill()


def test_where_there_is_no_setsid_steps_run_all_the_same(tmp_path: Path):
    agents.write(tmp_path / "root", ["echo one", "sleep 100 & echo two"])
    one = Agent(tmp_path / "root", ["/bin/dash"], environment=only(tmp_path / "bin", *NEEDED))
    try:
        one.begin()
        assert one.run(1, 2) == [("0",), ("0",)]
        assert one.output == b"one\ntwo\n"
    finally:
        one.kill()


def test_without_a_reader_of_its_own_the_output_is_a_file(start: Start):
    one = start("echo one; echo two >&2", "echo three", output="file")
    log = one.home / "log"
    one.send(protocol.run_command(1) + protocol.run_command(2))
    wait_for(lambda: b" exit 2 0\n" in read(log), "the second step ends")
    items = list(protocol.MarkerParser(NONCE).feed(log.read_bytes()))
    assert b"".join(item.data for item in items if isinstance(item, protocol.Output)) == b"one\ntwo\nthree\n"
    assert one.raw == b""
