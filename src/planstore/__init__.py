"""PlanStore: the execution plans of AI agents as data, on one ordinary PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore as PlanStore

__version__ = "0.1.0"

__all__ = ["PlanStore", "__version__"]


def __getattr__(name: str) -> object:
    # The command line imports this package for its version alone, and has to answer at once.
    if name == "PlanStore":
        from planstore.services.plan_store import PlanStore  # noqa: PLC0415 - see above

        return PlanStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
