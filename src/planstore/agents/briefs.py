"""What is told of plans and tasks: what matters, without what is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from planstore.models.fields import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planstore.models import Plan, Task
    from planstore.models.claim import Attempt, EndedTask, WorkPacket
    from planstore.models.insight import Progress
    from planstore.models.revision import RevisionAnswer, TaskMention
    from planstore.models.task import Dependency

Brief = dict[str, Any]

_PLAN: Final = (
    *("id", "status", "plan_type", "revision", "paused_at", "goal_id", "agent_id", "template"),
    *("labels", "metadata", "max_parallel_tasks", "created_at", "updated_at"),
)
_TASK: Final = (
    *("id", "name", "status", "status_reason", "task_type", "sequence_order", "priority"),
    *("attempt", "worker_id", "progress", "progress_note", "not_before", "labels"),
)
_WHOLE_TASK: Final = (
    *_TASK,
    *("plan_id", "description", "agent_id", "input_data", "output_data", "error", "metadata"),
    *("needs_review", "side_effects", "timeout_seconds", "estimated_duration"),
    *("created_at", "started_at", "completed_at"),
)


def plan(item: Plan, progress: Progress | None = None) -> Brief:
    """Tell of a plan, and how far it is."""
    told = _told(item, _PLAN)
    if item.steps:
        told["steps"] = len(item.steps)
    if progress is not None:
        counts = progress.counts.model_dump()
        told["tasks"] = {status: count for status, count in counts.items() if count}
        told["percent"] = progress.percent
        told["ready"] = progress.ready
    return told


def task(item: Task) -> Brief:
    """Tell of a task in a line."""
    told = _told(item, _TASK)
    told["description"] = shortened(item.description)
    if item.error is not None:
        told["error"] = shortened(str(item.error))
    if item.output_data is not None:
        told["has_output"] = True
    return told


def whole_task(item: Task, needed: Iterable[Dependency], attempts: Iterable[Attempt]) -> Brief:
    """Tell of a task all that there is."""
    told = _told(item, _WHOLE_TASK)
    if depends_on := [_told(each, ("task_id", "name", "status", "when")) for each in needed]:
        told["depends_on"] = depends_on
    if failed := [_told(each, ("attempt", "outcome", "worker_id", "error")) for each in attempts]:
        told["attempts"] = failed
    return told


def packet(item: WorkPacket) -> Brief:
    """Tell a worker what it is to do."""
    told = _told(
        item,
        (
            *("id", "plan_id", "name", "task_type", "description", "fencing_token"),
            *("lease_expires_at", "attempt", "resolved_input", "progress_note", "plan_revision"),
        ),
    )
    told["input"] = told.pop("resolved_input", {})
    if item.dependencies:
        told["needed"] = [
            _told(each, ("task_id", "name", "status", "output_data", "output_link"))
            for each in item.dependencies
        ]
    if item.previous_attempts:
        told["previous_attempts"] = [
            _told(each, ("attempt", "outcome", "error")) for each in item.previous_attempts
        ]
    return told


def ended(item: EndedTask) -> Brief:
    """Tell what came of a run's end."""
    told = _told(item, ("id", "name", "status", "attempt", "not_before"))
    if item.unblocked:
        told["unblocked"] = len(item.unblocked)
    if item.tasks:
        told["next"] = [packet(each) for each in item.tasks]
    return told


def revision(answer: RevisionAnswer) -> Brief:
    """Tell what came of a revision."""
    told: Brief = {"revision": answer.revision, "applied": answer.applied}
    for what in ("added", "changed", "removed", "restarted", "unblocked", "stranded"):
        if tasks := getattr(answer, what):
            told[what] = [_mentioned(each) for each in tasks]
    return told


def _mentioned(mention: TaskMention) -> str:
    return mention.name or str(mention.id)


def without_empty(value: Any) -> Any:
    """Return a model's content without what is empty, at all depths."""
    match value:
        case dict():
            content = cast("dict[str, Any]", value)
            members = {name: without_empty(each) for name, each in content.items()}
            return {name: each for name, each in members.items() if not _is_empty(each)}
        case list():
            return [without_empty(each) for each in cast("list[Any]", value)]
        case _:
            return value


def _told(item: Any, names: Iterable[str]) -> Brief:
    content = item.model_dump(mode="json", include=set(names))
    return {name: content[name] for name in names if not _is_empty(content.get(name))}


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {}) or value is False
