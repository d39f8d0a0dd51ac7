"""Templates: named, versioned, archived; the plans that are made of them, and what became of them.

A list of tasks as people have it stands in ``shared/real`` beside the repository, where it is.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest

from planstore.errors import (
    AlreadyExists,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    TemplateArchived,
    VersionMismatch,
)
from planstore.models import (
    Instantiation,
    Plan,
    PlanFilter,
    PlanStatus,
    PlanUpdate,
    SaveAsTemplate,
    TaskStatus,
    Template,
    TemplateCreate,
    TemplateVersionCreate,
)
from planstore.models.idempotency import Idempotency
from planstore.services import templates
from tests.arranging import moved, plan_of, task_of
from tests.holder import claim, complete, fail
from tests.refusals import refused
from tests.time_travel import pass_time

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")

REAL: Final = Path(__file__).parents[3] / "shared/real/taskmaster-tasks.json"

PARAMETERS: Final[dict[str, Any]] = {
    "properties": {
        "service": {"type": "string"},
        "priority": {"type": "integer", "default": 0},
    },
    "required": ["service"],
}
PLAN: Final[dict[str, Any]] = {
    "plan_type": "dag",
    "steps": [{"action": "release {{params.service}}"}],
    "tasks": [
        {"name": "build", "description": "Build it", "priority": "{{params.priority}}"},
        {
            "name": "deploy",
            "description": "Deploy {{params.service}}",
            "input_data": {"image": "{{build.image}}", "service": "{{params.service}}"},
        },
    ],
}
GIVEN: Final = Instantiation(params={"service": "shop"})


async def template_of(store: PlanStore, name: str = "release", **fields: Any) -> Template:
    given = {"name": name, "parameters": PARAMETERS, "plan": PLAN, **fields}
    return await store.create_template(TemplateCreate.model_validate(given))


async def test_a_template_is_kept_as_it_was_given_at_version_1(store: PlanStore) -> None:
    made = await template_of(store, description="Release a service")

    assert await store.get_template("release") == made
    assert (made.name, made.version, made.description) == ("release", 1, "Release a service")
    assert (made.parameters, made.plan, made.archived_at) == (PARAMETERS, PLAN, None)
    assert made.record.model_dump() == {
        "runs": 0,
        "is_whole": True,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
        "success_rate": None,
        "duration_p50_seconds": None,
        "duration_p95_seconds": None,
        "retries": 0,
        "slowest_task": None,
    }


async def test_a_plan_is_made_with_its_tasks_and_says_of_what(store: PlanStore) -> None:
    await template_of(store)
    goal = uuid4()
    request = Instantiation.model_validate(
        {"params": {"service": "shop", "priority": 7}, "goal_id": goal, "status": "active"}
    )

    plan = await store.instantiate_template("release", request)

    assert await store.get_plan(plan.id) == plan
    assert (plan.template, plan.template_version, plan.goal_id) == ("release", 1, goal)
    assert (plan.status, plan.revision) == ("active", 2)
    assert plan.steps == [{"action": "release shop"}]
    build, deploy = await store.list_tasks(plan_id=plan.id)
    assert (build.priority, build.status) == (7, TaskStatus.PENDING)
    assert (deploy.description, deploy.status) == ("Deploy shop", TaskStatus.BLOCKED)
    assert deploy.input_data == {"image": "{{build.image}}", "service": "shop"}
    assert await store.list_plans(PlanFilter(template=["release"])) == [plan]


async def test_a_plan_without_tasks_is_made_of_a_template_too(store: PlanStore) -> None:
    await template_of(store, "empty", parameters={}, plan={})

    plan = await store.instantiate_template("empty")

    assert (plan.template, plan.template_version) == ("empty", 1)
    assert await store.update_plan(plan.id, PlanUpdate(labels=["a"])) == await store.get_plan(
        plan.id
    )
    assert (await store.get_plan(plan.id)).template_version == 1


async def test_a_version_stays_as_it_is_whatever_comes_after(store: PlanStore) -> None:
    first = await template_of(store)
    plan = {"tasks": [{"description": "Only {{params.service}}"}]}

    second = await store.add_template_version("release", TemplateVersionCreate(plan=plan))

    assert (second.version, second.parameters, second.plan) == (2, PARAMETERS, plan)
    assert await store.get_template("release") == second
    assert await store.get_template("release", version=1) == first
    listed = await store.list_template_versions("release")
    assert [each.version for each in listed] == [2, 1]
    older = await store.instantiate_template("release", GIVEN.model_copy(update={"version": 1}))
    newer = await store.instantiate_template("release", GIVEN)
    assert [each.template_version for each in (older, newer)] == [1, 2]
    assert [len(await store.list_tasks(plan_id=each.id)) for each in (older, newer)] == [2, 1]


async def test_a_version_that_was_meant_for_another_one_is_refused(
    store: PlanStore, database: Database
) -> None:
    await template_of(store)
    await store.add_template_version("release", TemplateVersionCreate(description="again"))

    async with refused(database, VersionMismatch) as info:
        await store.add_template_version(
            "release", TemplateVersionCreate(description="mine"), expected_version=1
        )

    assert "is at version 2, not 1" in str(info.value)
    assert len(await store.list_template_versions("release")) == 2


async def test_versions_made_at_once_are_all_made_one_after_the_other(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    await template_of(store)

    made = await asyncio.gather(
        *(
            door.add_template_version("release", TemplateVersionCreate(description=str(number)))
            for number, door in enumerate((store, elsewhere) * 4)
        )
    )

    assert sorted(each.version for each in made) == [*range(2, 10)]
    kept = {
        (await store.get_template("release", version=each.version)).description for each in made
    }
    assert kept == {str(number) for number in range(8)}


async def test_of_an_archived_template_nothing_is_made_until_it_is_restored(
    store: PlanStore, database: Database
) -> None:
    await template_of(store)
    archived = await store.archive_template("release")
    assert archived.archived_at is not None
    assert await store.archive_template("release") == archived

    async with refused(database, TemplateArchived) as info:
        await store.instantiate_template("release", GIVEN)
    assert "restore it first" in str(info.value)
    async with refused(database, TemplateArchived):
        await store.add_template_version("release", TemplateVersionCreate(description="new"))
    assert await store.list_templates() == []
    assert [each.name for each in await store.list_templates(archived=True)] == ["release"]

    restored = await store.restore_template("release")
    assert restored.archived_at is None
    assert (await store.instantiate_template("release", GIVEN)).template == "release"


async def test_what_is_not_there_is_answered_with_the_nearest_name(
    store: PlanStore, database: Database
) -> None:
    await template_of(store)

    for call in (
        store.get_template("relaese"),
        store.instantiate_template("relaese"),
        store.add_template_version("relaese", TemplateVersionCreate()),
        store.archive_template("relaese"),
        store.list_template_versions("relaese"),
        store.get_template("relea\x00se"),
    ):
        async with refused(database, NotFound) as info:
            await call
        assert "did you mean 'release'?" in str(info.value)
    with pytest.raises(NotFound, match="no version 2; it has 1 to 1"):
        await store.get_template("release", version=2)
    async with refused(database, NotFound):
        await store.instantiate_template("release", Instantiation(version=9))


async def test_a_name_is_taken_once(store: PlanStore, elsewhere: PlanStore) -> None:
    answers = await asyncio.gather(
        *(template_of(door, description="x") for door in (store, elsewhere)), return_exceptions=True
    )

    (error,) = [each for each in answers if isinstance(each, Exception)]
    assert isinstance(error, AlreadyExists)
    assert str(error) == "there is a template 'release' already"
    assert len(await store.list_templates()) == 1


async def test_templates_are_listed_by_name_page_by_page(store: PlanStore) -> None:
    for name in ("b", "c", "a"):
        await template_of(store, name)
    await store.add_template_version("b", TemplateVersionCreate(description="newer"))

    first = await store.list_templates(limit=2)
    rest = await store.list_templates(limit=2, cursor=first.next_cursor)

    assert [(each.name, each.version) for each in (*first, *rest)] == [("a", 1), ("b", 2), ("c", 1)]
    assert rest.next_cursor is None
    newest = await store.list_template_versions("b", limit=1)
    older = await store.list_template_versions("b", limit=1, cursor=newest.next_cursor)
    assert [(each.version, each.description) for each in (*newest, *older)] == [
        (2, "newer"),
        (1, None),
    ]


async def test_parameters_that_do_not_fit_make_no_plan(
    store: PlanStore, database: Database
) -> None:
    await template_of(store)

    async with refused(database, InvalidInput) as info:
        await store.instantiate_template("release", Instantiation(params={"priority": "a", "x": 1}))
    pointers = {fault.pointer for fault in info.value.faults}
    assert pointers == {"/params/service", "/params/priority", "/params/x"}
    async with refused(database, InvalidInput) as info:
        params = {"service": "shop", "priority": 500}
        await store.instantiate_template("release", Instantiation(params=params))
    assert [fault.pointer for fault in info.value.faults] == ["/params/priority"]


async def test_a_dependency_that_a_parameter_leads_astray_is_said_of_it(
    store: PlanStore, database: Database
) -> None:
    plan = {"tasks": [{"description": "do it", "depends_on": ["{{params.after}}"]}]}
    await template_of(store, "after", parameters={"properties": {"after": {}}}, plan=plan)

    async with refused(database, InvalidInput) as info:
        await store.instantiate_template("after", Instantiation(params={"after": "nothing"}))

    (fault,) = info.value.faults
    assert fault.pointer == "/params/after"
    assert "no task 'nothing'" in fault.detail


def a_list() -> list[dict[str, Any]]:
    """A list of tasks as a coding agent keeps it: the real one where it is there."""
    if REAL.is_file():
        content = json.loads(REAL.read_text("utf-8"))
        return content["autonomous-tdd-git-workflow"]["tasks"]
    return [
        {
            "id": number,
            "title": f"Part {number}",
            "dependencies": [*range(max(1, number - 2), number)],
        }
        for number in range(1, 24)
    ]


async def test_a_hundred_plans_at_once_are_as_many_as_their_keys(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    listed = a_list()
    tasks = [
        {
            "name": f"task {each['id']}",
            "description": f"{each['title']} in {{{{params.repository}}}}",
            "input_data": {"details": each.get("details"), "in": "{{params.repository}}"},
            "depends_on": [f"task {number}" for number in each["dependencies"]],
        }
        for each in listed
    ]
    schema = {"properties": {"repository": {"type": "string"}}, "required": ["repository"]}
    plan = {"plan_type": "dag", "tasks": tasks}
    await template_of(store, "workflow", parameters=schema, plan=plan)
    request = Instantiation(params={"repository": "a/b"})

    made = await asyncio.gather(
        *(
            door.instantiate_template(
                "workflow", request, idempotency=Idempotency(f"key-{number % 20}")
            )
            for number, door in enumerate((store, elsewhere) * 50)
        )
    )

    plans = await store.list_plans(PlanFilter(template=["workflow"]))
    assert len(plans) == 20
    assert {each.id for each in made} == {each.id for each in plans}
    assert all(each == made[number % 20] for number, each in enumerate(made))
    for each in plans:
        assert len(await store.list_tasks(plan_id=each.id)) == len(listed)
    first = (await store.list_tasks(plan_id=plans[0].id))[0]
    assert first.description == f"{listed[0]['title']} in a/b"
    with pytest.raises(IdempotencyMismatch):
        await store.instantiate_template(
            "workflow",
            Instantiation(params={"repository": "c"}),
            idempotency=Idempotency("key-0"),
        )


async def test_repeating_a_write_with_its_key_does_it_once(store: PlanStore) -> None:
    draft = TemplateCreate(name="release", parameters=PARAMETERS, plan=PLAN)
    key = Idempotency("once")

    first = await store.create_template(draft, idempotency=key)
    assert await store.create_template(draft, idempotency=key) == first
    version = TemplateVersionCreate(description="new")
    second = await store.add_template_version("release", version, idempotency=key)
    assert await store.add_template_version("release", version, idempotency=key) == second
    archived = await store.archive_template("release", idempotency=key)
    await store.restore_template("release", idempotency=key)
    assert await store.archive_template("release", idempotency=key) == archived
    assert (await store.get_template("release")).archived_at is None
    assert len(await store.list_template_versions("release")) == 2


async def carry_out(store: PlanStore, database: Database, plan: Plan, *seconds: float) -> None:
    """Run the plan's tasks, each for so long."""
    for duration in seconds:
        (task,) = await claim(store, plan=plan)
        await pass_time(database, duration)
        await complete(store, task, output_data={"image": "x"})


