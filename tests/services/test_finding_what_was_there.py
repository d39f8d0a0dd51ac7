"""Plans and tasks that are older than finding are found too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

from planstore import migrations
from planstore.db import Database
from planstore.models import PlanFilter, TaskFilter, TaskStatus
from planstore.services.doctor import examine
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from tests.conftest import Postgres

_PLAN: Final = "11111111-0000-4000-8000-000000000000"
_TASK: Final = "22222222-0000-4000-8000-000000000000"

_WRITTEN_BEFORE: Final = f"""
insert into planstore.plans
  (id, plan_type, status, auto_complete, current_step, created_at, last_order, task_count,
  unfinished_tasks, live_tasks, offered_tasks, gate_order, gate_unfinished, steps, metadata)
values (
  '{_PLAN}', 'sequential', 'active', true, 0, '2026-01-01Z', 1, 1, 1, 1, 1, 1, 1,
  '[{{"action": "paint", "n": 7}}]', '{{"customer": 7}}'
);
insert into planstore.tasks (plan_id, id, description, sequence_order, created_at, metadata)
values ('{_PLAN}', '{_TASK}', 'paint the door', 1, '2026-01-02Z', '{{"customer": 8}}');
insert into planstore.task_states (plan_id, task_id, status, due_at, ready_at)
values ('{_PLAN}', '{_TASK}', 'pending', now(), now());
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
values
  ('plan.created', 'plan', '{_PLAN}', '{_PLAN}', 1, '{{"status": "active"}}', '{{}}'),
  ('task.created', 'task', '{_TASK}', '{_PLAN}', 1, '{{"status": "pending"}}', '{{}}');
"""


async def test_what_an_earlier_version_wrote_is_found(postgres: Postgres) -> None:
    async with postgres.database(template="template0") as url:
        conn = await asyncpg.connect(url)
        await conn.execute(_as_of(2))
        await conn.execute(_WRITTEN_BEFORE)
        await conn.close()

        async with PlanStore.open(url) as store, Database.open(url) as database:
            (plan,) = await store.list_plans(PlanFilter(words="paint", metadata=[{"customer": 7}]))
            for _ in ("due", "indexed"):
                for found in (
                    TaskFilter(words="door"),
                    TaskFilter(status=[TaskStatus.PENDING]),
                    TaskFilter(metadata=[{"customer": 8}]),
                ):
                    (task,) = await store.list_tasks(found)
                    assert (str(task.id), task.labels) == (_TASK, [])
                await store.index_words()
            assert (str(plan.id), plan.labels, plan.template) == (_PLAN, [], None)
            assert (await examine(database)).findings == ()


def _as_of(version: int) -> str:
    """The script that makes the schema of a version."""
    later = next(each for each in migrations.known() if each.version == version + 1)
    before, _, _ = migrations.script().partition(f"begin;\n{later.sql.strip()}")
    return before
