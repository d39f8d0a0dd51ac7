"""What is written to the disk by a later commit is acknowledged no sooner."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from planstore.embedded import EmbeddedPostgres
from planstore.errors import Unavailable
from planstore.models import Completion, TaskStatus
from planstore.models.claim import ClaimRequest
from planstore.services.plan_store import PlanStore
from tests.arranging import plan_of, task_of

if TYPE_CHECKING:
    from planstore.db import Loan
    from planstore.sql.connection import Connection


def _start_again(postgres: EmbeddedPostgres) -> None:
    while not postgres.ensure_running():
        time.sleep(0.02)  # until the kill has come through


async def _processes(conn: Connection) -> list[int]:
    """Return the processes of the server, the postmaster first."""
    directory = await conn.fetchval("select current_setting('data_directory')")
    postmaster = (Path(directory) / "postmaster.pid").read_text().split()[0]
    rows = await conn.fetch("select pid from pg_stat_activity")
    return [int(postmaster), *(row["pid"] for row in rows)]


async def test_a_run_whose_end_a_crash_undid_is_not_acknowledged(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres.start(place / "data") as postgres:
        async with PlanStore.open(postgres.url()) as store:
            plan = await plan_of(store, plan_type="dag")
            for _ in range(2):
                await task_of(store, plan)
            (packet,) = await store.claim_tasks(ClaimRequest(worker_id="w"))
            claims: Any = vars(store)["_claims"]
            claim_on = claims._claim_on

            async def crash_before(loan: Loan, request: ClaimRequest, **kwargs: Any) -> Any:
                for pid in await _processes(await loan.connection()):
                    os.kill(pid, signal.SIGKILL)
                await asyncio.to_thread(_start_again, postgres)
                return await claim_on(loan, request, **kwargs)

            monkeypatch.setattr(claims, "_claim_on", crash_before)
            report = Completion(
                fencing_token=packet.fencing_token,
                claim_next=ClaimRequest(worker_id="w", limit=2),  # so there are two commits
            )
            with pytest.raises(Unavailable):
                await store.complete_task(packet.id, report)
            monkeypatch.undo()

            # Whether the end was written before the crash or not: the worker asks again.
            again = await store.complete_task(
                packet.id, Completion(fencing_token=packet.fencing_token)
            )
            assert again.status == TaskStatus.COMPLETED
