"""Finding plans and tasks: by each filter, in each order, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, get_args
from uuid import UUID, uuid4

import pytest

from planstore.errors import InvalidInput
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.query import PlanFilter, PlanSort, TaskFilter, TaskSort
from planstore.sql import finding, marks
from planstore.sql.finding import composing, of_plans, of_tasks
from tests.arranging import moved, plan_of, task_of
from tests.health import assert_healthy
from tests.history import assert_history_holds
from tests.holder import claim, complete

if TYPE_CHECKING:
    from collections.abc import Callable

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore

ANN: Final = UUID("aaaaaaaa-0000-4000-8000-000000000000")
BOB: Final = UUID("bbbbbbbb-0000-4000-8000-000000000000")
GOAL: Final = UUID("cccccccc-0000-4000-8000-000000000000")

LARGE: Final = 10**4000
"""A number that no binary format of numbers has."""


@pytest.fixture(params=["tried", "dug"], autouse=True)
def effort(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what fits is met along the way, or dug out of its index."""
    if request.param == "dug":
        monkeypatch.setattr(composing, "_TRIED", 0)
        monkeypatch.setattr(of_plans, "LISTED", 0)
        monkeypatch.setattr(of_tasks, "LISTED", 0)
        monkeypatch.setattr(of_tasks, "_PARTS_TRIED", 0)


async def some_plans(store: PlanStore) -> list[Plan]:
    """Plans that differ in all that they can be found by, newest first."""
    made = [
        await plan_of(store, status="draft"),
        await plan_of(store, goal_id=GOAL, agent_id=ANN, labels=["blue", "x y"]),
        await plan_of(
            store,
            agent_id=BOB,
            plan_type="dag",
            metadata={"customer": {"id": 7, "tags": ["vip", "eu"]}, "n": LARGE},
        ),
        await plan_of(
            store,
            goal_id=GOAL,
            plan_type="dag",
            steps=[{"action": "deploy", "note": 'line one\nline "two"', "n": 42}],
            labels=["blue", "Blue", "größe"],
        ),
        await plan_of(store, agent_id=ANN, metadata={"customer": {"id": 8}, "note": "deploy it"}),
        await plan_of(store, status="draft", agent_id=ANN, labels=["blue"], metadata={"a": None}),
    ]
    return made[::-1]


PLANS: Final[dict[str, tuple[dict[str, Any], Callable[[Plan], bool]]]] = {
    "all": ({}, lambda _: True),
    "goal": ({"goal_id": GOAL}, lambda plan: plan.goal_id == GOAL),
    "agent": ({"agent_id": ANN}, lambda plan: plan.agent_id == ANN),
    "agents": ({"agent_id": [BOB, ANN, BOB]}, lambda plan: plan.agent_id in {ANN, BOB}),
    "status": ({"status": "draft"}, lambda plan: plan.status == "draft"),
    "statuses": (
        {"status": ["failed", "active"]},
        lambda plan: plan.status in {"failed", "active"},
    ),
    "type": ({"plan_type": "dag"}, lambda plan: plan.plan_type == "dag"),
    "template": ({"template": "release"}, lambda _: False),
    "label": ({"label": "blue"}, lambda plan: "blue" in plan.labels),
    "labels": ({"label": ["blue", "größe"]}, lambda plan: "größe" in plan.labels),
    "metadata": (
        {"metadata": {"customer": {"tags": ["eu"]}}},
        lambda plan: "eu" in plan.metadata.get("customer", {}).get("tags", []),
    ),
    "parts of metadata": (
        {"metadata": [{"customer": {"id": 7}}, {"n": LARGE}]},
        lambda plan: "n" in plan.metadata,
    ),
    "parts that exclude each other": (
        {"metadata": [{"customer": {"id": 7}}, {"customer": {"id": 8}}]},
        lambda _: False,
    ),
    "null in metadata": ({"metadata": {"a": None}}, lambda plan: "a" in plan.metadata),
    "empty metadata": ({"metadata": {}}, lambda _: True),
    "word": (
        {"words": "Deploy"},
        lambda plan: "deploy" in f"{plan.steps}{plan.metadata}",
    ),
    "words": ({"words": "two, deploy 42"}, lambda plan: bool(plan.steps)),
    "word after an escape": ({"words": "line"}, lambda plan: bool(plan.steps)),
    "key": ({"words": "action"}, lambda _: False),
    "no word": ({"words": "!"}, lambda _: False),
    "label and status": (
        {"label": "blue", "status": "active"},
        lambda plan: "blue" in plan.labels and plan.status == "active",
    ),
    "label and words": (
        {"label": "blue", "words": "deploy"},
        lambda plan: "blue" in plan.labels and bool(plan.steps),
    ),
    "agent and type": (
        {"agent_id": ANN, "plan_type": "sequential"},
        lambda plan: plan.agent_id == ANN,
    ),
}


