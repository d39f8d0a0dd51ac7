"""Plans that are written out, and are the same when they come in again."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planstore.errors import InvalidInput, NotFound
from planstore.models import (
    ExportFormat,
    ImportFormat,
    PlanCreate,
    PlanStatus,
    TaskFilter,
    TaskUpdate,
)
from planstore.models import TaskStatus as S
from planstore.models.fields import DEFAULT_LIMITS
from planstore.models.graph import to_dot, to_mermaid
from planstore.services.intake import reading
from tests.services.test_importing import assert_all_holds

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore

HOSTILE: Final = '<b>*x*</b>\n# y\n`]()[a](javascript:1) "--> |\\ &lt; www.a.b'


async def exported(store: PlanStore, plan_id: UUID, kind: str = "json") -> str:
    with await store.export_plan(plan_id, kind) as file:
        return file.read().decode()


async def again(store: PlanStore, text: str) -> UUID:
    made = await store.import_plan(text)
    assert made.plan is not None
    return made.plan.id


async def a_plan(store: PlanStore, **fields: Any) -> UUID:
    """Make a plan with a task in each standing, some of them without a name."""
    first, second, third = uuid4(), uuid4(), uuid4()
    plan = await store.create_plan(
        PlanCreate.model_validate(
            {
                "plan_type": "dag",
                "metadata": {"n": 10**30, "x": 0.1, "é": None},
                "labels": ["b", "a"],
                "retry_policy": {"max_retries": 2},
                "on_failure": "skip",
                "tasks": [
                    {"id": first, "description": "first", "input_data": None},
                    {"id": second, "description": HOSTILE, "depends_on": [first]},
                    {
                        "id": third,
                        "name": "third",
                        "description": "third",
                        "labels": ["z"],
                        "estimated_duration": "5m",
                        "not_before": "2020-01-01T00:00:00Z",
                        "depends_on": [
                            {"task": second, "when": "ended"},
                            {"task": first, "type": "data"},
                        ],
                    },
                    {"name": "#held", "description": "held"},
                    {"name": "runs", "description": "runs"},
                    {"name": "fails", "description": "fails"},
                    {"name": "dead", "description": "dead", "depends_on": ["fails"]},
                    {"name": "skipped", "description": "skipped", "sequence_order": 7},
                ],
                **fields,
            }
        )
    )
    for task in await store.list_tasks(TaskFilter(plan_id=[plan.id])):
        update = {
            "first": {"status": S.COMPLETED, "output_data": {"a": [1, None]}},
            "held": {"status": S.BLOCKED},
            "runs": {"status": S.RUNNING},
            "fails": {"status": S.FAILED, "error": {"why": "it did"}},
            "skipped": {"status": S.SKIPPED, "completed_at": "2021-01-01T00:00:00Z"},
        }.get(task.description)
        if update is not None:
            await store.update_task(task.id, TaskUpdate.model_validate(update))
    return plan.id


@pytest.mark.parametrize("verb", ["nothing", "pause_plan", "cancel_plan"])
async def test_what_was_exported_and_imported_is_exported_as_the_same(
    store: PlanStore, database: Database, verb: str
) -> None:
    plan_id = await a_plan(store)
    if verb == "cancel_plan":  # what runs then would be skipped in the copy
        for task in await store.list_tasks(TaskFilter(plan_id=[plan_id], status=[S.RUNNING])):
            await store.update_task(task.id, TaskUpdate(status=S.PENDING))
    if verb != "nothing":
        await getattr(store, verb)(plan_id)
    before = await exported(store, plan_id)

    copy = await again(store, before)

    assert await exported(store, copy) == before
    tasks = {task.name: task for task in await store.list_tasks(TaskFilter(plan_id=[copy]))}
    assert tasks["fails"].error == {"why": "it did"}
    assert tasks["dead"].status_reason == "dependency_dead"
    assert (await store.get_plan(copy)).metadata["n"] == 10**30
    await assert_all_holds(database)


async def test_a_plan_without_tasks_is_the_same_again(store: PlanStore) -> None:
    plan = await store.create_plan(PlanCreate(steps=[{"step": 1}], current_step=3))
    before = await exported(store, plan.id)

    assert await exported(store, await again(store, before)) == before


async def test_a_sequential_plan_is_the_same_again(store: PlanStore, database: Database) -> None:
    plan = await store.create_plan(
        PlanCreate.model_validate(
            {
                "status": "active",
                "max_parallel_tasks": 1,
                "tasks": [{"description": text} for text in "abc"],
            }
        )
    )
    before = await exported(store, plan.id)

    copy = await again(store, before)

    assert await exported(store, copy) == before
    assert (await store.get_plan(copy)).status == PlanStatus.ACTIVE
    await assert_all_holds(database)


async def test_a_sequential_plan_that_would_wait_for_itself_is_refused(store: PlanStore) -> None:
    tasks = [
        {"name": "a", "description": "a", "sequence_order": 1, "depends_on": ["b"]},
        {"name": "b", "description": "b", "sequence_order": 2},
    ]

    with pytest.raises(InvalidInput) as refused:
        await store.import_plan(json.dumps({"format": "planstore/1", "tasks": tasks}))

    (fault,) = refused.value.faults
    assert fault.pointer == "/tasks/0"
    assert "a → b → a" in fault.detail


async def test_the_faults_of_an_export_are_named(store: PlanStore) -> None:
    file = {
        "format": "planstore/2",
        "plan": {"on_failure": "stop"},
        "tasks": [{"description": "a", "prority": 1}, {"description": "b", "metadata": 5}],
        "extra": 1,
    }

    with pytest.raises(InvalidInput) as refused:
        await store.import_plan(json.dumps(file))

    assert {fault.pointer for fault in refused.value.faults} == {
        "/format",
        "/plan/on_failure",
        "/tasks/0/prority",
        "/tasks/1/metadata",
        "/extra",
    }


async def test_a_checklist_says_what_people_wrote_and_no_more(store: PlanStore) -> None:
    plan_id = await a_plan(store)

    text = await exported(store, plan_id, "markdown")

    lines = text.splitlines()
    assert lines[:4] == [f"# Plan {plan_id}", "", "Status: active", ""]
    assert lines[4] == "- [x] first (completed)"
    assert lines[5] == (
        r"- [ ] \<b\>\*x\*\</b\> \# y \`\]()\[a\](javascript\:1) "
        '"--\\> \\|\\\\ \\&lt; www\\.a.b (pending; needs \\#\\#1)'
    )
    assert len(lines) == 12


async def test_drawings_are_those_of_the_graph(store: PlanStore) -> None:
    plan_id = await a_plan(store)
    graph = await store.get_graph(plan_id)

    assert await exported(store, plan_id, "mermaid") == to_mermaid(graph)
    assert await exported(store, plan_id, "dot") == to_dot(graph)


@pytest.mark.parametrize("kind", ExportFormat)
async def test_what_is_not_there_is_not_exported(store: PlanStore, kind: ExportFormat) -> None:
    with pytest.raises(NotFound):
        await store.export_plan(uuid4(), kind)


KEYS: Final = st.sampled_from(
    [
        "id",
        "name",
        "title",
        "description",
        "dependencies",
        "depends_on",
        "subtasks",
        "parents",
        "children",
        "tasks",
        "plan",
        "inputs",
        "workflow",
        "specification",
        "execution",
        "files",
        "format",
        "metadata",
        "status",
        "priority",
        "type",
        "ref",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("a"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
TASKS = st.lists(st.dictionaries(KEYS, JSON, max_size=6), max_size=4)


def in_every_format(tasks: list[Any], beside: dict[str, Any]) -> dict[str, Any]:
    """A file that each reader finds tasks in."""
    return {
        **beside,
        "format": "planstore/1",
        "tasks": tasks,
        "v1": {"tasks": tasks},
        "workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": tasks}},
    }


FILES = st.builds(in_every_format, TASKS, st.dictionaries(KEYS, JSON, max_size=3))


@pytest.mark.parametrize("kind", [each for each in ImportFormat if each != ImportFormat.MARKDOWN])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(file=FILES | JSON)
def test_any_json_is_a_plan_or_refused_with_its_faults(kind: ImportFormat, file: Any) -> None:
    assert_read_or_refused(json.dumps(file), kind)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["- [ ] a", "  * [x] b", "1. [ ] c", "   2) [X] d", "\t- [ ]", "# h", "```", "x", ""]
        ),
        max_size=12,
    )
)
def test_any_checklist_is_a_plan_or_refused_with_its_faults(lines: list[str]) -> None:
    assert_read_or_refused("\n".join(lines), ImportFormat.MARKDOWN)


def assert_read_or_refused(text: str, kind: ImportFormat) -> None:
    try:
        gathered = reading.read(BytesIO(text.encode()), kind, limits=DEFAULT_LIMITS)
    except InvalidInput:
        return
    assert len([*gathered.tasks()]) == len(gathered.ids) == len(gathered.needs)
    gathered.close()
