"""What is tested here is tested on every PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Postgres


@pytest.fixture(scope="session")
def postgres(every_postgres: Postgres) -> Postgres:
    return every_postgres
