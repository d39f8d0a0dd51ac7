"""What an update changes, and what it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import MISSING

from planstore.services import refusals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from planstore.models.plan import Plan, PlanUpdate
    from planstore.models.task import Task, TaskUpdate
    from planstore.models.webhook import Webhook, WebhookUpdate

    Update = PlanUpdate | TaskUpdate | WebhookUpdate


async def basis_of(
    update: Update,
    kept: frozenset[str],
    read: Callable[[], Awaitable[Plan | Task | Webhook]],
) -> int | None:
    """Return the version that an update was made from, where it names fields that are kept.

    An object that is sent back as it was read is meant for what it was read of.

    Raises:
        InvalidInput: a kept field has another value than the stored one.
    """
    named = _named(update) & kept
    if not named:
        return None
    current = await read()
    refusals.of_kept_fields(update, current, named)
    return current.version


def _named(update: Update) -> set[str]:
    return {name for name in update.model_fields_set if getattr(update, name) is not MISSING}


def changes_of(update: Update, kept: frozenset[str]) -> dict[str, Any]:
    return {name: getattr(update, name) for name in _named(update) - kept}