@pytest.mark.parametrize("name", PLANS)
async def test_a_filter_finds_the_plans_that_fit_newest_first(store: PlanStore, name: str) -> None:
    every = await some_plans(store)
    asked, fits = PLANS[name]

    found = await store.list_plans(PlanFilter.model_validate(asked))

    assert found == [plan for plan in every if fits(plan)]
    assert await plan_pages(store, PlanFilter.model_validate(asked), limit=1) == found


async def plan_pages(
    store: PlanStore, found: PlanFilter, *, limit: int, sort: PlanSort | None = None
) -> list[Plan]:
    page = await store.list_plans(found, sort=sort, limit=limit)
    items = list(page)
    while page.next_cursor is not None:
        page = await store.list_plans(found, sort=sort, limit=limit, cursor=page.next_cursor)
        items += page
    return items


async def task_pages(
    store: PlanStore, found: TaskFilter, *, limit: int, sort: TaskSort | None = None
) -> list[Task]:
    page = await store.list_tasks(found, sort=sort, limit=limit)
    items = list(page)
    while page.next_cursor is not None:
        page = await store.list_tasks(found, sort=sort, limit=limit, cursor=page.next_cursor)
        items += page
    return items


async def some_tasks(store: PlanStore) -> list[Task]:
    """Tasks that differ in all that they can be found by, newest first."""
    plan, other = await plan_of(store, plan_type="dag"), await plan_of(store, plan_type="dag")
    first = await task_of(store, plan, name="build", agent_id=ANN, labels=["blue", "slow"])
    await task_of(store, plan, name="test", depends_on=["build"], description="deploy the build")
    await task_of(store, other, name="build", task_type="compile", priority=3, agent_id=BOB)
    await task_of(
        store,
        other,
        agent_id=ANN,
        description='line one\nline "two"',
        metadata={"customer": {"id": 7, "tags": ["vip", "eu"]}, "n": LARGE},
    )
    await task_of(store, other, task_type="compile", labels=["blue"], metadata={"customer": {}})
    gone = await task_of(store, other, description="deploy", name="deploy-all")
    failed = await task_of(store, plan, agent_id=BOB, task_type="check")
    await moved(store, gone, S.SKIPPED)
    await moved(store, failed, S.FAILED)
    (packet,) = await claim(store, worker="w1", plan=other, limit=1)
    assert packet.priority == 3
    (packet,) = await claim(store, worker="w2", plan=plan, limit=1)
    assert packet.id == first.id
    await complete(store, packet)
    (_,) = await claim(store, worker="w2", plan=other, limit=1)
    every = [
        *await store.list_tasks(plan_id=plan.id),
        *await store.list_tasks(plan_id=other.id),
    ]
    return sorted(every, key=lambda task: (task.created_at, task.id), reverse=True)


