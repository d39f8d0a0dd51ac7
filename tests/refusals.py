"""What is refused changes nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from planstore.errors import PlanStoreError
from tests.history import all_events, all_rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from planstore.db import Database

E = TypeVar("E", bound=PlanStoreError)


@asynccontextmanager
async def refused(database: Database, error: type[E]) -> AsyncGenerator[pytest.ExceptionInfo[E]]:
    """Assert that what is within raises ``error``, and leaves every row and the log as it was."""
    before = await all_rows(database), await all_events(database)
    with pytest.raises(error) as info:
        yield info
    assert type(info.value) is error
    assert (await all_rows(database), await all_events(database)) == before
