"""The statements about templates: one typed function is one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.plan import PlanStatus
from planstore.models.templating import OF_TASK
from planstore.sql.fragments import PLAN_COMPLETED, PLAN_FAILED, TASK_COMPLETED
from planstore.sql.tasks.columns import OF_STATE, TASKS

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_SUMMARY: Final = "v.name, v.version, v.description, v.parameters, v.created_at, t.archived_at"
_VERSION: Final = f"{_SUMMARY}, v.plan"

_CREATE: Final = """
with created as (
  insert into planstore.templates (name)
  values ($1)
  returning name, latest_version
)
insert into planstore.template_versions (name, version, description, parameters, plan)
select c.name, c.latest_version, $2, $3, $4
from created c
"""


async def create(
    conn: Connection,
    name: str,
    *,
    description: str | None,
    parameters: dict[str, Any],
    plan: dict[str, Any],
) -> None:
    """Make a template, at version 1."""
    await conn.execute(_CREATE, name, description, parameters, plan)


_ADD_VERSION: Final = """
with moved as (
  update planstore.templates t
  set latest_version = t.latest_version + 1
  where t.name = $1
    and t.latest_version = $2
    and t.archived_at is null
  returning t.name, t.latest_version
),
versioned as (
  insert into planstore.template_versions (name, version, description, parameters, plan)
  select m.name, m.latest_version, $3, $4, $5
  from moved m
  returning version
)
select v.version from versioned v
"""


async def add_version(
    conn: Connection,
    name: str,
    *,
    after: int,
    description: str | None,
    parameters: dict[str, Any],
    plan: dict[str, Any],
) -> int | None:
    """Make the version that follows ``after``.

    None, and nothing changed, where that isn't the latest one any more, or the template is
    archived.
    """
    return await conn.fetchval(_ADD_VERSION, name, after, description, parameters, plan)


_GET: Final = f"""
select t.latest_version, {_VERSION}
from planstore.templates t
left join planstore.template_versions v
  on v.name = t.name
  and v.version = coalesce($2::integer, t.latest_version)
where t.name = $1
"""


async def get(conn: Connection, name: str, version: int | None) -> Row | None:
    """Return a version of a template, the latest one where none is named, with ``latest_version``.

    Its ``version`` is null where the template has no such version; None: there is no template.
    """
    return await conn.fetchrow(_GET, name, version)


_LATEST: Final = f"""
select {_SUMMARY}
from planstore.templates t
join planstore.template_versions v on v.name = t.name and v.version = t.latest_version
where t.name > $1
  and (t.archived_at is null or $2)
order by t.name
limit $3
offset $4
"""


async def latest(
    conn: Connection, *, after: str, archived: bool, limit: int, offset: int
) -> list[Row]:
    """Return the latest version of each template by name, without its plan.

    ``archived``: of those that are archived too.
    """
    return await conn.fetch(_LATEST, after, archived, limit, offset)


_VERSIONS: Final = f"""
select {_SUMMARY}
from planstore.template_versions v
join planstore.templates t on t.name = v.name
where v.name = $1
  and v.version < $2
