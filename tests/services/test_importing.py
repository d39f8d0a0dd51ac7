"""Plans that come from elsewhere: all of them is made, or nothing, with every fault named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.errors import (
    AlreadyExists,
    DependencyCycle,
    IdempotencyMismatch,
    InvalidInput,
    MalformedBody,
)
from planstore.models import Idempotency, PlanStatus, Task, TaskFilter
from planstore.models import TaskStatus as S
from planstore.services import doctor
from tests.history import assert_counts_hold, assert_history_holds, assert_nothing_is_left_to_derive

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore

REAL: Final = Path(__file__).parents[3] / "shared" / "real"
TASKMASTER: Final = REAL / "taskmaster-tasks.json"
WORKFLOWS: Final = sorted(REAL.glob("wfformat/*.json"))


def answer(*tasks: Any, **beside: Any) -> str:
    """What a language model might answer."""
    return json.dumps({"tasks": tasks, **beside})


async def imported(
    store: PlanStore, source: bytes | str, kind: str = "llm", **options: Any
) -> dict[str | None, Task]:
    """Import a plan; answers its tasks by their names."""
    made = await store.import_plan(source, kind, **options)
    assert made.plan is not None
    tasks = await store.list_tasks(TaskFilter(plan_id=[made.plan.id]), limit=1_000)
    return {task.name: task for task in tasks}


async def needs(store: PlanStore, task: Task) -> set[str | None]:
    return {each.name for each in await store.list_dependencies(task.id)}


async def faults(store: PlanStore, source: bytes | str, kind: str = "llm") -> dict[str, str]:
    """Assert that a file is refused, and that nothing is made; answers its faults by place."""
    for is_dry in (True, False):
        with pytest.raises(InvalidInput) as refused:
            await store.import_plan(source, kind, dry_run=is_dry)
    assert [*await store.list_plans()] == []
    return {fault.pointer: fault.detail for fault in refused.value.faults}


async def assert_all_holds(database: Database) -> None:
    await assert_counts_hold(database)
    await assert_history_holds(database)
    await assert_nothing_is_left_to_derive(database)
    assert (await doctor.examine(database)).findings == ()


async def test_what_a_language_model_answers_becomes_a_plan(
    store: PlanStore, database: Database
) -> None:
    tasks = await imported(
        store,
        answer(
            {"id": 2, "name": "Index", "dependencies": ["fetch"], "inputs": {"of": "{{fetch.n}}"}},
            {
                "id": "fetch",
                "name": "Fetch the pages",
                "description": "All of them.",
                "type": "http",
                "timeout_seconds": 60,
                "inputs": ["a", "b"],
                "rationale": "first things first",
            },
            goal="search",
        ),
    )

    fetch, index = tasks["fetch"], tasks["2"]
    assert fetch.description == "Fetch the pages\n\nAll of them."
    assert (fetch.task_type, fetch.timeout_seconds) == ("http", 60)
    assert fetch.input_data == {"inputs": ["a", "b"]}
    assert fetch.metadata == {"title": "Fetch the pages", "rationale": "first things first"}
    assert (fetch.status, index.status) == (S.PENDING, S.BLOCKED)
    (dependency,) = await store.list_dependencies(index.id)
    assert (dependency.name, dependency.type) == ("fetch", "data")
    plan = await store.get_plan(fetch.plan_id)
    assert (plan.status, plan.plan_type, plan.revision) == (PlanStatus.DRAFT, "dag", 2)
    assert plan.metadata == {"goal": "search"}
    await assert_all_holds(database)


@pytest.mark.parametrize(
    "text",
    [
        'Sure!\n\n```json\n{"tasks": [{"id": "a", "name": "A"}]}\n```\nShall I go on?',
        '~~~\n[{"id": "a", "name": "A"}]\n~~~',
        '```sh\nls {}\n```\n```\n{"plan": {"tasks": [{"id": "a", "name": "A"}]}}\n```',
        'The plan: {"tasks": [{"id": "a", "name": "A"}]} - that is all.',
        '\ufeff{"tasks": [{"id": "a", "name": "A"}]}',
    ],
)
async def test_an_answer_is_found_in_the_text_around_it(store: PlanStore, text: str) -> None:
    assert set(await imported(store, text)) == {"a"}


async def test_all_faults_of_an_answer_are_named_at_once(store: PlanStore) -> None:
    source = answer(
        {"id": "a", "name": "A", "dependencies": ["b"]},
        {"id": "b", "name": "B", "dependencies": ["a"]},
        {"id": "boil", "description": "", "dependencies": ["biol", {}]},
        {"id": "a", "name": "A again", "timeout_seconds": -1},
        {"id": "self", "name": "S", "dependencies": ["self"]},
        {"id": [], "name": "L", "type": 5, "inputs": {"deep": deep(70)}},
        "no task",
    )

    found = await faults(store, source)

    assert found.keys() == {
        "/tasks/0",
        "/tasks/2/description",
        "/tasks/2/dependencies/0",
        "/tasks/2/dependencies/1",
        "/tasks/3/id",
        "/tasks/3/timeout_seconds",
        "/tasks/4",
        "/tasks/5/id",
        "/tasks/5/type",
        "/tasks/5/inputs" + "/deep" + "/0" * 63,
        "/tasks/6",
    }
    assert found["/tasks/0"] == "each needs the next: a → b → a"
    assert found["/tasks/4"] == "each needs the next: self → self"
    assert "did you mean 'boil'?" in found["/tasks/2/dependencies/0"]


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else 1


async def test_a_cycle_alone_is_refused_as_one(store: PlanStore) -> None:
    source = answer({"id": "a", "name": "A", "dependencies": ["a"]})

    with pytest.raises(DependencyCycle):
        await store.import_plan(source, "llm")


async def test_what_is_too_wide_or_too_deep_is_a_fault(store: PlanStore) -> None:
    wide = {"id": 1, "title": "W", "subtasks": [{"id": n, "title": "t"} for n in range(10_001)]}
    nested: dict[str, Any] = {"id": 1, "title": "leaf"}
    for _ in range(40):
        nested = {"id": 1, "title": "around", "subtasks": [nested]}

    found = await faults(store, json.dumps({"tasks": [wide]}), "taskmaster")
    assert found == {"/tasks/0": "it needs 10001 tasks; 10000 are allowed"}
    (place,) = await faults(store, json.dumps({"tasks": [nested]}), "taskmaster")
    assert place == "/tasks/0" + "/subtasks/0" * 32


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("{", "llm"),
        ("no JSON at all", "llm"),
        ("{}{}", "planstore"),
        ('{"tasks": [NaN]}', "planstore"),
        (b'{"tasks": ["\xff"]}', "taskmaster"),
        (b"- [ ] \xff", "markdown"),
        (f'{{"tasks": [{"9" * 5_000}]}}', "wfformat"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    store: PlanStore, source: str | bytes, kind: str
) -> None:
    with pytest.raises(MalformedBody):
        await store.import_plan(source, kind)


@pytest.mark.parametrize("kind", ["llm", "taskmaster", "markdown", "wfformat"])
async def test_a_file_without_tasks_is_refused(store: PlanStore, kind: str) -> None:
    assert [*await faults(store, "{}", kind)] == [""]


@pytest.mark.parametrize("source", ['{"tasks": {"workflow": 5}, "workflow": 5}', "[1]", "5", '"x"'])
@pytest.mark.parametrize("kind", ["taskmaster", "wfformat", "planstore"])
async def test_what_has_another_shape_is_refused(store: PlanStore, kind: str, source: str) -> None:
    assert await faults(store, source, kind)


async def test_keys_that_are_named_twice_do_no_harm(store: PlanStore) -> None:
    source = '{"a": 1, "a": {"b": 2, "tasks": [{"id": 1, "title": "T"}]}}'

    tasks = await imported(store, source, "taskmaster")

    assert set(tasks) == {"a/1"}


async def test_a_list_of_task_master_keeps_subtasks_tags_and_statuses(
    store: PlanStore, database: Database
) -> None:
    one = {
        "id": 1,
        "title": "One",
        "description": "First.",
        "details": "in depth",
        "testStrategy": "try it",
        "priority": "high",
        "status": "done",
    }
    two = {
        "id": "2",
        "title": "Two",
        "dependencies": [1],
        "status": "in-progress",
        "subtasks": [
            {"id": 1, "title": "Two, one", "status": "done"},
            {"id": 2, "title": "Two, two", "dependencies": [1], "status": "pending"},
            {"id": 3, "title": "Two, three", "dependencies": ["2.2"], "status": "cancelled"},
            {"id": 4, "title": "Two, four", "status": "deferred"},
        ],
    }

    tasks = await imported(store, json.dumps({"v1.0": {"tasks": [one, two]}}), "taskmaster")

    assert {name: task.status for name, task in tasks.items()} == {
        "v1.0/1": S.COMPLETED,
        "v1.0/2": S.BLOCKED,
        "v1.0/2.1": S.COMPLETED,
        "v1.0/2.2": S.PENDING,
        "v1.0/2.3": S.SKIPPED,
        "v1.0/2.4": S.BLOCKED,
    }
    first = tasks["v1.0/1"]
    assert (first.description, first.priority, first.labels) == ("One\n\nFirst.", 10, ["v1.0"])
    assert first.metadata["details"] == "in depth"
    assert first.metadata["testStrategy"] == "try it"
    assert first.metadata["status"] == "done"
    assert tasks["v1.0/2.4"].status_reason == "held"
    inner = {f"v1.0/2.{n}" for n in (1, 2, 3, 4)}
    assert await needs(store, tasks["v1.0/2"]) == {"v1.0/1", *inner}
    assert await needs(store, tasks["v1.0/2.2"]) == {"v1.0/1", "v1.0/2.1"}
    assert await needs(store, tasks["v1.0/2.3"]) == {"v1.0/1", "v1.0/2.2"}
    assert (await store.get_plan(first.plan_id)).status == PlanStatus.DRAFT
    await assert_all_holds(database)


async def test_an_unknown_word_of_task_master_is_a_fault(store: PlanStore) -> None:
    task = {"id": 1, "title": "T", "status": "doone", "priority": ["high"]}

    found = await faults(store, json.dumps({"tasks": [task]}), "taskmaster")

    assert found.keys() == {"/tasks/0/status", "/tasks/0/priority"}


CHECKLIST: Final = r"""# Trip