TASKS: Final[dict[str, tuple[dict[str, Any], Callable[[Task], bool]]]] = {
    "all": ({}, lambda _: True),
    "agent": ({"agent_id": ANN}, lambda task: task.agent_id == ANN),
    "agents": ({"agent_id": [ANN, BOB]}, lambda task: task.agent_id is not None),
    **{
        status: ({"status": status}, lambda task, status=status: task.status == status)
        for status in S
    },
    "statuses": (
        {"status": ["running", "blocked", "pending"]},
        lambda task: task.status in {"running", "blocked", "pending"},
    ),
    "type": ({"task_type": "compile"}, lambda task: task.task_type == "compile"),
    "name": ({"name": "build"}, lambda task: task.name == "build"),
    "names": ({"name": ["test", "nobody"]}, lambda task: task.name == "test"),
    "worker": (
        {"worker": "w2"},
        lambda task: task.worker_id == "w2" and task.status == "running",
    ),
    "workers": ({"worker": ["w1", "w2"]}, lambda task: task.status == "running"),
    "label": ({"label": "blue"}, lambda task: "blue" in task.labels),
    "labels": ({"label": ["slow", "blue"]}, lambda task: "slow" in task.labels),
    "metadata": (
        {"metadata": {"customer": {"tags": ["vip"]}}},
        lambda task: bool(task.metadata.get("customer")),
    ),
    "part of metadata": ({"metadata": {"customer": {}}}, lambda task: bool(task.metadata)),
    "large number": ({"metadata": {"n": LARGE}}, lambda task: "n" in task.metadata),
    "word": (
        {"words": "DEPLOY"},
        lambda task: "deploy" in f"{task.name} {task.description}",
    ),
    "words": ({"words": "two one"}, lambda task: "two" in task.description),
    "words and status": (
        {"words": "deploy", "status": "skipped"},
        lambda task: task.status == "skipped",
    ),
    "label and status": (
        {"label": "blue", "status": "completed"},
        lambda task: "slow" in task.labels,
    ),
    "agent and status": (
        {"agent_id": BOB, "status": "failed"},
        lambda task: task.agent_id == BOB and task.status == "failed",
    ),
    "name and label": ({"name": "build", "label": "blue"}, lambda task: "slow" in task.labels),
}


@pytest.mark.parametrize("name", TASKS)
async def test_a_filter_finds_the_tasks_that_fit_newest_first(store: PlanStore, name: str) -> None:
    every = await some_tasks(store)
    asked, fits = TASKS[name]

    for are_indexed in (False, True) if composing.SOUGHT & asked.keys() else (False,):
        if are_indexed:
            await store.index_words()
        found = await store.list_tasks(TaskFilter.model_validate(asked))

        assert found == [task for task in every if fits(task)]
        assert await task_pages(store, TaskFilter.model_validate(asked), limit=2) == found


ALIKE: Final[dict[str, tuple[dict[str, Any], Callable[[Task], bool]]]] = {
    "agents": ({"agent_id": [ANN, BOB]}, lambda task: task.agent_id is not None),
    "types": ({"task_type": ["build", "compile"]}, lambda task: task.task_type is not None),
    "names": ({"name": ["n0", "n2", "n3"]}, lambda task: task.name in {"n0", "n2", "n3"}),
    "workers": ({"worker": ["w1", "w2"]}, lambda task: task.worker_id in {"w1", "w2"}),
    "label": ({"label": "blue"}, lambda task: "blue" in task.labels),
    "labels": ({"label": ["blue", "red"]}, lambda task: "red" in task.labels),
}


@pytest.mark.parametrize("name", ALIKE)
async def test_the_tasks_of_one_instant_are_paged_by_id(
    store: PlanStore, database: Database, name: str
) -> None:
    asked, fits = ALIKE[name]
    plans = [await plan_of(store, status="active") for _ in range(2)]
    for n in range(10):
        await task_of(
            store,
            plans[n % 2],
            id=uuid4(),
            name=f"n{n // 2}",
            agent_id=[ANN, BOB, None][n % 3],
            task_type=["build", "compile", None][n % 3],
            labels=["blue", "red"][: n % 4],
            sequence_order=0,
        )
    for worker in ("w1", "w2", "w3"):
        await claim(store, worker, limit=3)
    async with database.connection() as conn:
        await conn.execute("update planstore.tasks set created_at = '2026-01-01'")
        await conn.execute("update planstore.task_states set created_at = '2026-01-01'")
    await store.index_words()
    every = await store.list_tasks()
    search = TaskFilter.model_validate(asked)

    found = await store.list_tasks(search)

    assert found == [task for task in every if fits(task)]
    assert len(found) >= 4
    for limit in (1, 3, 4):
        assert await task_pages(store, search, limit=limit) == found
    assert await store.list_tasks(search, offset=1, limit=2) == found[1:3]