order by v.version desc
limit $3
offset $4
"""


async def versions(
    conn: Connection, name: str, *, before: int, limit: int, offset: int
) -> list[Row]:
    """Return the versions of a template, newest first, without their plans."""
    return await conn.fetch(_VERSIONS, name, before, limit, offset)


_NAMES: Final = """
select t.name
from planstore.templates t
order by t.name
limit $1
"""


async def names(conn: Connection, *, limit: int) -> list[str]:
    """Return what templates are called."""
    return [row["name"] for row in await conn.fetch(_NAMES, limit)]


_ARCHIVE: Final = """
update planstore.templates t
set archived_at = case when $2 then coalesce(t.archived_at, now()) end
where t.name = $1
"""


async def archive(conn: Connection, name: str, *, is_archived: bool) -> None:
    """Have a template be archived, or be so no more."""
    await conn.execute(_ARCHIVE, name, is_archived)


_SHOWN: Final = 200
"""How many characters of a description stand for the name of a task."""

# The parameters: $1 and $2 the version, $3 how many plans are looked at, $4 how many tasks of
# them, beside those of the newest plan.
_RECORD: Final = f"""
with newest as materialized (
  select p.id, p.status, p.task_count, p.created_at
  from planstore.plans p
  where p.template = $1
    and p.template_version = $2
    and p.template_version is not null
  order by p.template desc, p.template_version desc, p.created_at desc, p.id desc
  limit $3 + 1
),
placed as materialized (
  select
    n.*,
    row_number() over (order by n.created_at desc, n.id desc) as nth,
    sum(n.task_count) over (order by n.created_at desc, n.id desc) - n.task_count as tasks_before
  from newest n
),
looked_at as materialized (
  select p.id, p.status
  from placed p
  where p.nth <= $3
    and p.tasks_before <= $4
),
run as materialized (
  select
    l.id, l.status as plan_status, s.task_id, s.attempt - s.free_attempts as attempts, s.status,
    s.began_at, s.ended_at
  from looked_at l
  join planstore.task_states s on s.plan_id = l.id
),
lasted as (
  select extract(epoch from max(r.ended_at) - min(r.began_at))::double precision as seconds
  from run r
  where r.plan_status = {PLAN_COMPLETED}
  group by r.id
),
slowest as (
  select
    coalesce(t.name, left(t.description, {_SHOWN})) as task,
    percentile_cont(0.5) within group (
      order by extract(epoch from r.ended_at - r.began_at)::double precision
    ) as duration_p50_seconds,
    count(*) as runs
  from run r
  -- By the id alone: going through the plan for each of its tasks would take their square.
  join planstore.tasks t on t.id = r.task_id and (t.plan_id = r.id) is true
  where r.status = {TASK_COMPLETED}
    and r.ended_at is not null
  group by 1
  order by 2 desc, 1
  limit 1
)
select
  p.runs,
  p.runs = (select count(*) from newest) as is_whole,
  p.completed, p.failed, p.cancelled,
  p.completed / nullif(p.completed + p.failed + p.cancelled, 0)::double precision as success_rate,
  d.p50 as duration_p50_seconds,
  d.p95 as duration_p95_seconds,
  (select coalesce(sum(r.attempts - 1) filter (where r.attempts > 1), 0) from run r)::bigint
    as retries,
  (select row_to_json(s) from slowest s) as slowest_task
from (
  select
    count(*) as runs,
    count(*) filter (where l.status = {PLAN_COMPLETED}) as completed,
    count(*) filter (where l.status = {PLAN_FAILED}) as failed,
    count(*) filter (where l.status = '{PlanStatus.CANCELLED.value}') as cancelled
  from looked_at l
) p
cross join (
  select
    percentile_cont(0.5) within group (order by l.seconds) as p50,
    percentile_cont(0.95) within group (order by l.seconds) as p95
  from lasted l
) d
"""


async def record(conn: Connection, name: str, version: int, *, plans: int, tasks: int) -> Row:
    """Return what became of the plans that were made of a version.

    ``plans``: how many are looked at, the newest. ``tasks``: how many of theirs, in about: the
    plan with which they would be more is the last.
    """
    row = await conn.fetchrow(_RECORD, name, version, plans, tasks)
    assert row is not None
    return row


_TASK: Final = ", ".join(f"{'s' if name in OF_STATE else 't'}.{name}" for name in ("id", *OF_TASK))
_STRUCTURE: Final = f"""
select {_TASK}
from {TASKS}
where t.plan_id = $1
order by t.sequence_order, t.created_at, t.id
limit $2
"""


async def structure(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return what the tasks of a plan are, in their order, as far as a template keeps it."""
    return await conn.fetch(_STRUCTURE, plan_id, limit)
