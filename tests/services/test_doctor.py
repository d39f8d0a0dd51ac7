"""The doctor finds nothing in a healthy database, and each kind of damage in a sick one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from planstore.errors import ResultConflict
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.services.doctor import examine
from planstore.sql.invariants import INVARIANTS
from tests.arranging import moved, plan_of, set_to, task_of

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore


@pytest.fixture
async def healthy(store: PlanStore) -> dict[str, Plan | Task]:
    """Plans and tasks of every kind, by what they are."""
    sick_to_be = await plan_of(store)
    running = await task_of(store, sick_to_be, status=S.RUNNING)
    pending = await task_of(store, sick_to_be)
    settled, failed = await plan_of(store), await plan_of(store)
    completed = await task_of(store, settled)
    await moved(store, completed, S.COMPLETED, output_data={"n": 1})
    with pytest.raises(ResultConflict):
        await moved(store, completed, S.COMPLETED, output_data={"n": 2})
    await task_of(store, failed, status=S.FAILED)
    closed = await plan_of(store)
    skipped = await task_of(store, closed)
    await task_of(store, closed, status=S.RUNNING)
    await set_to(store, closed, P.CANCELLED)
    reopened = await plan_of(store, plan_type="dag")
    await task_of(store, reopened, status=S.FAILED)
    await set_to(store, reopened, P.ACTIVE)
    by_hand = await plan_of(store, auto_complete=False)
    await task_of(store, by_hand, status=S.COMPLETED, sequence_order=0)
    added_in_vain = await plan_of(store)
    await task_of(store, added_in_vain, status=S.FAILED)
    await task_of(store, added_in_vain)
    parallel = await plan_of(store, plan_type="parallel", status="draft")
    for _ in range(3):
        await task_of(store, parallel)
    await store.update_plan(parallel.id, PlanUpdate(plan_type="sequential"))
    await store.update_task(running.id, TaskUpdate(description="edited"))
    return {
        "plan": sick_to_be,
        "running": running,
        "pending": pending,
        "settled": settled,
        "failed": failed,
        "closed": closed,
        "skipped": skipped,
        "completed": completed,
    }


PLAN: Final = "update planstore.plans set"
STATE: Final = "update planstore.task_states set"

DAMAGE: Final = [
    ("plan_counts", "plan", f"{PLAN} task_count = task_count + 1 where id = $1"),
    ("plan_counts", "plan", f"{PLAN} unfinished_tasks = 1 where id = $1"),
    ("plan_counts", "plan", f"{PLAN} live_tasks = 2 where id = $1"),
    ("plan_counts", "plan", f"{PLAN} gate_order = 2 where id = $1"),
    ("plan_counts", "plan", f"{PLAN} gate_unfinished = 2 where id = $1"),
    ("plan_counts", "plan", f"{PLAN} last_order = 1 where id = $1"),
    ("plan_unsettled", "settled", f"{PLAN} status = 'active' where id = $1"),
    ("plan_missettled", "plan", f"{PLAN} status = 'failed' where id = $1"),
    ("plan_missettled", "settled", f"{PLAN} status = 'failed' where id = $1"),
    ("plan_missettled", "failed", f"{PLAN} status = 'completed' where id = $1"),
    ("plan_misclosed", "plan", f"{PLAN} closed_at = now() where id = $1"),
    ("plan_misclosed", "closed", f"{PLAN} closed_at = null where id = $1"),
    ("task_open_in_closed_plan", "skipped", f"{STATE} status = 'pending' where task_id = $1"),
    ("task_open_in_closed_plan", "skipped", f"{STATE} status = 'blocked' where task_id = $1"),
    ("task_without_state", "pending", "delete from planstore.task_states where task_id = $1"),
    ("change_without_event", "plan", f"{PLAN} version = version + 1 where id = $1"),
    ("change_without_event", "running", f"{STATE} version = version + 1 where task_id = $1"),
    ("change_without_event", "pending", "delete from planstore.events where aggregate_id = $1"),
    ("event_without_change", "plan", f"{PLAN} version = version - 1 where id = $1"),
    ("event_without_change", "running", f"{STATE} version = version - 1 where task_id = $1"),
    ("event_without_change", "pending", "delete from planstore.tasks where id = $1"),
    (
        "event_versions",
        "running",
        "delete from planstore.events where aggregate_id = $1 and version = 2",
    ),
    (
        "event_versions",
        "running",
        "update planstore.events set version = 2 where aggregate_id = $1 and version = 3",
    ),
    ("event_status", "running", f"{STATE} status = 'blocked' where task_id = $1"),
    ("event_status", "plan", f"{PLAN} status = 'draft' where id = $1"),
]
"""What breaks a rule, and of what."""


@pytest.mark.usefixtures("healthy")
async def test_nothing_is_found_in_a_healthy_database(database: Database) -> None:
    assert (await examine(database)).findings == ()


async def test_nothing_is_found_in_an_empty_database(database: Database) -> None:
    assert (await examine(database)).findings == ()


@pytest.mark.parametrize(("rule", "name", "damage"), DAMAGE)
async def test_each_kind_of_damage_is_found(
    healthy: dict[str, Plan | Task], database: Database, rule: str, name: str, damage: str
) -> None:
    sick = healthy[name].id
    async with database.connection() as conn:
        await conn.execute(damage, sick)

    findings = {finding.rule: finding for finding in (await examine(database)).findings}

    assert findings[rule].count == 1
    assert findings[rule].examples == (sick,)
    assert findings[rule].sentence.endswith(".")


def test_every_rule_is_shown_to_find_something() -> None:
    assert {rule for rule, _, _ in DAMAGE} == {invariant.rule for invariant in INVARIANTS}


async def test_all_are_counted_and_the_first_five_named(
    store: PlanStore, database: Database
) -> None:
    plans = sorted([(await plan_of(store)).id for _ in range(7)])
    async with database.connection() as conn:
        await conn.execute(f"{PLAN} version = 9")

    (finding,) = (await examine(database)).findings

    assert (finding.count, finding.examples) == (7, tuple(plans[:5]))
