"""The statements about evaluations of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.evaluation import Evaluation
from planstore.sql.fragments import TASK_COMPLETED, TASK_FAILED, columns

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from planstore.models.evaluation import EvaluationCreate
    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Connection, Row

_EVALUATION: Final = columns(Evaluation.model_fields, of="e")

_CREATE: Final = f"""
with task as materialized (
  select
    t.plan_id, t.id, t.task_type, t.agent_id, p.plan_type, p.template, p.revision,
    s.status, s.version, s.attempt,
    s.status in ({TASK_COMPLETED}, {TASK_FAILED}) as has_ended
  from planstore.tasks t
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  join planstore.plans p on p.id = t.plan_id
  where t.id = $1
  -- Neither deleted nor begun anew meanwhile.
  for no key update of s
),
created as (
  insert into planstore.evaluations as e
    (plan_id, task_id, id, evaluation_type, score, metrics, feedback, agent_id, attempt)
  select o.plan_id, o.id, $2, $3, $4, $5, $6, $7, o.attempt
  from task o
  where o.has_ended
  returning {_EVALUATION}
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.evaluated', 'task', o.id, o.plan_id, o.version, row_to_json(e),
    json_build_object(
      'revision', o.revision, 'task_type', o.task_type, 'agent_id', o.agent_id,
      'plan_type', o.plan_type, 'template', o.template,
      'evaluation_type', e.evaluation_type, 'score', e.score
    )
  from task o
  join created e on e.task_id = o.id
),
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select $8::text, $9::text, $10::bytea, row_to_json(e)
  from created e
  where $8 is not null
)
select o.status, o.has_ended, {_EVALUATION}
from task o
left join created e on true
"""


async def create(
    conn: Connection,
    task_id: UUID,
    evaluation: EvaluationCreate,
    *,
    evaluation_id: UUID,
    key: RequestKey | None,
) -> Row | None:
    """Keep how a task was judged; answers it, or None where there is no such task.

    ``has_ended``: whether the task is completed or failed; nothing is kept where it isn't, but has
    another ``status``.
    """
    return await conn.fetchrow(
        _CREATE,
        task_id,
        evaluation_id,
        evaluation.evaluation_type,
        evaluation.score,
        evaluation.metrics,
        evaluation.feedback,
        evaluation.agent_id,
        *(key.row if key else (None, None, None)),
    )


_OF_TASK: Final = f"""
select t.id as of_task, {_EVALUATION}
from planstore.tasks t
left join lateral (
  select e.*
  from planstore.evaluations e
  where e.plan_id = t.plan_id
    and e.task_id = t.id
    and (e.created_at, e.id) > ($2, $3)
  order by e.created_at, e.id
  limit $4
  offset $5
) e on true
where t.id = $1
"""


async def of_task(
    conn: Connection, task_id: UUID, *, after: tuple[datetime, UUID], limit: int, offset: int
) -> list[Row] | None:
    """Return evaluations of a task, the oldest first; None where there is no such task."""
    rows = await conn.fetch(_OF_TASK, task_id, *after, limit, offset)
    return [row for row in rows if row["id"] is not None] if rows else None
