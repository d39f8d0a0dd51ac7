"""Hints: who looks again because of one, and who goes on waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from planstore.services.wakeups import Wakeups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database


@pytest.fixture
async def wakeups(database: Database) -> AsyncIterator[Wakeups]:
    wakeups = Wakeups(database)
    try:
        yield wakeups
    finally:
        await wakeups.close()


async def waits(wakeups: Wakeups, *, since: int) -> asyncio.Task[object]:
    """Somebody who looked for work, found none and is to wait."""
    task = asyncio.create_task(wakeups.wait("shape", since=since, at_most=60))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_who_missed_a_hint_while_looking_looks_again(wakeups: Wakeups) -> None:
    since = wakeups.look("shape")
    wakeups.hint()

    assert (await waits(wakeups, since=since)).done()


async def test_who_missed_a_hint_waits_where_another_one_looks_because_of_it(
    wakeups: Wakeups,
) -> None:
    since = wakeups.look("shape")
    wakeups.hint()
    wakeups.look("shape")

    waiter = await waits(wakeups, since=since)

    assert not waiter.done()
    wakeups.wake_next("shape")
    assert await waiter == ()


async def test_what_others_look_for_is_no_reason_to_wait(wakeups: Wakeups) -> None:
    since = wakeups.look("shape")
    wakeups.hint()
    wakeups.look("another shape")

    assert (await waits(wakeups, since=since)).done()


async def test_who_leaves_when_woken_has_the_next_one_look(wakeups: Wakeups) -> None:
    since = wakeups.look("shape")
    first, second = await waits(wakeups, since=since), await waits(wakeups, since=since)
    wakeups.wake_next("shape")

    first.cancel()

    assert await second == ()


async def test_nobody_waits_once_it_is_stopped(wakeups: Wakeups) -> None:
    since = wakeups.look("shape")
    wakeups.stop()
    wakeups.look("shape")

    assert (await waits(wakeups, since=since)).done()
