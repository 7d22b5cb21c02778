"""The agent, run by every shell that images have: signals."""

from __future__ import annotations

import random
import shlex
import signal
import time
from pathlib import Path

import pytest

from rapidflow_web.executors.agent import protocol
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support.agents import SHELLS, Agent, Start
from tests.support.server import wait_for

# SIGTERM.


def test_a_step_that_is_told_to_stop_may_clean_up_and_end_as_it_likes(start: Start):
    script = "exec 2>&-; trap 'echo cleaning up; exit 3' TERM; echo waiting; while :; do sleep 0.02; done"
    one = start(StepDefinition(script, "sh"), "echo never")
    one.send(protocol.run_command(1))
    one.wait_output(b"waiting\n")
    one.signal(signal.SIGTERM)
    assert one.wait_marker("exit", "1") == ("exit", "1", "3", "term")
    assert one.process.wait(timeout=30) == 143
    assert one.output == b"waiting\ncleaning up\n"


def test_a_step_without_a_trap_ends_at_once_with_all_its_processes(start: Start):
    one = start("sleep 100 & echo $! > pid; sleep 200")
    one.send(protocol.run_command(1))
    pid = one.root / "workspace" / "pid"
    wait_for(lambda: pid.exists() and pid.read_text(), "the step runs")
    one.signal(signal.SIGTERM)
    assert one.wait_marker("exit", "1") == ("exit", "1", "143", "term")
    wait_for(lambda: ended(int(pid.read_text())), "the background process ends")
    assert one.end_all() == 143