async def test_a_version_carries_the_record_of_its_own_plans(
    store: PlanStore, database: Database
) -> None:
    await template_of(store)
    request = GIVEN.model_copy(update={"status": PlanStatus.ACTIVE})
    await store.instantiate_template("release", request)  # still open
    for duration in (10, 20, 30):
        plan = await store.instantiate_template("release", request)
        await carry_out(store, database, plan, 1, duration)
    failed = await store.instantiate_template("release", request)
    (first,) = await claim(store, plan=failed)
    await fail(store, first)
    await pass_time(database, 60)
    (again,) = await claim(store, plan=failed)
    await fail(store, again, retryable=False)
    await store.cancel_plan((await store.instantiate_template("release", request)).id)
    await store.add_template_version("release", TemplateVersionCreate(description="newer"))
    await store.instantiate_template("release", request)

    record = (await store.get_template("release", version=1)).record

    assert (record.runs, record.is_whole) == (6, True)
    assert (record.completed, record.failed, record.cancelled) == (3, 1, 1)
    assert record.success_rate == pytest.approx(3 / 5)
    assert record.duration_p50_seconds == pytest.approx(21, abs=2)
    assert record.duration_p95_seconds == pytest.approx(30, abs=2)
    assert record.retries == 1
    assert record.slowest_task is not None
    assert (record.slowest_task.task, record.slowest_task.runs) == ("deploy", 3)
    assert record.slowest_task.duration_p50_seconds == pytest.approx(20, abs=2)
    assert (await store.get_template("release")).record.runs == 1