Things to do, `- [ ] not` this one.

1. [x] pack
   with care
   - [x] socks
   - [ ] shirts \*ironed\*
2. [ ] go
- [ ] write home

```
- [ ] neither this one
```

## Later

* [X] tell
"""


async def test_a_checklist_becomes_a_plan(store: PlanStore, database: Database) -> None:
    made = await store.import_plan(CHECKLIST, "markdown")

    assert made.plan is not None
    tasks = await store.list_tasks(TaskFilter(plan_id=[made.plan.id]))
    assert [(task.description, task.status) for task in tasks] == [
        ("pack\nwith care", S.COMPLETED),
        ("socks", S.COMPLETED),
        ("shirts *ironed*", S.PENDING),
        ("go", S.PENDING),
        ("write home", S.PENDING),
        ("tell", S.COMPLETED),
    ]
    assert made.plan.metadata == {"title": "Trip"}
    assert tasks[5].metadata == {"headings": ["Trip", "Later"]}
    by_id = {task.id: task.description for task in tasks}
    needed = [
        {by_id[each.task_id] for each in await store.list_dependencies(task.id)} for task in tasks
    ]
    assert needed == [{"socks", "shirts *ironed*"}, set(), set(), {"pack\nwith care"}, set(), set()]
    await assert_all_holds(database)


async def test_the_faults_of_a_checklist_are_named_by_their_lines(store: PlanStore) -> None:
    assert await faults(store, "- [ ] fine\n- [ ]\n", "markdown") == {
        "line 2": "it can't be empty; it is ''"
    }


async def test_a_dry_run_says_what_would_come_of_it_and_makes_nothing(store: PlanStore) -> None:
    made = await store.import_plan(CHECKLIST, "markdown", dry_run=True)

    assert (made.dry_run, made.plan) == (True, None)
    assert (made.tasks, made.dependencies, made.finished) == (6, 3, 3)
    assert [*await store.list_plans()] == []


async def test_a_plan_whose_tasks_are_all_finished_settles_where_it_is_to_be_active(
    store: PlanStore, database: Database
) -> None:
    made = await store.import_plan("- [x] done", "markdown", status=PlanStatus.ACTIVE)

    assert made.plan is not None
    assert made.plan.status == PlanStatus.COMPLETED
    await assert_all_holds(database)


async def test_an_import_is_done_once_under_a_key(store: PlanStore) -> None:
    key = Idempotency("once")

    first = await store.import_plan(CHECKLIST, "markdown", idempotency=key)
    again = await store.import_plan(CHECKLIST.encode(), "markdown", idempotency=key)

    assert again == first
    assert len([*await store.list_plans()]) == 1
    with pytest.raises(IdempotencyMismatch):
        await store.import_plan("- [ ] other", "markdown", idempotency=key)


async def test_where_an_id_is_taken_nothing_is_made(store: PlanStore, database: Database) -> None:
    taken = (await store.import_plan("- [ ] one", "markdown")).plan
    assert taken is not None
    (task,) = await store.list_tasks(TaskFilter(plan_id=[taken.id]))
    file = {"format": "planstore/1", "tasks": [{"id": str(task.id), "description": "two"}]}

    with pytest.raises(AlreadyExists):
        await store.import_plan(json.dumps(file))

    assert [plan.id for plan in await store.list_plans()] == [taken.id]
    await assert_all_holds(database)


@pytest.mark.skipif(not TASKMASTER.exists(), reason="the real file isn't here")
async def test_a_real_list_of_task_master_is_imported(store: PlanStore, database: Database) -> None:
    made = await store.import_plan(TASKMASTER.read_bytes(), "taskmaster")

    tags = json.loads(TASKMASTER.read_text("utf-8"))
    every = [
        each for tag in tags.values() for task in tag["tasks"] for each in (task, *task["subtasks"])
    ]
    assert made.tasks == len(every)
    assert made.finished == sum(each["status"] == "done" for each in every)
    await assert_all_holds(database)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def real_workflow(request: pytest.FixtureRequest) -> bytes:
    return request.param.read_bytes()


async def test_a_real_workflow_is_imported(
    store: PlanStore, database: Database, real_workflow: bytes
) -> None:
    made = await store.import_plan(real_workflow, "wfformat")

    assert made.plan is not None
    workflow = json.loads(real_workflow)["workflow"]["specification"]["tasks"]
    assert made.tasks == len(workflow)
    assert made.dependencies == sum(len(task["parents"]) for task in workflow)
    task = (await store.list_tasks(TaskFilter(plan_id=[made.plan.id]), limit=1))[0]
    assert task.name == workflow[0]["id"]
    assert task.metadata["inputFiles"] == workflow[0]["inputFiles"]
    assert task.metadata["execution"]
    assert set(task.metadata["sizeInBytes"]) <= {
        *workflow[0]["inputFiles"],
        *workflow[0]["outputFiles"],
    }
    async with database.connection() as conn:
        found = await conn.fetchval("select count(*) from planstore.dependencies")
    assert found == made.dependencies


async def test_the_faults_of_a_workflow_are_named(store: PlanStore) -> None:
    tasks = [
        {"id": "a", "name": "a", "parents": [], "children": ["b", "x"]},
        {"id": "b", "name": "b", "parents": ["y"], "children": []},
    ]
    file = {"workflow": {"specification": {"tasks": tasks, "files": [5]}}}

    found = await faults(store, json.dumps(file), "wfformat")

    specified = "/workflow/specification"
    assert found.keys() == {
        f"{specified}/tasks/0/children/1",
        f"{specified}/tasks/1/parents/0",
        f"{specified}/files/0",
    }