def ended(pid: int) -> bool:
    """Whether a process runs no longer."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_step_that_ignores_the_signal_goes_on_to_its_end(start: Start):
    one = start("trap '' TERM; echo waiting; while [ ! -e stop ]; do sleep 0.02; done; echo done; exit 0")
    one.send(protocol.run_command(1))
    one.wait_output(b"waiting\n")
    one.signal(signal.SIGTERM)
    one.signal(signal.SIGTERM)
    (one.root / "workspace" / "stop").touch()
    assert one.wait_marker("exit", "1") == ("exit", "1", "0", "term")
    assert one.end_all() == 143
    assert one.output == b"waiting\ndone\n"


def test_an_idle_agent_ends_at_once(start: Start):
    one = start("echo one")
    one.run(1)
    one.signal(signal.SIGTERM)
    assert one.process.wait(timeout=30) == 143
    assert one.markers == [("start", "1"), ("exit", "1", "0")]


def test_nothing_of_the_last_words_is_lost(start: Start):
    words = "trap 'head -c 500000 /dev/zero; exit 0' TERM"
    one = start(f"exec 2>&-; {words}; echo waiting; while :; do sleep 0.02; done")
    one.send(protocol.run_command(1))
    one.wait_output(b"waiting\n")
    one.signal(signal.SIGTERM)
    assert one.end_all() == 143
    assert one.output == b"waiting\n" + b"\0" * 500_000
    assert one.markers[-1] == ("exit", "1", "0", "term")
    assert (one.home / "log").read_bytes() == one.raw


def test_a_step_that_is_killed_is_not_commented_on(start: Start):
    one = start("echo one; kill -9 $$", "echo two")
    assert one.run(1, 2) == [("137",), ("0",)]
    assert one.output == b"one\ntwo\n"


def test_a_step_leads_its_group_and_may_signal_it(start: Start):
    background = "trap 'trap - TERM && kill -- -$$' EXIT; sleep 100 & echo one"
    alarm = "trap 'echo alarm' ALRM; kill -ALRM 0; sleep 0.1; echo two; exit 4"
    one = start(background, alarm, "kill -KILL 0", "echo three")
    assert one.run(1, 2, 3, 4) == [("143",), ("4",), ("137",), ("0",)]
    assert one.output == b"one\nalarm\ntwo\nthree\n"


def test_where_nothing_can_be_noted_the_exit_code_is_known_all_the_same(start: Start):
    one = start("mkdir ../rapidflow/steps/1.code ../rapidflow/steps/2.pid; exit 7", "exit 8", "echo three")
    assert one.run(1, 2, 3) == [("7",), ("8",), ("0",)]
    assert one.output == b"three\n"


# SIGUSR2, which ends a step alone.


def test_only_the_step_ends_and_a_post_step_follows(start: Start):
    script = "exec 2>&-; trap 'echo cleaned; exit 3' TERM; sleep 100 & echo $! >pid; echo waiting; "
    one = start(script + "while :; do sleep 0.02; done", "echo never", 'echo "$RAPIDFLOW_STATUS"')
    one.send(protocol.run_command(1))
    one.wait_output(b"waiting\n")
    one.signal(signal.SIGUSR2)
    assert one.wait_marker("exit", "1") == ("exit", "1", "3")
    # Also one that the server had sent just before.
    one.send(protocol.run_command(2))
    assert one.wait_marker("exit", "2") == ("exit", "2", "143")
    one.send(protocol.run_command(3, "cancelled"))
    assert one.wait_marker("exit", "3") == ("exit", "3", "0")
    assert ended(int((one.root / "workspace" / "pid").read_text()))
    assert one.output == b"waiting\ncleaned\ncancelled\n"
    assert one.end_all() == 0


def test_what_comes_late_ends_no_post_step(start: Start):
    wait = "echo waiting; while [ ! -e stop ]; do sleep 0.02; done; echo done"
    one = start("true", wait, "echo three")
    assert one.run(1) == [("0",)]
    one.send(protocol.run_command(2, "success") + protocol.run_command(2, "success"))
    one.wait_output(b"waiting\n")
    for number in (signal.SIGUSR2, signal.SIGALRM):
        one.signal(number)
    (one.root / "workspace" / "stop").touch()
    assert one.wait_marker("exit", "2") == ("exit", "2", "0")
    one.send(protocol.run_command(3, "failed"))
    assert one.wait_marker("exit", "3") == ("exit", "3", "0")
    assert one.output == b"waiting\ndone\nthree\n"
    assert [words[1] for words in one.markers if words[0] == "start"] == ["1", "2", "3"]


def test_a_post_step_is_stopped_as_any(start: Start):
    one = start("true", "echo waiting; sleep 100", "echo never")
    one.run(1)
    one.send(protocol.run_command(2, "success"))
    one.wait_output(b"waiting\n")
    one.signal(signal.SIGTERM)
    assert one.wait_marker("exit", "2") == ("exit", "2", "143", "term")
    assert one.end_all() == 143


def test_whenever_the_signal_comes_the_step_ends_and_the_post_step_runs_once(tmp_path: Path, start: Start):
    for turn in range(30):
        one = start("exec sleep 100", "echo post")
        one.send(protocol.run_command(1))
        # Before the step begins, while it starts, and while it runs.
        time.sleep(random.random() * 0.03)
        one.signal(signal.SIGUSR2)
        assert one.wait_marker("exit", "1")[2] == "143"
        one.send(protocol.run_command(2, "cancelled"))
        assert one.wait_marker("exit", "2") == ("exit", "2", "0")
        assert one.output == b"post\n"
        one.kill()
        (tmp_path / "root").rename(tmp_path / f"root-{turn}")


# SIGINT and SIGQUIT.


def test_a_step_ignores_no_signal_from_the_start(start: Start):
    one = start(StepDefinition("grep SigIgn /proc/self/status", "sh"), "(grep SigIgn /proc/self/status)")
    assert one.run(1, 2) == [("0",), ("0",)]
    names, masks = one.output.decode().split()[::2], one.output.decode().split()[1::2]
    assert names == ["SigIgn:"] * 2
    # Above 31 are the C library's own signals, which no shell can reset.
    assert [int(mask, 16) & 0x7FFFFFFF for mask in masks] == [0, 0]


@pytest.mark.parametrize("name", ["INT", "QUIT"])
def test_a_child_of_a_step_hears_that_it_is_interrupted(start: Start, name: str):
    child = f"trap 'echo cleaned up; exit 3' {name}; kill -{name} $$; while :; do sleep 0.02; done"
    one = start(StepDefinition(f"sh -c {shlex.quote(child)}", "sh"))
    assert one.run(1) == [("3",)]
    assert one.output == b"cleaned up\n"


def test_a_step_that_is_interrupted_has_failed_and_the_next_one_runs(start: Start):
    one = start(StepDefinition("kill -INT $$; sleep 1", "sh"), "echo next")
    assert one.run(1, 2) == [("130",), ("0",)]
    assert one.output == b"next\n"


def test_a_step_that_kills_what_waits_for_it_has_failed(start: Start):
    one = start(StepDefinition("kill -9 $PPID", "sh"))
    assert one.run(1) == [("137",)]


# SIGUSR1.


def test_an_agent_says_where_it_is_when_asked(start: Start):
    one = start("echo waiting; while [ ! -e stop ]; do sleep 0.02; done; exit 4")
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "1", "0", "0")
    one.send(protocol.run_command(1))
    one.wait_output(b"waiting\n")
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "2", "1", "1")
    (one.root / "workspace" / "stop").touch()
    assert one.wait_marker("exit", "1") == ("exit", "1", "4")
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "3", "0", "1")
    assert one.end_all() == 0
    assert one.output == b"waiting\n"


def test_being_asked_all_the_time_changes_no_exit_code_and_every_answer_is_true(start: Start):
    codes = [random.choice([0, 127, random.randrange(256)]) for _ in range(60)]
    one = start(*(StepDefinition(f"exit {code}", "sh") for code in codes))
    for number in range(1, len(codes) + 1):
        one.send(protocol.run_command(number))
        # At any time: while the step starts, runs, and ends.
        deadline = time.monotonic() + 30
        while not any(words[:2] == ("exit", str(number)) for words in one.markers):
            assert time.monotonic() < deadline, f"step {number} does not end"
            one.signal(signal.SIGUSR1)
            time.sleep(random.random() * 0.003)
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "1")
    assert one.end_all() == 0
    current, last = 0, 0
    syncs: set[str] = set()
    for words in one.markers:
        if words[0] == "start":
            assert int(words[1]) == last + 1
            current = last = int(words[1])
        elif words[0] == "exit":
            assert words == ("exit", str(current), str(codes[current - 1]))
            current = 0
        else:
            assert words[1] not in syncs
            syncs.add(words[1])
            # It may be about to say that the next step starts.
            assert words[2:] in ((str(current), str(last)), (str(last + 1), str(last + 1)))
    assert last == len(codes)


def test_a_signal_between_commands_loses_no_command(start: Start):
    one = start(*["echo x"] * 20)
    for number in range(1, 21):
        one.signal(signal.SIGUSR1)
        one.run(number)
    assert one.output == b"x\n" * 20


def test_an_agent_that_is_told_no_nonce_ends_quietly(tmp_path: Path):
    one = Agent(tmp_path, SHELLS["dash"])
    assert one.end_all() == 1
    assert (one.waiting, one.raw) == (b"waiting free\n", b"")