async def test_a_record_is_of_the_newest_plans_where_there_are_many(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await template_of(store)
    for _ in range(4):
        await store.instantiate_template("release", GIVEN)

    for name, value in (("PLANS_LOOKED_AT", 3), ("_TASKS_LOOKED_AT", 4)):
        with monkeypatch.context() as patched:
            patched.setattr(templates, name, value)
            record = (await store.get_template("release")).record
        assert (record.runs, record.is_whole) == (3, False)


async def test_a_plan_is_kept_as_a_template_without_the_work_on_it(store: PlanStore) -> None:
    plan = await plan_of(
        store,
        plan_type="dag",
        goal_id=uuid4(),
        labels=["a"],
        retry_policy={"max_retries": 1},
        budget={"max_tokens": 9, "deadline": "2030-01-01T00:00:00Z"},
    )
    first = await task_of(store, plan, description="first", status=TaskStatus.COMPLETED)
    await task_of(
        store,
        plan,
        name="second",
        description="second",
        priority=5,
        depends_on=[{"task": str(first.id), "when": "ended"}],
        not_before="2030-01-01T00:00:00Z",
    )
    await task_of(store, plan, name="third", input_data={"from": "{{second.result}}"})

    saved = await store.save_plan_as_template(
        plan.id, SaveAsTemplate(name="kept", description="As it was")
    )

    assert (saved.name, saved.version, saved.description) == ("kept", 1, "As it was")
    made = await store.instantiate_template("kept")
    assert (made.plan_type, made.labels, made.retry_policy) == ("dag", ["a"], plan.retry_policy)
    assert (made.goal_id, made.status, made.template) == (None, "draft", "kept")
    assert made.budget is not None
    assert (made.budget.max_tokens, made.budget.deadline) == (9, None)
    tasks = await store.list_tasks(plan_id=made.id)
    before = await store.list_tasks(plan_id=plan.id)
    assert [task.name for task in tasks] == ["task-1", "second", "third"]
    for name in ("description", "priority", "input_data", "sequence_order"):
        assert [getattr(task, name) for task in tasks] == [getattr(task, name) for task in before]
    assert [task.status for task in tasks] == ["pending", "blocked", "blocked"]
    assert tasks[1].not_before is None
    needs = [await edges_of(store, each.id) for each in tasks]
    assert needs == [[], [("task-1", "ended", "blocking")], [("second", "success", "data")]]


async def edges_of(store: PlanStore, task_id: UUID) -> list[tuple[str | None, str, str]]:
    needed = await store.list_dependencies(task_id)
    return [(each.name, each.when.value, each.type.value) for each in needed]


async def test_what_can_not_be_kept_as_a_template_is_refused(
    store: PlanStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, description="Fill in {{params.what}}")
    request = SaveAsTemplate(name="kept")

    async with refused(database, InvalidInput) as info:
        await store.save_plan_as_template(plan.id, request)
    assert [fault.pointer for fault in info.value.faults] == ["/plan/tasks/0/description"]
    async with refused(database, NotFound):
        await store.save_plan_as_template(task.id, request)
    monkeypatch.setattr(templates, "MAX_BATCH", 0)
    async with refused(database, InvalidInput) as info:
        await store.save_plan_as_template(plan.id, request)
    assert "more than 0 tasks" in str(info.value)
    assert await store.list_templates() == []
    await moved(store, task, TaskStatus.COMPLETED)