@pytest.mark.parametrize("tried", [1, 2, 3])
async def test_more_are_tried_where_some_of_the_first_fit(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch, tried: int
) -> None:
    goals = [GOAL, ANN, BOB]
    for n in range(12):
        await plan_of(store, labels=["blue"] if n % 3 else [], goal_id=goals[n % 2])
    every = await store.list_plans()
    monkeypatch.setattr(composing, "_TRIED", tried)

    for asked in ({}, {"goal_id": goals}):
        blue = PlanFilter.model_validate({"label": "blue", **asked})
        fitting = [plan for plan in every if plan.labels]
        for limit in (1, 2, 5, 7, 8, 9):
            assert await plan_pages(store, blue, limit=limit) == fitting
            for offset in range(9):
                page = await store.list_plans(blue, limit=limit, offset=offset)
                assert page == fitting[offset : offset + limit]


async def test_a_plans_tasks_are_filtered_in_their_order(store: PlanStore) -> None:
    plan = await plan_of(store)
    made = [
        await task_of(store, plan, sequence_order=order, labels=labels, description=text)
        for order, labels, text in ((3, ["a"], "x"), (1, [], "x"), (2, ["a"], "y"), (0, ["a"], "x"))
    ]

    labelled = TaskFilter(plan_id=[plan.id], label=["a"])
    worded = TaskFilter(plan_id=[plan.id], words="x", status=[S.PENDING])

    assert await store.list_tasks(labelled) == [made[3], made[2], made[0]]
    assert await store.list_tasks(worded) == [made[3], made[1], made[0]]


async def test_the_tasks_of_several_plans_come_newest_first(store: PlanStore) -> None:
    plans = [await plan_of(store) for _ in range(3)]
    made = [await task_of(store, plan, sequence_order=9 - n) for n in range(2) for plan in plans]

    found = await store.list_tasks(TaskFilter(plan_id=[plans[2].id, plans[0].id]))

    assert found == [made[n] for n in (5, 3, 2, 0)]


