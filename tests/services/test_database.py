"""The way to PostgreSQL: what is said of it, and what comes of waiting too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.db import Database, describe
from planstore.errors import Unavailable
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskBatch, TaskCreate, TaskDraft, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.idempotency import Idempotency
from planstore.services.plan_store import PlanStore
from tests.arranging import plan_of, task_of
from tests.refusals import refused
from tests.rivals import behind_plan

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from planstore.models import Plan, Task

MARKS: Final = [
    *("/", "?", "#", "@", ":", "&", "=", "%40", "://", "?@", "@?", "/@", "#?", "@/"),
    *("?password=", "@host?", "[", "]", " ", ","),
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://US3R:S3CR{}3TS@db.example:5432/plans",
        "postgresql://US3R:S3CR{}3TS@db.example/plans?sslmode=require",
        "postgresql://US3R:S3CR{}3TS@one:5432,two:5433/plans",
        "postgresql://US3R:S3CR{}3TS@/plans?host=/run/postgresql",
        "postgresql://US3R:S3CR{}3TS@db.example",
        "postgresql://US3R:{}S3CR3TS{}@db.example/plans",
        "postgresql://US{}3R:S3CR3TS@db.example/plans",
        "postgresql://US{}3R@db.example/plans",
        "postgresql://db.example/plans?user=US3R&password=S3CR{}3TS",
        "postgresql://db.example/plans?password=S3CR{}3TS&user=US3R&sslmode=require",
        "postgresql:///plans?password=S3CR{}3TS&user=US{}3R",
        "postgresql://US3R@db.example/plans?password=S3CR{}3TS",
        "postgres://US3R:S3CR{}3TS@db.example/plans",
    ],
)
def test_no_part_of_a_user_or_a_password_is_shown(url: str, mark: str) -> None:
    shown = describe(url.replace("{}", mark))

    assert shown
    for part in ("US", "3R", "S3CR", "3TS", "password"):
        assert part not in shown, shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://someone:secret@db.example:5432/plans", "db.example:5432/plans"),
        ("postgresql://db.example/plans?sslmode=require", "db.example/plans"),
        ("postgresql://someone:sec/r#t@one:1,two:2/plans", "one:1,two:2/plans"),
        ("postgresql:///plans?host=/run/postgresql", "a local socket/plans"),
        ("postgresql://someone:sec?ret@db.example/plans", "the given URL"),
    ],
)
def test_a_database_is_named_by_its_place(url: str, shown: str) -> None:
    assert describe(url) == shown


def writes(
    store: PlanStore, plan: Plan, task: Task, key: Idempotency | None
) -> dict[str, Coroutine[Any, Any, Any]]:
    """Each write that has to wait for the plan."""
    add = TaskCreate(plan_id=plan.id, description="do it")
    batch = TaskBatch(plan_id=plan.id, tasks=[TaskDraft(description="do it")] * 2)
    close, start = PlanUpdate(status=P.CANCELLED), TaskUpdate(status=S.RUNNING)
    return {
        "update_plan": store.update_plan(plan.id, close, idempotency=key),
        "create_task": store.create_task(add, idempotency=key),
        "create_tasks": store.create_tasks(batch, idempotency=key),
        "update_task": store.update_task(task.id, start, idempotency=key),
    }


@pytest.mark.parametrize("key", [None, Idempotency("a-key")], ids=["once", "with a key"])
@pytest.mark.parametrize("name", ["update_plan", "create_task", "create_tasks", "update_task"])
async def test_what_waits_too_long_for_a_row_is_told_to_come_again(
    database: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    key: Idempotency | None,
) -> None:
    monkeypatch.setattr("planstore.db._WAITING", {"lock_timeout": "50ms"})
    async with PlanStore.open(database_url, migrate=False, pool_size=1) as store:
        plan = await plan_of(store)
        task = await task_of(store, plan)
        acts = writes(store, plan, task, key)
        act = acts.pop(name)
        for other in acts.values():
            other.close()

        async with behind_plan(database_url, plan.id), refused(database, Unavailable) as error:
            await act

        assert "has held what this needs for 50ms; nothing was changed" in str(error.value)
        # The connection is as good as it was, and nothing is left under the key.
        acts = writes(store, plan, task, key)
        act = acts.pop(name)
        for other in acts.values():
            other.close()
        assert await act


async def test_the_disk_is_asked_for_many_pages_at_once(database: Database) -> None:
    async with database.connection() as conn:
        assert await conn.fetchval("show effective_io_concurrency") == "64"


async def test_how_the_disk_is_asked_is_left_to_an_operator(database_url: str) -> None:
    own = f"{database_url}&options=-c%20effective_io_concurrency%3D7"
    async with Database.open(own) as database, database.connection() as conn:
        assert await conn.fetchval("show effective_io_concurrency") == "7"


async def test_who_asks_a_store_that_was_closed_is_told_so(database_url: str) -> None:
    async with PlanStore.open(database_url, migrate=False) as store:
        pass
    with pytest.raises(Unavailable, match="open the store anew"):
        await store.list_plans()
