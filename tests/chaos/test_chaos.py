"""Eight workers on two servers carry real graphs out while everything is killed at random.

`make chaos` runs it for minutes: `CHAOS_SECONDS` says for how many seconds there are kills, and
`CHAOS_SEED` gives the randomness of an earlier run again, though not its timing.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from planstore.db import Database
from planstore.embedded import EmbeddedPostgres
from planstore.embedded.waiting import wait_until
from tests.chaos import journal
from tests.chaos.feeder import Feeder, programme
from tests.chaos.killer import Killer
from tests.chaos.stage import Stage
from tests.chaos.verdict import assert_nothing_went_wrong

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from uuid import UUID

    from tests.graphs import Graph

SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "6"))
SEED: Final = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().getrandbits(32))

PATIENCE: Final = 60 + SECONDS
"""Seconds after which what was begun should have come to its end."""

TASKS_A_SECOND: Final = 20
"""What can be carried out at least, of the graphs that are chosen."""


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory that PostgreSQL's account may enter; it stays where the test has failed."""
    directory = Path(tempfile.mkdtemp(prefix="planstore-chaos-", dir="/tmp"))
    directory.chmod(0o755)
    failed_before = request.session.testsfailed
    yield directory
    if request.session.testsfailed == failed_before:
        shutil.rmtree(directory)


def test_nothing_is_lost_or_done_twice_whoever_is_killed(place: Path) -> None:
    _say(f"{SECONDS:g} seconds of chaos with CHAOS_SEED={SEED} in {place}")
    chance = random.Random(SEED)
    graphs = programme(random.Random(f"{SEED} programme"), largest=round(TASKS_A_SECOND * SECONDS))
    with (
        Stage.set_up(place, seed=SEED) as stage,
        Feeder(stage.urls, random.Random(f"{SEED} feeder"), graphs) as feeder,
    ):
        assert wait_until(lambda: bool(feeder.plans), seconds=PATIENCE)

        killer = Killer(stage, chance)
        over = time.monotonic() + SECONDS
        while time.monotonic() < over:
            time.sleep(chance.uniform(0.1, 1.5))
            killer.strike()
            stage.raise_the_fallen()
        _say(f"killed: {dict(killer.kills)}")

        feeder.stop()
        assert wait_until(lambda: _is_through(stage, feeder), seconds=PATIENCE)
        stage.kill(*stage.workers)
        tally = asyncio.run(_verdict(stage, feeder.plans))
        _say(f"it went: {dict(sorted(tally.items()))}")
        assert not stage.deserters
        for name, log in stage.logs().items():
            assert "Traceback" not in log, f"{name}: {log}"


def _is_through(stage: Stage, feeder: Feeder) -> bool:
    stage.raise_the_fallen()
    return feeder.is_through()


async def _verdict(stage: Stage, plans: dict[UUID, Graph]) -> Counter[str]:
    with EmbeddedPostgres.start(stage.data_dir) as postgres:
        async with Database.open(postgres.url()) as database:
            return await assert_nothing_went_wrong(
                database, plans, list(journal.read(stage.journals))
            )


def _say(sentence: str) -> None:
    print(sentence)  # noqa: T201 - shown by pytest where the test fails, and by `make chaos`
