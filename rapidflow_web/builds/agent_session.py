"""The session with the agent of one build: what it says becomes the log and the progress of the steps.

Its markers begin and end steps in the log and, after it, in the database; what to run next is told to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing

from rapidflow_web import metrics
from rapidflow_web.builds import reasons
from rapidflow_web.builds.masks import Masks
from rapidflow_web.builds.silence import Silence
from rapidflow_web.builds.step_progress import StepProgress, status_of
from rapidflow_web.builds.stopping import Outcome, Stopping
from rapidflow_web.builds.timeline import Timeline
from rapidflow_web.db import jobs
from rapidflow_web.errors import BuildError, EngineUnavailable, one_line
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import RunningBuild
from rapidflow_web.logs.masking.masker import Added, Masker, Piece
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.limits import Limits, format_size
from rapidflow_web.progress import about

_HIGHEST_CODE = 255
_LONGEST_COMPLAINT = 1000
_MOST_HEARD = 64 * 1024
"""Bytes that are kept of what is printed before the first step: secrets in them must not be cut."""
_TURN_SECONDS = 0.005
_BEGIN_SECONDS = 5.0
"""How long the first step may take to begin where the connection broke after the agent was told to."""
_RESUME_SECONDS = 5.0
"""What post steps that are taken up again have at least, to say that they ended in time, unheard."""
_ANSWER_SECONDS = 5.0
"""In which the machine of a step that seems silent has to answer."""
_MOST_OUTPUT = 10
"""How often the limit of its log a build may print before it is stopped."""
_MOST_MARKERS = 1000
"""Markers beyond two for each step. A few come whenever the connection to the container is made anew."""


class StartOver(BuildError):
    """No step has run yet, so the build may as well be prepared anew."""


class AgentSession:
    """Speaks with the agent of one build, in whatever container it is. `place` says what that is.

    `post_timeout` is in seconds, of the steps that are `post` together.
    """

    def __init__(
        self,
        job_id: int,
        nonce: str,
        limits: Limits,
        post_timeout: int,
        place: str,
        progress: StepProgress,
        timeline: Timeline,
        writer: LogWriter,
        masks: Masks,
        stopping: Stopping,
    ) -> None:
        self.silence = Silence(limits.silence_timeout, self._end_silence)
        self._job_id = job_id
        self._nonce = nonce
        self._limits = limits
        self._post_timeout = post_timeout
        self._post_timer: asyncio.TimerHandle | None = None
        self._place = place
        self._progress = progress
        self._timeline = timeline
        self._writer = writer
        self._masks = masks
        self._masker = Masker(())
        self._stopping = stopping
        self._running: RunningBuild | None = None
        self._judging: asyncio.Task[None] | None = None
        """Finds out whether a step is silent, or nobody hears it."""
        self._archive: Archive | None = None
        """What the agent is still to be brought. An earlier server brought all of it, or no step has run."""
        self._has_ended = self._unpacked = False
        self._beginning = asyncio.Timeout(None)
        """Until when the first step must have begun, after the connection broke."""
        self._heard = b""
        """What was printed before the first step."""
        self._markers_left = 2 * progress.count + _MOST_MARKERS
        self._turn_since = 0.0
        """When others last had their turn."""

    async def follow(
        self, running: RunningBuild, archive: Archive | None = None, *, has_ended: bool = False
    ) -> Outcome:
        """Listens until the build ends, and says how. `archive` is what the agent is to be brought first.

        Of an agent that `has_ended` all is read that it said, and nothing is told to it.

        Raises `StartOver` where no step has run and the connection broke, `BuildError`.
        """
        self._archive, self._heard, self._has_ended = archive, b"", has_ended
        self._unpacked = False
        self._running = running
        self._masker = Masker(self._masks.values, await self._writer.at_line_start())
        # An earlier server may have told it to begin, and have been killed before it heard that it did.
        self._progress.told = archive is None
        self._stopping.concerns(running)
        self._limit_post()
        parser = protocol.MarkerParser(self._nonce, self._writer.source)
        try:
            async with (
                asyncio.Timeout(None) as self._beginning,
                self.silence,
                aclosing(running.output(self._writer.source)) as output,
            ):
                async for chunk in output:
                    if not chunk:
                        self.silence.restart()
                        continue
                    self.silence.broken()
                    for item in parser.feed(chunk):
                        if isinstance(item, protocol.Output):
                            await self._output(item)
                        elif outcome := await self._marker(running, item):
                            return outcome
        except TimeoutError:
            if self._beginning.expired():
                raise StartOver("the connection broke before the first step") from None
            raise
        finally:
            if self._post_timer is not None:
                self._post_timer.cancel()
                self._post_timer = None
            if self._judging is not None:
                self._judging.cancel()
                await asyncio.wait({self._judging})
            # Output that nobody reads would make the engine wait, with the stop and all else.
            await running.detach()
        for item in parser.flush():
            await self._output(item)
        return await self._ended(running)

    async def _output(self, output: protocol.Output) -> None:
        if self._progress.runs:
            await self._store(self._masker.feed(output.data, output.source))
        else:
            # Before the first step only the agent speaks, and only of a failure.
            self._heard = (self._heard + output.data)[-_MOST_HEARD:]
        if (limit := self._limits.log_limit) is not None and (
            output.source - self._progress.post_source > _MOST_OUTPUT * limit
        ):
            # All of it is in the agent's copy, which would fill the disk.
            self._stopping.fail(f"{self._speaker} printed over {format_size(_MOST_OUTPUT * limit)}")

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
        for item in self._masker.flush() if self._progress.runs else ():
            if not isinstance(item, Added):
                await self._append(item)

    @property
    def _complaint(self) -> str:
        """What was printed before the first step, as part of a sentence."""
        printed = self._masks.hide(self._heard.decode("utf-8", "replace"))
        return one_line(printed)[-_LONGEST_COMPLAINT:]

    @property
    def _speaker(self) -> str:
        """Who prints now, as the subject of a sentence."""
        return self._progress.current or self._place

    async def _marker(self, running: RunningBuild, marker: protocol.Marker) -> Outcome | None:
        self._markers_left -= 1
        if self._markers_left < 0:
            # They are no output, so no other limit ends a step that prints nothing else.
            raise BuildError(
                f"{self._speaker} printed over {_MOST_MARKERS} of the markers by which the agent of the "
                "build speaks to the server; a step must not print what it reads in /rapidflow"
            )
        match marker.words:
            case ("ready", can) if not self._progress.number:
                await self._deliver(running, can == "unpack")
            case ("unpacked", code) if not self._progress.number:
                if code != "0":
                    raise BuildError(f"could not unpack the source in the container: {self._complaint}")
                self._unpacked = True
            case ("start", _) if not self._progress.number and marker.numbers(1) == [self._progress.first]:
                self._beginning.reschedule(None)
                self.silence.begin()
                self._timeline.finish()
                # Output waits for what is stored here.
                await asyncio.gather(
                    self._progress.begin(self._progress.first, marker.source), self._store_timeline()
                )
                self._limit_post()
            case ("exit", _, _) if not self._progress.number:
                return self._stopping.outcome  # the stop was there before the first step
            case ("exit", _, _, *term) if self._progress.runs and (numbers := marker.numbers(1, 3)):
                number, code = numbers
                if number == self._progress.number and code <= _HIGHEST_CODE:
                    return await self._end_step(running, code, marker.source, bool(term))
            case ("sync", _, _, _) if numbers := marker.numbers(1):
                await self._synchronize(running, *numbers[1:])
            case _:
                pass
        return None

    async def _deliver(self, running: RunningBuild, unpacks: bool) -> None:
        archive, self._archive = self._archive, None
        if archive is None:
            return
        if (phase := self._timeline.open("container")) is not None:
            archive.progress = about("putting the source into it", phase.note)
        try:
            self._unpacked |= await running.deliver(archive, unpacks)
        except EngineUnavailable as error:
            raise StartOver(str(error)) from error
        if phase is not None:
            phase.detail = None
        if self._stopping.outcome is None:
            await running.send(self._progress.command(self._progress.first, None))
        archive.forget_secrets()
        await self._store_timeline()

    async def _store_timeline(self) -> None:
        await jobs.update(self._job_id, timeline=self._timeline.stored())

    async def _end_step(
        self, running: RunningBuild, code: int, source: int, terminated: bool
    ) -> Outcome | None:
        progress, stop, in_post = self._progress, self._stopping.outcome, self._progress.in_post
        metrics.STEP_SECONDS.labels(status_of(code, self._ended_by(in_post))).observe(progress.seconds)
        following = None
        if not terminated and self._stopping.post_outcome is None:
            following = progress.next_after(code, stop is not None)
        if following is not None:
            # First of all, so that the next step starts while this one's end is written down.
            await running.send(progress.command(following, stop, code))
        self._stopping.step_ended()
        await self._store(self._masker.flush())
        where, longest_silence = self._speaker, self.silence.longest
        self.silence.begin()
        await progress.end(code, source, self._ended_by(in_post), longest_silence, following)
        if following is not None:
            self._limit_post()
            return None
        if terminated and self._stopping.outcome is None:
            return progress.failed(f"the engine stopped the build in {where}", "engine_lost")
        if (killed := progress.killed) and not terminated and (await running.exit()).out_of_memory:
            return Outcome("failed", reasons.out_of_memory(killed, self._limits))
        return progress.outcome()

    def _ended_by(self, in_post: bool) -> Outcome | None:
        """The stop that a step, which is `post` or not, ended by; None for one that ended by itself."""
        return self._stopping.post_outcome if in_post else self._stopping.outcome

    def _limit_post(self) -> None:
        """Sees to it that steps that are `post`, if they run, end in time."""
        if self._progress.in_post and self._post_timer is None:
            # They may have ended in time while no server listened.
            left = max(
                self._post_timeout - self._progress.post_seconds, min(_RESUME_SECONDS, self._post_timeout)
            )
            self._post_timer = asyncio.get_running_loop().call_later(left, self._end_post)

    def _end_post(self) -> None:
        timeout = format_duration(self._post_timeout)
        self._stopping.end_post(Outcome("failed", f"the post steps timed out after {timeout}", "timeout"))

    async def _synchronize(self, running: RunningBuild, current: int, last: int) -> None:
        """After the output was taken up anew: compares what the agent says with what the log says."""
        if self._has_ended:
            return
        if last == 0:
            await self._begin_late(running)
            return
        if current:
            return
        progress = self._progress
        if progress.runs and last >= progress.number:
            raise BuildError(
                "the end of a step is missing in the container's copy of the output; its disk was full"
            )
        # The command to go on may never have reached the agent.
        number = progress.number if progress.runs else progress.next
        stop = self._stopping.outcome
        if number is not None and (stop is None or progress.post_follows or progress.in_post):
            await running.send(progress.command(number, stop))

    async def _begin_late(self, running: RunningBuild) -> None:
        """Waits for the first step. Raises `StartOver` where it can't begin.

        The agent may have been told already, and be about to begin: to end it now could break off a step.
        """
        if not self._progress.told or self._stopping.outcome is not None:
            raise StartOver("the connection broke before the first step")
        if self._unpacked:
            # The command may never have reached the agent; twice it does no harm.
            await running.send(self._progress.command(self._progress.first, None))
        self._beginning.reschedule(asyncio.get_running_loop().time() + _BEGIN_SECONDS)

    async def _ended(self, running: RunningBuild) -> Outcome:
        """The agent ended without saying so."""
        how = await running.exit()
        reason = reasons.ended(self._place, self._progress.current, how, self._complaint, self._limits)
        return self._progress.failed(reason, None if how.out_of_memory else "engine_lost")

    def _end_silence(self) -> None:
        if self._writer.stuck is not None or not self._progress.runs:
            return  # its output waits for our disk, or there is nobody to print anything
        if self._running is not None and (self._judging is None or self._judging.done()):
            self._judging = asyncio.create_task(self._judge_silence(self._running))

    async def _judge_silence(self, running: RunningBuild) -> None:
        """Fails a silent step, unless what it prints can't arrive now: then its silence begins anew."""
        since = self.silence.since
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await running.processes()
        except (EngineUnavailable, TimeoutError):
            return
        except (BuildError, ValueError):
            pass  # the engine answers, whatever it says
        if not running.is_heard or self.silence.since != since:
            return
        silence = format_duration(self._limits.silence_timeout or 0)
        self._stopping.fail(f"{self._speaker} printed nothing for {silence}", "timeout")
