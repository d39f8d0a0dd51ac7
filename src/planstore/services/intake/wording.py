"""What the readers of foreign formats have in common: titles, statuses, what has no place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from planstore.models.fields import shown
from planstore.models.task import StatusReason, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from planstore.models.faults_found import Faults
    from planstore.services.intake.parsing import Path


def as_object(value: Any, at: str, faults: Faults) -> dict[str, Any] | None:
    """Return an object; what is none is a fault."""
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    faults.add(at, f"it must be an object; it is {shown(value)}")
    return None


def as_list(value: Any, at: str, faults: Faults) -> list[Any]:
    """Return a list, an empty one for null; what is neither is a fault."""
    if value is None:
        return []
    if isinstance(value, list):
        return cast("list[Any]", value)
    faults.add(at, f"it must be a list; it is {shown(value)}")
    return []


def as_label(value: Any, at: str, faults: Faults) -> str | None:
    """Return what something is called: a text, or a whole number as one; else it is a fault."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    faults.add(at, f"it must be a text or a whole number; it is {shown(value)}")
    return None


def named(label: str) -> dict[str, Any]:
    """Return the field for a name, if it can be one: names never read as UUIDs."""
    try:
        UUID(label)
    except ValueError:
        return {"name": label}
    return {}


def worded(title: Any, text: Any) -> Any:
    """Return a description made of a title and a text, as far as there are."""
    if not isinstance(title, str) or not title.strip():
        return text
    if not isinstance(text, str) or not text.strip() or text.strip() == title.strip():
        return title
    return text if text.startswith(title) else f"{title}\n\n{text}"


def rest_of(value: Mapping[str, Any], taken: Iterable[str]) -> dict[str, Any]:
    """Return what has no place of its own, to be kept as metadata."""
    known = {*taken}
    return {key: each for key, each in value.items() if key not in known and each is not None}


def keep(kept: dict[str, Any], path: Path, value: Any) -> None:
    """Keep what a file says beside its tasks, under the keys that lead to it there."""
    *way, last = map(str, path)
    inner = kept
    for part in way:
        following = inner.get(part)
        if not isinstance(following, dict):  # a file may name a key twice
            following = inner[part] = {}
        inner = cast("dict[str, Any]", following)
    inner[last] = value


_STANDS: Final[Mapping[str, dict[str, Any]]] = {
    "done": {"status": TaskStatus.COMPLETED},
    "completed": {"status": TaskStatus.COMPLETED},
    "cancelled": {"status": TaskStatus.SKIPPED},
    "deferred": {"status": TaskStatus.BLOCKED, "status_reason": StatusReason.HELD},
    "blocked": {"status": TaskStatus.BLOCKED, "status_reason": StatusReason.HELD},
    "pending": {},
    "in-progress": {},
    "review": {},
}
"""What the words of task-master mean here. Who was at work on a task holds no claim on it here, so
it is to be handed out again."""


def standing(word: Any, at: str, faults: Faults) -> dict[str, Any]:
    """Return the fields that say where a task stands; an unknown word is a fault."""
    if word is None:
        return {}
    if isinstance(word, str) and (known := _STANDS.get(word)) is not None:
        return known
    faults.add(at, f"it is unknown; known are: {', '.join(_STANDS)}; it is {shown(word)}")
    return {}
