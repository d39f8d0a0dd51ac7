"""What is tested here is tested on every PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from planstore.services import claims, expiry

if TYPE_CHECKING:
    from tests.conftest import Postgres

_NEVER: Final = 3_600.0


@pytest.fixture(scope="session")
def postgres(every_postgres: Postgres) -> Postgres:
    return every_postgres


@pytest.fixture
def nobody_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave it to others to wake a claim that waits."""
    monkeypatch.setattr(claims, "_LOOK_EVERY", _NEVER)
    monkeypatch.setattr(expiry, "_EVERY", _NEVER)
