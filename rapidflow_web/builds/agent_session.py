"""The conversation with the agent of one build: what it says becomes the log and the state of the steps.

Its markers begin and end steps in the log and, after it, in the database; what to run next is told to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing

from rapidflow_web import metrics
from rapidflow_web.builds import reasons
from rapidflow_web.builds.masks import Masks
from rapidflow_web.builds.silence import Silence
from rapidflow_web.builds.stopping import Outcome, Stopping
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Step
from rapidflow_web.errors import BuildError, EngineUnavailable
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import Running
from rapidflow_web.logs.index import Kind, Record
from rapidflow_web.logs.masking.masker import Added, Masker, Piece
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.limits import Limits, format_size

_KILLED = 137
_HIGHEST_CODE = 255
_LONGEST_COMPLAINT = 1000
_MOST_HEARD = 64 * 1024
"""Bytes that are kept of what is printed before the first step: secrets in them must not be cut."""
_TURN_SECONDS = 0.005
_MOST_OUTPUT = 10
"""How often the limit of its log a build may print before it is stopped."""
_MOST_MARKERS = 1000
"""Markers beyond two for each step. A few come whenever the connection to the container is made anew."""


class StartOver(BuildError):
    """No step has run yet, so the build may as well be prepared anew."""


class Conversation:
    """Speaks with the agent of one build, in whatever container it is.

    `place` is what it runs in, in words. `advanced` is called when the source is where the build runs, and,
    with True, when the first step has begun.
    """

    def __init__(
        self,
        nonce: str,
        steps: Sequence[Step],
        limits: Limits,
        writer: LogWriter,
        masks: Masks,
        stopping: Stopping,
        place: str,
        advanced: Callable[[bool], Awaitable[None]],
    ) -> None:
        self.silence = Silence(limits.silence_timeout, self._end_silence)
        self._nonce = nonce
        self._steps = steps
        self._limits = limits
        self._writer = writer
        self._masks = masks
        self._masker = Masker(())
        self._stopping = stopping
        self._place = place
        self._advanced = advanced
        self._archive: Archive | None = None
        """What the agent is still to be brought. An earlier server brought all of it, or no step has run."""
        self._heard = b""
        """What was printed before the first step."""
        self._markers_left = 2 * len(steps) + _MOST_MARKERS
        self._step_since = time.monotonic()
        self._turn_since = 0.0
        """When others last had their turn."""

    async def follow(self, running: Running, archive: Archive | None = None) -> Outcome:
        """Listens until the build ends, and says how. `archive` is what the agent is to be brought first.

        Raises `StartOver` where no step has run and the connection broke, `BuildError`.
        """
        self._archive, self._heard = archive, b""
        self._masker = Masker(self._masks.values, await self._writer.at_line_start())
        self._stopping.concerns(running)
        parser = protocol.MarkerParser(self._nonce, self._writer.source)
        try:
            async with self.silence, aclosing(running.output(self._writer.source)) as output:
                async for chunk in output:
                    self.silence.broken()
                    for item in parser.feed(chunk):
                        if isinstance(item, protocol.Output):
                            await self._output(item)
                        elif outcome := await self._marker(running, item):
                            return outcome
        finally:
            # Output that nobody reads would make the engine wait, with the stop and all else.
            await running.detach()
        for item in parser.flush():
            await self._output(item)
        return await self._ended(running)

    async def _output(self, output: protocol.Output) -> None:
        if self.step_runs:
            await self._store(self._masker.feed(output.data, output.source))
        else:
            # Before the first step only the agent speaks, and only of a failure.
            self._heard = (self._heard + output.data)[-_MOST_HEARD:]
        if self._limits.log_limit is not None and output.source > _MOST_OUTPUT * self._limits.log_limit:
            # All of it is in the agent's copy, which would fill the disk.
            most = format_size(_MOST_OUTPUT * self._limits.log_limit)
            self._stopping.request(Outcome("failed", f"{self._speaker} printed over {most}"))

    async def _store(self, masked: Iterable[list[Piece] | Added]) -> None:
        for item in masked:
            if isinstance(item, Added):
                # No later server may go on before the line that adds it: what it is to mask is stored now.
                await self._writer.check()
                await self._masks.add(item.values)
            elif len(item) == 1:
                await self._writer.append(*item[0])
            elif item:
                await self._append(item)
            await self._others_turn()
        await self._others_turn()

    async def _others_turn(self) -> None:
        # To find secrets takes time where much looks like them, also in many small pieces that wait.
        if time.monotonic() - self._turn_since > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn_since = time.monotonic()

    async def _append(self, pieces: list[Piece]) -> None:
        data = b"".join(piece.data for piece in pieces)
        if self._writer.has_room(len(data)):
            await self._writer.append(data, pieces[-1].source)
        else:
            for piece in pieces:
                await self._writer.append(*piece)

    async def end(self) -> None:
        """Stores what was held back of the output, when no more comes. Safe to call again."""
        for item in self._masker.flush() if self.step_runs else ():
            if not isinstance(item, Added):
                await self._append(item)

    @property
    def _complaint(self) -> str:
        """What was printed before the first step, as part of a sentence."""
        printed = self._masks.hide(self._heard.decode("utf-8", "replace"))
        return reasons.words(printed)[-_LONGEST_COMPLAINT:]

    @property
    def _speaker(self) -> str:
        """Who prints now, as the subject of a sentence."""
        return self._step_name(self.begun) if self.begun else self._place

    async def _marker(self, running: Running, marker: protocol.Marker) -> Outcome | None:
        self._markers_left -= 1
        if self._markers_left < 0:
            # They are no output, so no other limit ends a step that prints nothing else.
            raise BuildError(
                f"{self._speaker} printed over {_MOST_MARKERS} of the markers by which the agent of the "
                "build speaks to the server; a step must not print what it reads in /rapidflow"
            )
        match marker.words:
            case ("ready", can) if not self.begun:
                await self._deliver(running, can == "unpack")
            case ("unpacked", code) if code != "0" and not self.begun:
                raise BuildError(f"could not unpack the source in the container: {self._complaint}")
            case ("start", "1") if not self.begun:
                await self.begin_step(1, marker.source)
                await self._advanced(True)
            case ("exit", _, _, *term) if self.step_runs and (numbers := marker.numbers(1, 3)):
                number, code = numbers
                if number == self.begun and code <= _HIGHEST_CODE:
                    return await self._end_step(running, code, marker.source, bool(term))
            case ("sync", _, _, _) if numbers := marker.numbers(1):
                await self._synchronize(running, *numbers[1:])
            case _:
                pass
        return None

    @property
    def begun(self) -> int:
        """The number of the last step that has begun; 0 before the first."""
        return len(self._writer.log.layout.spans)

    @property
    def step_runs(self) -> bool:
        """Whether a step has begun and not ended."""
        return self._writer.log.layout.running is not None

    async def _deliver(self, running: Running, unpacks: bool) -> None:
        archive, self._archive = self._archive, None
        if archive is None:
            return
        try:
            await running.deliver(archive, unpacks)
        except EngineUnavailable as error:
            raise StartOver(str(error)) from error
        await running.send(protocol.run_command(1))
        await self._advanced(False)

    async def begin_step(self, number: int, source: int) -> None:
        """Notes that a step runs, whose output begins at byte `source` of the agent's."""
        step = self._steps[number - 1]
        self._note_begin()
        await self._writer.begin_step(step.id, number, step.type, source)
        await jobs.begin_step(step.id, now_ms())

    async def _end_step(self, running: Running, code: int, source: int, terminated: bool) -> Outcome | None:
        number, step = self.begun, self._steps[self.begun - 1]
        metrics.STEP_SECONDS.labels(self._step_status(code)).observe(time.monotonic() - self._step_since)
        goes_on = (
            code == 0 and number < len(self._steps) and not terminated and self._stopping.outcome is None
        )
        if goes_on:
            # First of all, so that the next step starts while this one's end is written down.
            await running.send(protocol.run_command(number + 1))
        await self._store(self._masker.flush())
        await self._writer.end_step(code, source)
        if not goes_on:
            await self._store_end(step.id, code, now_ms(), self.silence.longest)
            if terminated and self._stopping.outcome is None:
                return Outcome("failed", f"the engine stopped the build in {self._step_name(number)}")
            if code == _KILLED and not terminated and (await running.exit()).out_of_memory:
                return Outcome("failed", reasons.out_of_memory(self._step_name(number), self._limits))
            return self.after_step(number, code)
        # What is printed between two steps belongs to the next one.
        following = self._steps[number]
        longest_silence = self.silence.longest
        self._note_begin()
        await self._writer.begin_step(following.id, number + 1, following.type, source)
        await self._store_end(step.id, code, now_ms(), longest_silence)
        await jobs.begin_step(following.id, now_ms())
        return None

    def _note_begin(self) -> None:
        self._step_since = time.monotonic()
        self.silence.begin()

    def after_step(self, number: int, code: int) -> Outcome | None:
        """The build's outcome when the last step that ran was `number`; None if there are more to run."""
        if code != 0:
            return Outcome("failed", f"{self._step_name(number)} exited with {code}")
        return Outcome("success") if number == len(self._steps) else None

    async def _synchronize(self, running: Running, current: int, last: int) -> None:
        """After the output was taken up anew: compares what the agent says with what the log says."""
        if last == 0:
            raise StartOver("the connection broke before the first step")
        if current:
            return
        if self.step_runs and last >= self.begun:
            raise BuildError(
                "the end of a step is missing in the container's copy of the output; its disk was full"
            )
        # The command to go on may never have reached the agent.
        number = self.begun if self.step_runs else self.begun + 1
        if number <= len(self._steps) and self._stopping.outcome is None:
            await running.send(protocol.run_command(number))

    async def _ended(self, running: Running) -> Outcome:
        """The agent ended without saying so."""
        step = self._step_name(self.begun) if self.begun else None
        how = await running.exit()
        return Outcome("failed", reasons.ended(self._place, step, how, self._complaint, self._limits))

    def _step_name(self, number: int) -> str:
        return f"step {number} ({self._steps[number - 1].type})"

    async def store_step(self, record: Record) -> None:
        """Brings a step's row up to what the log's index says of it."""
        if record.kind is Kind.START:
            # By the time of day, because it was another server that saw it begin.
            self._step_since = time.monotonic() - max(0, now_ms() - record.time) / 1000
            await jobs.begin_step(record.step_id, record.time)
        elif record.kind is Kind.END:
            await self._store_end(record.step_id, record.value, record.time)

    async def _store_end(self, step_id: int, code: int, at: int, silence: float | None = None) -> None:
        longest_silence = None if silence is None else int(silence * 1000)
        await jobs.end_step(step_id, self._step_status(code), code, at, longest_silence)

    def _step_status(self, code: int) -> str:
        stop = self._stopping.outcome
        return stop.status if stop is not None else "failed" if code else "success"

    def _end_silence(self) -> None:
        if self._writer.stuck is not None or not self.step_runs:
            return  # its output waits for our disk, or there is nobody to print anything
        where = self._step_name(self.begun)
        silence = format_duration(self._limits.silence_timeout or 0)
        self._stopping.request(Outcome("failed", f"{where} printed nothing for {silence}"))
