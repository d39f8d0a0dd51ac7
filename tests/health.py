"""Whether a database is as it should be, by all that is known to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.services.doctor import examine
from tests.history import (
    assert_counts_hold,
    assert_history_holds,
    assert_nothing_is_left_to_derive,
)

if TYPE_CHECKING:
    from planstore.db import Database


async def assert_healthy(database: Database) -> None:
    """Assert that counts, events and what follows from them hold, and that the doctor agrees."""
    await assert_counts_hold(database)
    await assert_history_holds(database)
    await assert_nothing_is_left_to_derive(database)
    assert (await examine(database)).findings == ()
