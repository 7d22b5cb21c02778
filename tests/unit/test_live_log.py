"""What a log grows by is written to all who have read it to its end."""

from __future__ import annotations

import asyncio
import os
import weakref
from pathlib import Path
from typing import cast

import pytest

from rapidflow_web.accounts.authentication import Access
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.web.live_log import LiveLog
from rapidflow_web.web.streaming import OpenStreams


class Client:
    """A connection that takes `room` pieces."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.received = b""
        self.room = room

    def pass_on(self, data: bytes) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.received += data
        return True


@pytest.fixture
def logs(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path)


@pytest.fixture
async def writer(logs: LogStore) -> LogWriter:
    writer = logs.writer(1)
    await writer.begin_step(1, 1, "sh", 0)
    return writer


def live_of(logs: LogStore, chunk: int = 1000) -> LiveLog:
    return LiveLog(logs.open(1), lambda: chunk)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


async def test_everybody_gets_everything_whenever_they_come(logs: LogStore, writer: LogWriter):
    log, live = writer.log, live_of(logs, chunk=7)
    followers: list[tuple[Client, int, asyncio.Task[int]]] = []
    for number in range(50):
        client = Client()
        followers.append((client, log.size, asyncio.create_task(live.follow(client, log.size))))
        await writer.append(b"line %d\n" % number * (number % 4), number)
        if number % 3:
            await asyncio.sleep(0)
    await writer.seal(b"the end\n")
    whole = await log.read(0)
    for client, start, task in followers:
        assert await task == len(whole)
        assert client.received == whole[start:]


async def test_client_that_is_behind_gets_its_turn_back_at_the_right_place(logs: LogStore, writer: LogWriter):
    log, live = writer.log, live_of(logs)
    slow, fast = Client(room=1), Client()
    start = log.size
    tasks = [asyncio.create_task(live.follow(client, start)) for client in (slow, fast)]
    for line in (b"one\n", b"two\n", b"three\n"):
        await writer.append(line, 0)
        await settled()
    assert tasks[0].done() and not tasks[1].done()
    assert tasks[0].result() == start + 4
    assert slow.received == b"one\n" and fast.received == b"one\ntwo\nthree\n"
    # It comes again when it has caught up.
    slow.room = 10
    tasks[0] = asyncio.create_task(live.follow(slow, log.size))
    await settled()
    await writer.append(b"four\n", 0)
    await settled()
    assert slow.received == b"one\nfour\n"
    await writer.seal(b"")
    assert await asyncio.gather(*tasks) == [log.size, log.size]


async def test_follower_that_goes_away_leaves_the_others_and_no_task(logs: LogStore, writer: LogWriter):
    live, before = live_of(logs), asyncio.all_tasks()
    clients = [Client(), Client()]
    tasks = [asyncio.create_task(live.follow(client, writer.log.size)) for client in clients]
    await settled()
    tasks[0].cancel()
    await writer.append(b"a line\n", 0)
    await settled()
    assert tasks[0].cancelled() and clients[1].received == b"a line\n"
    tasks[1].cancel()
    await settled()
    assert asyncio.all_tasks() == before
    # And the next one is served.
    third = Client()
    task = asyncio.create_task(live.follow(third, writer.log.size))
    await settled()
    await writer.append(b"another\n", 0)
    await settled()
    assert third.received == b"another\n"
    task.cancel()
    writer.close()


async def test_log_that_cannot_be_read_gives_everybody_their_turn_back(logs: LogStore, writer: LogWriter):
    live, client = live_of(logs), Client()
    start = writer.log.size
    task = asyncio.create_task(live.follow(client, start))
    await settled()
    await writer.append(b"gone\n", 0)
    writer.log.latest = 0, b""
    os.truncate(writer.log.path, 0)
    assert await task == start
    assert client.received == b""
    writer.close()


async def test_last_follower_that_leaves_and_one_that_comes_do_not_disturb_each_other(
    logs: LogStore, writer: LogWriter
):
    live, start = live_of(logs), writer.log.size
    client = Client()
    for number in range(5):
        leaving = asyncio.create_task(live.follow(Client(), writer.log.size))
        await settled()
        # In the same turn of the loop, in either order.
        if number % 2:
            leaving.cancel()
        coming = asyncio.create_task(live.follow(client, writer.log.size))
        leaving.cancel()
        await settled()
        await writer.append(b"%d\n" % number, 0)
        await settled()
        coming.cancel()
        await settled()
    assert client.received == (await writer.log.read(start))
    writer.close()


async def test_followers_may_come_and_go_while_a_piece_is_sent(
    logs: LogStore, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("rapidflow_web.web.live_log._TURN_SECONDS", -1)
    live, start = live_of(logs), writer.log.size
    clients = [Client() for _ in range(20)]
    tasks = [asyncio.create_task(live.follow(client, start)) for client in clients]
    await settled()
    late = Client()
    await writer.append(b"one\n", 0)
    for _ in range(1000):
        if any(client.received for client in clients):
            break
        await asyncio.sleep(0)
    left = [task.cancel() for client, task in zip(clients, tasks, strict=True) if not client.received]
    joined = asyncio.create_task(live.follow(late, writer.log.size))
    await writer.append(b"two\n", 0)
    await settled()
    assert left and all(left)
    assert late.received == b"two\n"
    for client, task in zip(clients, tasks, strict=True):
        assert task.cancelled() or client.received == b"one\ntwo\n"
        assert not task.cancelled() or client.received == b""
    await writer.seal(b"")
    assert await joined == writer.log.size


async def test_follower_that_is_further_back_than_the_others_reads_by_itself(
    logs: LogStore, writer: LogWriter
):
    live, start = live_of(logs), writer.log.size
    task = asyncio.create_task(live.follow(Client(), start))
    await settled()
    await writer.append(b"one\n", 0)
    await settled()
    late = Client()
    back = asyncio.create_task(live.follow(late, start))
    await writer.append(b"two\n", 0)
    assert await back == start and late.received == b""
    await writer.seal(b"")
    await task


async def test_all_streams_of_a_log_share_one_live_log_while_there_are_any(logs: LogStore, writer: LogWriter):
    streams = OpenStreams(cast(Access, None))
    first = streams.live(writer.log)
    assert streams.live(logs.open(1)) is first
    await logs.writer(2).begin_step(1, 1, "sh", 0)
    assert streams.live(logs.open(2)) is not first
    kept = weakref.ref(first)
    del first
    assert kept() is None
