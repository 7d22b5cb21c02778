"""A lead job ends after the cancels of its parts: each still has the end of a log to write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from rapidflow_web.builds import definitions
from rapidflow_web.builds.beginning import Beginning, Cause
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.lead import Lead
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.db import claims, jobs, parts, pipelines
from rapidflow_web.db.database import now_ms, sqlite_url
from rapidflow_web.logs.log import LogStore
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import from_environment
from tests.support.databases import opened

_CONFIG = "name: some\njobs:\n  a: {steps: ['true']}\n  b: {steps: ['true']}\n"
_SLOW = 0.3


class _Vault:
    """Has no secrets."""

    async def of_build(self, pipeline_id: int, names: Sequence[str], granted: Any) -> None:
        """All are there."""

    async def forget_masks(self, job_id: int) -> None:
        """There are none."""


async def test_a_lead_ends_after_the_cancels_of_its_parts(tmp_path: Path) -> None:
    vault = cast(Vault, _Vault())
    logs = LogStore(tmp_path / "logs")
    ended: list[int] = []
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        pipeline = await pipelines.create("some", _CONFIG)
        beginning = Beginning(from_environment({"RAPIDFLOW_DATA": str(tmp_path / "data")}))
        job = await beginning.start(pipeline.id, Cause("api"))
        assert await claims.begin(job.id, now_ms())
        job = await jobs.with_definition(job.id)

        async def cancel(job_id: int) -> None:
            assert await jobs.cancel_pending(job_id)
            lead.wake()
            await asyncio.sleep(_SLOW)
            ended.append(job_id)

        lead = Lead(
            cast(Tools, SimpleNamespace(vault=vault)),
            logs,
            Ending(vault, logs, tmp_path / "strays"),
            job,
            await definitions.stored(job.definition),
            cancel,
        )
        running = asyncio.create_task(lead.run())
        while len(attempts := await parts.attempts(job.id)) < 2:
            pass
        await jobs.request_cancel(job.id)
        lead.cancel()
        await running
        assert sorted(ended) == sorted(attempts)
        assert (await jobs.existing(job.id)).status == "cancelled"