async def test_ready_tasks_come_as_they_are_handed_out(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    low = await task_of(store, plan, priority=-1, agent_id=ANN)
    first, second = [await task_of(store, plan, task_type="a") for _ in range(2)]
    high = await task_of(store, plan, priority=5)
    await task_of(store, plan, depends_on=[str(low.id)])
    await task_of(store, plan, not_before=datetime.now(UTC) + timedelta(hours=1))
    of_draft = await plan_of(store, status="draft")
    await task_of(store, of_draft)
    ready = TaskFilter(ready=True)

    assert await store.list_tasks(ready) == [high, first, second, low]
    assert await task_pages(store, ready, limit=1) == [high, first, second, low]
    for asked, expected in (
        ({"task_type": "a"}, [first, second]),
        ({"agent_id": ANN}, [low]),
        ({"plan_id": [plan.id, of_draft.id]}, [high, first, second, low]),
        ({"plan_id": of_draft.id}, []),
        ({"status": "running"}, []),
    ):
        found = TaskFilter.model_validate({"ready": True, **asked})
        assert await store.list_tasks(found) == expected
    packets = await claim(store, limit=9)
    assert [packet.id for packet in packets] == [high.id, first.id, second.id, low.id]
    assert await store.list_tasks(ready) == []


async def test_times_bound_what_is_found(store: PlanStore) -> None:
    plans = await some_plans(store)
    third = plans[2].created_at

    assert await store.list_plans(PlanFilter(created_after=third)) == plans[:3]
    assert await store.list_plans(PlanFilter(created_before=third)) == plans[3:]
    assert await store.list_plans(PlanFilter(created_before=third, agent_id=[BOB])) == [plans[3]]
    assert await store.list_plans(PlanFilter(created_before=third, words="deploy")) == []
    tasks = await some_tasks(store)
    third = tasks[2].created_at
    later = [task for task in tasks if task.created_at >= third]
    assert await store.list_tasks(TaskFilter(created_after=third)) == later
    assert await store.list_tasks(TaskFilter(created_before=third, status=[*S])) == [
        task for task in tasks if task.created_at < third
    ]
    assert await store.list_tasks(TaskFilter(created_after=third, words="deploy")) == [
        task for task in later if "deploy" in task.description
    ]


@pytest.mark.parametrize("sort", get_args(PlanSort))
async def test_plans_are_sorted(store: PlanStore, sort: PlanSort) -> None:
    plans = await some_plans(store)
    for plan in plans[2:4]:
        await store.update_plan(plan.id, PlanUpdate(current_step=3))
    plans = [await store.get_plan(plan.id) for plan in plans]
    name = sort.removeprefix("-")

    found = await store.list_plans(sort=sort)

    assert found == sorted(
        plans, key=lambda plan: (getattr(plan, name), plan.id), reverse=sort != name
    )
    assert await plan_pages(store, PlanFilter(), sort=sort, limit=2) == found
    assert await plan_pages(store, PlanFilter(label=["blue"]), sort=sort, limit=1) == [
        plan for plan in found if "blue" in plan.labels
    ]


@pytest.mark.parametrize("sort", get_args(TaskSort))
async def test_tasks_are_sorted_and_what_has_no_value_comes_last(
    store: PlanStore, sort: TaskSort
) -> None:
    tasks = await some_tasks(store)
    name = sort.removeprefix("-")
    is_down = sort != name
    tasks.sort(key=lambda task: task.id, reverse=is_down)
    there = [task for task in tasks if getattr(task, name) is not None]
    there.sort(key=lambda task: getattr(task, name), reverse=is_down)
    lacking = [task for task in tasks if getattr(task, name) is None]

    found = await store.list_tasks(sort=sort)

    if sort == "-created_at":
        there.sort(key=lambda task: (task.created_at, task.id), reverse=True)
    assert found == there + lacking
    assert await task_pages(store, TaskFilter(), sort=sort, limit=2) == found
    worded = TaskFilter(words="deploy")
    assert await task_pages(store, worded, sort=sort, limit=1) == [
        task for task in found if "deploy" in f"{task.name} {task.description}"
    ]


async def test_a_cursor_is_refused_under_another_order(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(3):
        await task_of(store, plan)
    await plan_of(store)
    lists: list[tuple[TaskFilter, TaskSort | None]] = [
        (TaskFilter(), None),
        (TaskFilter(plan_id=[plan.id]), None),
        (TaskFilter(ready=True), None),
        (TaskFilter(), "priority"),
        (TaskFilter(), "-priority"),
        (TaskFilter(), "sequence_order"),
        (TaskFilter(), "started_at"),
        (TaskFilter(), "-started_at"),
        (TaskFilter(), "created_at"),
    ]
    cursors = [
        (await store.list_tasks(found, sort=sort, limit=1)).next_cursor for found, sort in lists
    ]

    for place, (found, sort) in enumerate(lists):
        for number, cursor in enumerate(cursors):
            if number == place:
                assert len(await store.list_tasks(found, sort=sort, cursor=cursor)) == 2
                continue
            with pytest.raises(InvalidInput) as error:
                await store.list_tasks(found, sort=sort, cursor=cursor)
            assert [fault.pointer for fault in error.value.faults] == ["?cursor"]
    later = (await store.list_plans(sort="updated_at", limit=1)).next_cursor
    with pytest.raises(InvalidInput):
        await store.list_plans(cursor=later)


async def test_the_same_order_by_name_takes_the_same_cursor(store: PlanStore) -> None:
    plan = await plan_of(store)
    tasks = [await task_of(store, plan) for _ in range(3)]
    first = await store.list_tasks(limit=1)

    assert await store.list_tasks(sort="-created_at", cursor=first.next_cursor) == tasks[1::-1]


async def test_an_offset_skips_what_fits(store: PlanStore) -> None:
    plans = [plan for plan in await some_plans(store) if "blue" in plan.labels]

    assert await store.list_plans(PlanFilter(label=["blue"]), offset=1, limit=1) == plans[1:2]
    assert await store.list_plans(PlanFilter(label=["blue"]), offset=3) == []


async def test_other_words_are_found_as_soon_as_they_are_written(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, steps=[{"action": "paint"}])
    task = await task_of(store, plan, name="door", description="paint the door")
    await store.index_words()

    plan = await store.update_plan(plan.id, PlanUpdate(steps=[{"action": "carve"}]))
    task = await store.update_task(task.id, TaskUpdate(description="carve it"))

    for are_indexed in (False, True):
        if are_indexed:
            assert await store.index_words() == 1
        assert await store.list_plans(PlanFilter(words="carve")) == [plan]
        assert await store.list_plans(PlanFilter(words="paint")) == []
        assert await store.list_tasks(TaskFilter(words="door carve")) == [task]
        assert await store.list_tasks(TaskFilter(words="paint")) == []
    assert await store.index_words() == 0
    await assert_history_holds(database)


async def test_what_is_filed_otherwise_is_listed_anew(store: PlanStore, database: Database) -> None:
    filed: dict[str, Any] = {
        "labels": ["red", "new"],
        "metadata": {"n": [{"id": 1.0}], "by": "ann"},
    }
    plan = await plan_of(store, **filed)
    task = await task_of(store, plan, **filed)
    await store.index_words()

    filed = {"labels": ["new", "blue"], "metadata": {"n": [{"id": 2}], "by": "ann"}}
    plan = await store.update_plan(plan.id, PlanUpdate(**filed))
    task = await store.update_task(task.id, TaskUpdate(**filed))

    for are_listed in (False, True):
        if are_listed:
            assert await store.index_words() == 1
        for asked, is_found in {
            ("label", "blue"): True,
            ("label", "new"): True,
            ("label", "red"): False,
            ("metadata", '{"n": [{"id": 2.0}]}'): True,
            ("metadata", '{"n": [{"id": 2}], "by": "ann"}'): True,
            ("metadata", '{"n": [{"id": 1}]}'): False,
            ("metadata", '{"n": {"id": 2}}'): False,
            ("metadata", '{"n": [{}]}'): True,
        }.items():
            plans = await store.list_plans(PlanFilter.model_validate(dict([asked])))
            tasks = await store.list_tasks(TaskFilter.model_validate(dict([asked])))
            assert (plans, tasks) == (([plan], [task]) if is_found else ([], []))
        assert await store.list_tasks(TaskFilter(label=["new", "blue"])) == [task]
        assert await store.list_tasks(TaskFilter(label=["new", "red"])) == []
    await assert_healthy(database)


async def test_what_is_no_longer_filed_so_isnt_skipped(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    tasks = [await task_of(store, plan, labels=["red", "new"]) for _ in range(3)]
    await store.index_words()

    await store.update_task(tasks[2].id, TaskUpdate(labels=["new"]))

    for labels in (["red"], ["red", "new"]):
        found = TaskFilter(label=labels)
        assert await store.list_tasks(found) == tasks[1::-1]
        assert await store.list_tasks(found, offset=1) == tasks[:1]
        assert await task_pages(store, found, limit=1) == tasks[1::-1]
    await assert_healthy(database)


async def test_lists_hold_while_very_many_tasks_are_yet_to_be_listed(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await plan_of(store)
    tasks = [await task_of(store, plan, description="paint", labels=["a", "b"]) for _ in range(3)]
    monkeypatch.setattr(marks, "_DUE_AT_MOST", 2)

    for are_listed in (False, True):
        if are_listed:
            await store.index_words()
        for asked in ({"label": "a"}, {"label": ["a", "b"]}, {"words": "paint"}):
            assert await store.list_tasks(TaskFilter.model_validate(asked)) == tasks[::-1]


@pytest.mark.parametrize(
    "text",
    [
        "word " * 20_000,
        " ".join(f"ab-cd{n}" for n in range(9_000)),
        " ".join(f"a{n}.bc/d{n}" for n in range(9_000)),
        "ж-ж " * 25_000,
        "x" * 100_000,
        "".join(chr(0x10000 + n % 50_000) + " " for n in range(50_000)),
        "\\u0041\\n\\" * 12_000,
    ],
)
async def test_no_text_is_too_long_to_be_found(store: PlanStore, text: str) -> None:
    plan = await plan_of(store, steps=[{"note": f"needle {text}"}], metadata={"note": text})
    task = await task_of(store, plan, description=f"needle {text}"[:100_000])
    await task_of(store, plan, description=text[:100_000])
    await store.index_words()

    (found,) = await store.list_plans(PlanFilter(words="needle"))
    assert found.id == plan.id
    assert await store.list_tasks(TaskFilter(words="needle")) == [task]


async def test_what_is_deleted_is_no_longer_found(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, steps=[{"action": "paint"}], labels=["blue"])
    task = await task_of(store, plan, description="paint", labels=["blue"])
    kept = await task_of(store, plan, description="paint", labels=["blue"])
    await store.index_words()

    await store.delete_task(task.id)

    assert await store.list_tasks(TaskFilter(words="paint")) == [kept]
    assert await store.list_tasks(TaskFilter(label=["blue"])) == [kept]
    await assert_healthy(database)
    await store.delete_plan(plan.id)
    assert await store.list_tasks(TaskFilter(words="paint")) == []
    assert await store.list_plans(PlanFilter(words="paint")) == []
    async with database.connection() as conn:
        assert not await conn.fetchval("select count(*) from planstore.task_words")
        assert not await conn.fetchval("select count(*) from planstore.plan_words")
        assert not await conn.fetchval("select count(*) from planstore.plan_marks")
        assert not await conn.fetchval("select count(*) from planstore.task_marks")


async def test_labels_are_replaced_whole_and_kept_in_their_order(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, labels=["b", "a"])
    task = await task_of(store, plan, labels=["z", "y"])
    assert (plan.labels, task.labels) == (["b", "a"], ["z", "y"])

    plan = await store.update_plan(plan.id, PlanUpdate(labels=["c"]))
    task = await store.update_task(task.id, TaskUpdate(labels=[]))

    assert await store.get_plan(plan.id) == plan
    assert await store.get_task(task.id) == task
    assert (plan.labels, task.labels) == (["c"], [])
    assert await store.list_plans(PlanFilter(label=["b"])) == []
    assert await store.list_plans(PlanFilter(label=["c"])) == [plan]
    await assert_history_holds(database)


async def test_ids_come_in_bites_newest_first(store: PlanStore, database: Database) -> None:
    plans, tasks = await some_plans(store), await some_tasks(store)
    every = await store.list_plans()
    assert every[-len(plans) :] == plans

    async with database.connection() as conn:
        for listed, find, asked in (
            (every, finding.plan_ids, PlanFilter()),
            (plans, finding.plan_ids, PlanFilter(created_before=every[1].created_at)),
            (tasks, finding.task_ids, TaskFilter()),
            (tasks, finding.task_ids, TaskFilter(status=[*S])),
            (tasks, finding.task_ids, TaskFilter(plan_id=[task.plan_id for task in tasks])),
        ):
            found: list[Any] = []
            after = None
            while bite := await find(conn, asked, after=after, limit=2):  # pyright: ignore[reportArgumentType] - each with its own
                found += bite
                after = bite[-1]["created_at"], bite[-1]["id"]
            assert [row["id"] for row in found] == [each.id for each in listed]
            plan_ids = [getattr(each, "plan_id", each.id) for each in listed]
            assert [row["plan_id"] for row in found] == plan_ids
