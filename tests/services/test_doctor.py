"""The doctor finds nothing in a healthy database, and each kind of damage in a sick one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from planstore.db import Database
from planstore.errors import ResultConflict
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimRequest, Release
from planstore.models.usage import UsageReport
from planstore.services.doctor import examine
from planstore.services.plan_store import PlanStore
from planstore.sql.invariants import INVARIANTS
from tests.arranging import moved, plan_of, set_to, task_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from planstore.models import Plan, Task
    from tests.conftest import Postgres


@dataclass(frozen=True, slots=True)
class Template:
    """A healthy database, to be cloned."""

    name: str
    ids: dict[str, UUID]
    """Of plans and tasks of every kind, by what they are."""


@pytest.fixture(scope="module")
def healthy(postgres: Postgres) -> Iterator[Template]:
    with asyncio.Runner() as runner:
        database = postgres.database()
        url = runner.run(database.__aenter__())
        try:
            ids = runner.run(_filled(url))
            yield Template(urlsplit(url).path[1:], ids)
        finally:
            runner.run(database.__aexit__(None, None, None))


async def _filled(url: str) -> dict[str, UUID]:
    async with PlanStore.open(url, migrate=False) as store:
        made = await _plans_and_tasks(store)
    return {name: each.id for name, each in made.items()}


@pytest.fixture
async def sick_to_be(postgres: Postgres, healthy: Template) -> AsyncIterator[Database]:
    """A clone of the healthy database."""
    async with (
        postgres.database(template=healthy.name) as url,
        Database.open(url) as database,
    ):
        yield database


async def _plans_and_tasks(store: PlanStore) -> dict[str, Plan | Task]:
    plan = await plan_of(store)
    running = await task_of(store, plan, status=S.RUNNING)
    pending = await task_of(store, plan)
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
    graph = await plan_of(store, plan_type="dag")
    needed = await task_of(store, graph, status=S.COMPLETED)
    ready = await task_of(store, graph, depends_on=[needed.id])
    blocked = await task_of(store, graph, depends_on=[ready.id, needed.id])
    held = await task_of(store, graph, status=S.BLOCKED)
    unapproved = await task_of(store, graph, requires_approval=True)
    dead = await task_of(store, graph, depends_on=[{"task": str(needed.id), "when": "failure"}])
    limited = await plan_of(store, plan_type="dag", max_parallel_tasks=2)
    for _ in range(4):
        await task_of(store, limited)
    request = ClaimRequest(worker_id="ada", plan_id=limited.id, limit=2)
    released, claimed = await store.claim_tasks(request)
    release = Release(fencing_token=released.fencing_token, usage=UsageReport(cost_usd=0.5))
    await store.release_task(released.id, release)
    aborted = await plan_of(store, plan_type="dag", on_failure="abort")
    await task_of(store, aborted, status=S.RUNNING)
    await task_of(store, aborted)
    await moved(store, await task_of(store, aborted), S.FAILED)
    going_on = await plan_of(store, plan_type="dag")
    await task_of(store, going_on)
    await task_of(store, going_on, status=S.FAILED)
    unstarted = await plan_of(store, status="draft")
    drafted, later = await task_of(store, unstarted), await task_of(store, unstarted)
    await store.update_task(running.id, TaskUpdate(description="edited"))
    labelled, marked = await _labelled(store)
    await store.update_task(pending.id, TaskUpdate(labels=["red"]))
    return {
        "plan": plan,
        "running": running,
        "pending": pending,
        "settled": settled,
        "failed": failed,
        "closed": closed,
        "skipped": skipped,
        "completed": completed,
        "ready": ready,
        "blocked": blocked,
        "held": held,
        "dead": dead,
        "unapproved": unapproved,
        "limited": limited,
        "claimed": claimed,
        "aborted": aborted,
        "going on": going_on,
        "drafted": drafted,
        "later": later,
        "labelled": labelled,
        "marked": marked,
    }


async def _labelled(store: PlanStore) -> tuple[Plan, Task]:
    filed: dict[str, Any] = {"labels": ["blue"], "metadata": {"customers": [{"id": 7}]}}
    plan = await plan_of(store, **filed)
    task = await task_of(store, plan, **filed)
    await store.index_words()
    return plan, task


PLAN: Final = "update planstore.plans set"
STATE: Final = "update planstore.task_states set"
PLAN_OF_TASK: Final = """
delete from planstore.plans p
where p.id = (select t.plan_id from planstore.tasks t where t.id = $1)
"""
BOTH_ROWS: Final = """
with gone as (delete from planstore.task_states s where s.task_id = $1)
delete from planstore.tasks t where t.id = $1
"""
ATTEMPT: Final = """
insert into planstore.attempts (plan_id, task_id, attempt, began_at, outcome)
select t.plan_id, t.id, {}, now(), 'failed' from planstore.tasks t where t.id = $1
"""
ATTEMPT_OF_NONE: Final = """
insert into planstore.attempts (plan_id, task_id, attempt, began_at, outcome)
values ($1, $1, 1, now(), 'failed')
"""

DAMAGE: Final = [
    ("plan_unknown_value", "plan", f"{PLAN} status = 'asleep' where id = $1"),
    ("plan_unknown_value", "plan", f"{PLAN} on_failure = 'cry' where id = $1"),
    ("plan_unknown_value", "plan", f"{PLAN} pause_reason = 'deadline' where id = $1"),
    ("task_unknown_value", "pending", f"{STATE} status = 'asleep' where task_id = $1"),
    ("task_unknown_value", "held", f"{STATE} status_reason = 'mood' where task_id = $1"),
    ("task_unknown_value", "pending", f"{STATE} keeps_hold = true where task_id = $1"),
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
    ("state_without_task", "pending", "delete from planstore.tasks where id = $1"),
    ("task_copies", "pending", f"{STATE} agent_id = task_id where task_id = $1"),
    ("task_copies", "pending", f"{STATE} task_type = 'x' where task_id = $1"),
    ("task_copies", "pending", f"{STATE} created_at = now() where task_id = $1"),
    ("plan_without_words", "plan", "delete from planstore.plan_words where plan_id = $1"),
    ("plan_marks", "labelled", "delete from planstore.plan_marks where plan_id = $1"),
    ("plan_marks", "labelled", f"{PLAN} labels = '{{green}}' where id = $1"),
    ("plan_marks", "labelled", f"{PLAN} metadata = '{{}}' where id = $1"),
    ("task_marks", "marked", "delete from planstore.task_marks where task_id = $1"),
    ("task_marks", "marked", "update planstore.tasks set labels = '{green}' where id = $1"),
    ("task_marks", "marked", BOTH_ROWS),
    ("task_without_plan", "completed", PLAN_OF_TASK),
    ("task_dependencies", "blocked", f"{STATE} needs = 3 where task_id = $1"),
    ("task_dependencies", "blocked", f"{STATE} unmet = 2 where task_id = $1"),
    ("task_dependencies", "ready", "delete from planstore.dependencies where task_id = $1"),
    ("task_dependencies", "blocked", f"{STATE} status = 'pending' where task_id = $1"),
    ("task_dependencies", "held", f"{STATE} status_reason = 'dependencies' where task_id = $1"),
    ("task_dependencies", "held", f"{STATE} status_reason = null where task_id = $1"),
    ("task_dependencies", "unapproved", f"{STATE} requires_approval = false where task_id = $1"),
    ("task_dependencies", "unapproved", f"{STATE} approval = '{{}}' where task_id = $1"),
    (
        "task_dependencies",
        "unapproved",
        f"{STATE} status_reason = 'dependencies' where task_id = $1",
    ),
    ("task_dependencies", "pending", f"{STATE} requires_approval = true where task_id = $1"),
    (
        "dependency_without_task",
        "ready",
        "update planstore.dependencies set needs_id = gen_random_uuid() where task_id = $1",
    ),
    ("task_readiness", "ready", f"{STATE} due_at = null, ready_at = null where task_id = $1"),
    ("task_readiness", "ready", f"{STATE} ready_at = null where task_id = $1"),
    ("task_readiness", "drafted", f"{STATE} ready_at = due_at where task_id = $1"),
    ("task_readiness", "later", f"{STATE} due_at = now() where task_id = $1"),
    ("task_readiness", "ready", f"{STATE} ready_at = 'infinity' where task_id = $1"),
    ("task_readiness", "running", f"{STATE} ready_at = now() where task_id = $1"),
    ("plan_places", "limited", f"{PLAN} max_parallel_tasks = 1 where id = $1"),
    ("plan_places", "limited", f"{PLAN} max_parallel_tasks = 3 where id = $1"),
    (
        "dependency_dead",
        "blocked",
        "update planstore.dependencies set condition = 'failure' where task_id = $1",
    ),
    (
        "dependency_dead",
        "dead",
        "update planstore.dependencies set condition = 'ended' where task_id = $1",
    ),
    ("plan_aborting", "aborted", f"{PLAN} is_aborting = false where id = $1"),
    ("plan_aborting", "aborted", f"{PLAN} on_failure = 'skip', is_aborting = false where id = $1"),
    ("plan_aborting", "plan", f"{PLAN} is_aborting = true where id = $1"),
    (
        "plan_aborting",
        "going on",
        f"{PLAN} on_failure = 'abort', is_aborting = true where id = $1",
    ),
    ("claim_tokens", "claimed", f"{STATE} fencing_token = 1000 where task_id = $1"),
    ("claim_lease", "claimed", f"{STATE} lease_expires_at = null where task_id = $1"),
    ("claim_lease", "claimed", f"{STATE} lease_seconds = null where task_id = $1"),
    ("claim_lease", "claimed", f"{STATE} worker_id = null where task_id = $1"),
    ("claim_lease", "claimed", f"{STATE} times_out_at = now() where task_id = $1"),
    ("claim_lease", "running", f"{STATE} lease_seconds = 60 where task_id = $1"),
    ("task_attempts", "claimed", f"{STATE} attempt = 0 where task_id = $1"),
    ("task_attempts", "claimed", f"{STATE} free_attempts = 2 where task_id = $1"),
    ("task_attempts", "claimed", ATTEMPT.format(1)),
    ("task_attempts", "pending", ATTEMPT.format(1)),
    ("task_attempts", "plan", ATTEMPT_OF_NONE),
    ("plan_usage", "limited", f"""{PLAN} usage = '{{"cost_usd":2}}' where id = $1"""),
    ("plan_usage", "limited", f"{PLAN} usage = null where id = $1"),
    ("plan_usage", "limited", "delete from planstore.usage where plan_id = $1"),
    ("plan_usage", "plan", f"""{PLAN} usage = '{{"cost_usd":2}}' where id = $1"""),
    ("change_without_event", "plan", f"{PLAN} version = version + 1 where id = $1"),
    ("change_without_event", "running", f"{STATE} version = version + 1 where task_id = $1"),
    ("change_without_event", "pending", "delete from planstore.events where aggregate_id = $1"),
    ("event_without_change", "plan", f"{PLAN} version = version - 1 where id = $1"),
    ("event_without_change", "running", f"{STATE} version = version - 1 where task_id = $1"),
    ("event_without_change", "pending", BOTH_ROWS),
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


async def test_nothing_is_found_in_a_healthy_database(sick_to_be: Database) -> None:
    assert (await examine(sick_to_be)).findings == ()


async def test_nothing_is_found_in_an_empty_database(database: Database) -> None:
    assert (await examine(database)).findings == ()


@pytest.mark.parametrize(("rule", "name", "damage"), DAMAGE)
async def test_each_kind_of_damage_is_found(
    healthy: Template, sick_to_be: Database, rule: str, name: str, damage: str
) -> None:
    sick = healthy.ids[name]
    async with sick_to_be.connection() as conn:
        await conn.execute(damage, sick)

    findings = {finding.rule: finding for finding in (await examine(sick_to_be)).findings}

    assert findings[rule].count == 1
    assert findings[rule].examples == (sick,)
    assert findings[rule].sentence.endswith(".")


async def test_a_fencing_token_of_two_tasks_is_found(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, plan_type="dag")
    tasks = [await task_of(store, plan) for _ in range(3)]
    first, second, _ = await store.claim_tasks(ClaimRequest(worker_id="ada", limit=3))
    async with database.connection() as conn:
        await conn.execute(
            f"{STATE} fencing_token = $2 where task_id = $1", first.id, second.fencing_token
        )

    (finding,) = (await examine(database)).findings

    assert (finding.rule, finding.count) == ("claim_tokens", 2)
    assert finding.examples == tuple(sorted(task.id for task in tasks[:2]))


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
