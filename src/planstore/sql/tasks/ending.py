"""Ending runs, any number of them, of any plans: completed, failed, released, expired, skipped.

A run's end is what happens most, so what follows from it is counted in place: those who need the
task have one dependency less that isn't satisfied, and where it was the last of its order in a
sequential plan, the next one has its turn. That costs in proportion to who is concerned, never to
the plan's size. What can't be told that way (`wide`) is derived anew, by
`planstore.sql.derivation`, in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from planstore.models.retry import RetryPolicy
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import (
    FOLLOWED,
    PLAN_RECORDED,
)
from planstore.sql.fragments import (
    IS_CLOSED,
    IS_PATIENT,
    IS_UNMET,
    ONCE,
    TASK_BLOCKED,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_PENDING,
    TASK_RUNNING,
    TASK_SKIPPED,
    columns,
    compared,
    event_of,
    is_dead,
    names_of,
    one_of,
    rows_of,
    run_of,
    satisfies,
)
from planstore.sql.tasks.columns import OF_STATE, TASK
from planstore.sql.tasks.opening import PLANS_LOCKED, UNBLOCKED, UNBLOCKED_EVENTS, WEIGHED, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.models.lifecycle import Transition
    from planstore.models.task import TaskStatus
    from planstore.sql.connection import Connection, Row


class End(StrEnum):
    """How a run ends."""

    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    SKIP = "skip"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Ending:
    """That a task's run ends, or that the task does without one."""

    task_id: UUID
    verb: End
    token: int | None = None
    """The claim's fencing token; None by hand."""
    output_data: Any = None
    error: Any = None
    usage: Any = None
    """What is reported with it; recorded by `planstore.services.spending`."""
    is_retryable: bool = True
    retry_in: float | None = None
    """Seconds until the next run; by the retry policy if None."""
    is_override: bool = False
    """Whether it ends a claim without its token, as an operator does."""
    started_at: datetime | None = None
    """As the client says; what is stored if None."""
    completed_at: datetime | None = None
    """As the client says; now if None."""
    version: int | None = None
    """Which the task must be at."""
    key: RequestKey | None = None
    """Under which the answer is kept."""

    @property
    def is_completion(self) -> bool:
        """Whether its holder completes it."""
        return self.verb == End.COMPLETE and self.token is not None

    @property
    def row(self) -> tuple[Any, ...]:
        """What is given of it, in the order of the parameters."""
        return (
            *(self.task_id, self.verb, self.token, self.output_data, self.error, self.usage),
            *(self.is_retryable, self.retry_in, self.is_override, self.started_at),
            *(self.completed_at, self.version, *(self.key.row if self.key else (None, None, None))),
        )


def _by_verb(verb: str, said: Callable[[Transition[TaskStatus]], str], *, otherwise: str) -> str:
    """An expression for what is said of the transition that ``verb`` names."""
    rows = " ".join(
        f"when '{each.verb}' then {said(each)}"
        for each in TASK_LIFECYCLE.transitions
        if each.verb in set(End)
    )
    return f"case {verb} {rows} else {otherwise} end"


_IS_ALLOWED: Final = _by_verb(
    "t.verb", lambda each: f"t.status in {one_of(each.sources)}", otherwise="true"
)
_IS_DONE: Final = _by_verb(
    "t.verb", lambda each: f"t.status = '{each.target.value}'", otherwise="false"
)

_GIVEN: Final = (
    ("task_id", "uuid"),
    ("verb", "text"),
    ("token", "bigint"),
    ("output_given", "json"),
    ("error_given", "json"),
    ("usage_given", "json"),
    ("is_retryable", "boolean"),
    ("retry_in", "double precision"),
    ("is_override", "boolean"),
    ("started", "timestamptz"),
    ("completed", "timestamptz"),
    ("expected_version", "bigint"),
    ("scope", "text"),
    ("key", "text"),
    ("fingerprint", "bytea"),
)

_LOCKED: Final = f"${len(_GIVEN) + 1}::boolean"
_DERIVED_AFTER: Final = f"${len(_GIVEN) + 2}::boolean"
_WHOLE: Final = f"${len(_GIVEN) + 3}::boolean"
_WRITTEN_LATER: Final = f"${len(_GIVEN) + 4}::boolean"

_POLICY: Final = RetryPolicy()

_OUTCOME: Final = f"""case t.verb
      when '{End.FAIL}' then 'failed'
      when '{End.RELEASE}' then 'released'
      when '{End.SKIP}' then 'skipped'
      when '{End.EXPIRE}' then case when t.is_timed_out then 'timed_out' else 'lease_ended' end
    end"""

_SHOWN: Final = (
    ("status", "text"),
    ("status_reason", "text"),
    ("started_at", "timestamptz"),
    ("completed_at", "timestamptz"),
    ("output_data", "json"),
    ("error", "json"),
    ("worker_id", "text"),
    ("progress", "double precision"),
    ("progress_note", "text"),
    ("needs_review", "boolean"),
)
"""What clients see of a run's end."""

# The parameters: the arrays of `_GIVEN`, whether the plans are locked already, and whether all
# that follows is derived afterwards, whether the tasks are wanted whole, and whether the commit
# need not wait for the disk.
_END: Final = f"""
with given as materialized (
  select *
  from {rows_of(_GIVEN, first=1)} with ordinality as g ({names_of(_GIVEN)}, position)
),
placed as materialized (
  select g.*, t.plan_id, t.sequence_order, t.retry_policy, t.side_effects = {ONCE} as is_once
  from given g
  join planstore.tasks t on t.id = g.task_id
),
{PLANS_LOCKED},
task as materialized (
  select
    q.*,
    s.status, s.status_reason, s.version, s.unmet, s.not_before, s.attempt, s.free_attempts,
    s.worker_id, s.fencing_token, s.began_at, s.started_at, s.completed_at,
    s.progress, s.progress_note, s.needs_review, s.output_data, s.error,
    s.task_type, s.agent_id, s.was_ready_at,
    s.due_at is not null as was_due,
    s.ready_at is not null or s.status = {TASK_RUNNING} as was_offered,
    s.status = {TASK_RUNNING} as was_running,
    s.lease_expires_at is not null as is_claimed,
    s.lease_expires_at <= now() as is_overdue,
    coalesce(s.times_out_at <= now(), false) as is_timed_out,
    s.status = {TASK_RUNNING} and s.fencing_token = q.token as is_holder,
    plan.is_closed, plan.on_failure
  from placed q
  join plan on plan.id = q.plan_id
  join planstore.task_states s on s.plan_id = q.plan_id and s.task_id = q.task_id
  order by q.task_id
  for no key update of s
),
judged as materialized (
  select
    t.*, {_OUTCOME} as outcome,
    v.verdict,
    -- A flag of its own, for of a comparison PostgreSQL expects that next to nothing passes.
    v.verdict = 'moved' as is_moved,
    v.verdict in ('stale_claim', 'conflict') as is_late
  from task t
  cross join lateral (select case
      when t.expected_version <> t.version then 'mismatch'
      when t.verb = '{End.EXPIRE}'
        then case when t.is_holder and t.is_overdue then 'moved' else 'same' end
      when t.is_holder then 'moved'
      when t.token is not null and not (
        t.fencing_token is not distinct from t.token and t.status = {TASK_COMPLETED}
      ) then
        case
          -- A repetition of what has taken effect already.
          when (
            select true from planstore.attempts a
            where a.plan_id = t.plan_id and a.task_id = t.task_id
              and a.fencing_token = t.token
              and a.outcome = {_OUTCOME}
          ) then 'same'
          else 'stale_claim'
        end
      when t.verb <> '{End.SKIP}' and t.is_claimed and not t.is_override then 'claimed'
      when t.verb = '{End.COMPLETE}' and t.status = {TASK_COMPLETED}
        and t.output_given is not null
        and t.output_given::jsonb is distinct from t.output_data::jsonb then 'conflict'
      when {_IS_DONE} then 'same'
      when t.token is not null then 'stale_claim'
      when not ({_IS_ALLOWED}) then 'refused'
      else 'moved'
    end as verdict
  ) v
),
moving as materialized (
  select
    j.*,
    j.verb = '{End.COMPLETE}' or j.verb = '{End.SKIP}' or r.is_dropped as is_finishing,
    r.is_failing,
    not (j.verb = '{End.COMPLETE}' or j.verb = '{End.SKIP}' or r.is_dropped or r.is_failing)
      as is_returning,
    case
      when j.verb = '{End.COMPLETE}' then {TASK_COMPLETED}
      when j.verb = '{End.SKIP}' or r.is_dropped then {TASK_SKIPPED}
      when r.is_failing then {TASK_FAILED}
      else {TASK_PENDING}
    end as aim,
    case when r.is_dropped then {IS_CLOSED} end as aim_reason,
    case
      when j.verb = '{End.RELEASE}' then 0
      else coalesce(
        j.retry_in,
        case when j.verb = '{End.EXPIRE}' and not j.is_timed_out then 0 else r.backoff end
      )
    end as delay
  from judged j
  join seen on seen.id = j.plan_id
  cross join lateral (
    select
      coalesce(j.retry_policy, seen.retry_policy) as policy,
      j.attempt - j.free_attempts as runs,
      j.verb in ('{End.FAIL}', '{End.EXPIRE}') as is_failure
  ) f
  cross join lateral (
    select
      f.is_failure and (
        not j.is_retryable or not j.was_running or j.is_closed
        or j.verb = '{End.EXPIRE}' and j.is_once
        or f.runs > coalesce((f.policy ->> 'max_retries')::int, {_POLICY.max_retries})
      ) as is_failing,
      -- A closed plan takes what its tasks still report, but starts nothing again.
      j.is_closed and j.verb = '{End.RELEASE}' as is_dropped,
      case when f.is_failure then
        least(
          coalesce((f.policy ->> 'max_delay_sec')::float8, {_POLICY.max_delay_sec}),
          coalesce((f.policy ->> 'initial_delay_sec')::float8, {_POLICY.initial_delay_sec})
            * power(
              coalesce((f.policy ->> 'backoff_multiplier')::float8, {_POLICY.backoff_multiplier}),
              least(greatest(f.runs - 1, 0), 60)
            )
        ) * (1 - random() / 2)
      end as backoff
  ) r
  where j.is_moved
),
loosened as materialized (  -- who needs them, with how many dependencies more are satisfied
  select
    d.plan_id, d.task_id,
    sum(a.is_satisfied::int - b.is_satisfied::int)::int as satisfied,
    bool_or(a.is_dead or b.is_dead) as is_wide
  from moving m
  join planstore.dependencies d on d.plan_id = m.plan_id and d.needs_id = m.task_id
  cross join lateral (
    select
      {satisfies("d.condition", status="m.aim", reason="m.aim_reason")} as is_satisfied,
      {is_dead("d.condition", status="m.aim", reason="m.aim_reason", on_failure="m.on_failure")}
        as is_dead
  ) a
  cross join lateral (
    select
      {satisfies("d.condition", status="m.status", reason="m.status_reason")} as is_satisfied,
      {
    is_dead("d.condition", status="m.status", reason="m.status_reason", on_failure="m.on_failure")
} as is_dead
  ) b
  where not {_DERIVED_AFTER}
    and not m.is_returning
  group by d.plan_id, d.task_id
  union all
  -- What it needs was taken back while it ran, and may never come again.
  select m.plan_id, m.task_id, 0, true
  from moving m
  where not {_DERIVED_AFTER}
    and m.is_returning
    and m.unmet > 0
),
tallied as materialized (
  select
    m.plan_id as id,
    count(*) filter (where m.is_finishing) as finished,
    count(*) filter (where m.is_finishing and m.sequence_order = plan.gate_order)
      as finished_at_gate,
    bool_or(m.is_failing or m.status = {TASK_FAILED}) as is_failure
  from moving m
  join plan on plan.id = m.plan_id
  group by m.plan_id
),
{opened(locked=_LOCKED, derived_after=_DERIVED_AFTER)},
landing as materialized (  -- where those who move come to stand
  select
    m.*, l.unmet as new_unmet, l.due_at, l.retry_at,
    case when g.is_offering then l.due_at end as ready_at,
    f.failure,
    l.status as new_status,
    case when l.status = {TASK_BLOCKED} then {IS_UNMET} else m.aim_reason end as new_status_reason,
    case when not m.is_returning then coalesce(m.started, m.started_at) end as new_started_at,
    case when not m.is_returning then coalesce(m.completed, now()) end as new_completed_at,
    case when m.output_given is null then m.output_data else m.output_given end as new_output_data,
    case
      when m.verb = '{End.COMPLETE}' then null
      when f.failure is null then m.error
      else f.failure
    end as new_error,
    -- Whoever gave it back has no part in it, though a closed plan skips it then.
    case when not m.is_returning and m.aim_reason is null then m.worker_id end as new_worker_id,
    case when not m.is_returning then m.progress end as new_progress,
    case when not m.is_returning then m.progress_note end as new_progress_note,
    m.is_failing and m.is_once and m.verb = '{End.EXPIRE}'
      or m.needs_review and not m.is_finishing as new_needs_review
  from moving m
  join weighable w on w.id = m.plan_id and w.is_done
  left join gated g on g.id = m.plan_id
  left join loosened o on o.plan_id = m.plan_id and o.task_id = m.task_id
  cross join lateral (select m.unmet - coalesce(o.satisfied, 0) as unmet) u
  cross join lateral (
    select case when m.is_returning then now() + make_interval(secs => m.delay) end as retry_at
  ) r
  cross join lateral (
    select
      u.unmet,
      r.retry_at,
      case when m.is_returning and u.unmet > 0 then {TASK_BLOCKED} else m.aim end as status,
      case
        when m.is_returning and u.unmet = 0
          and (g.id is null or not g.is_sequential or m.sequence_order <= g.gate_order)
          then greatest(r.retry_at, m.not_before)
      end as due_at
  ) l
  cross join lateral (
    select
      case m.outcome
        when 'lease_ended' then json_build_object(
          'code', m.outcome, 'message', format('worker %s did not renew its lease', m.worker_id)
        )
        when 'timed_out' then json_build_object(
          'code', m.outcome, 'message', 'the run took longer than its timeout_seconds'
        )
        when 'failed' then m.error_given
      end as failure
  ) f
),
moved as (
  update planstore.task_states s
  set
    {", ".join(f"{name} = n.new_{name}" for name, _ in _SHOWN)},
    version = s.version + 1,
    updated_at = now(),
    unmet = n.new_unmet,
    due_at = n.due_at,
    retry_at = n.retry_at,
    ready_at = n.ready_at,
    free_attempts = s.free_attempts + (n.verb = '{End.RELEASE}')::int,
    -- The holder may say again that it has completed the task.
    fencing_token = case
      when n.verb = '{End.COMPLETE}' and not n.is_override then s.fencing_token
    end,
    lease_expires_at = null,
    lease_seconds = null,
    times_out_at = null,
    -- Of the run by which the task completed; any other is among the attempts.
    began_at = case when n.verb = '{End.COMPLETE}' then s.began_at end,
    ended_at = case when n.verb = '{End.COMPLETE}' then now() end
  from landing n
  where s.plan_id = n.plan_id
    and s.task_id = n.task_id
  returning s.plan_id, s.task_id, {columns(OF_STATE, of="s")}
),
tried as (
  insert into planstore.attempts
    (plan_id, task_id, attempt, worker_id, fencing_token, began_at, outcome, error)
  select
    n.plan_id, n.task_id, n.attempt, n.worker_id, n.fencing_token, coalesce(n.began_at, now()),
    n.outcome, n.failure
  from landing n
  where n.was_running
    and n.outcome is not null
),
weighed as materialized (
  select
    {WEIGHED},
    g.live_tasks + d.live + coalesce(o.due, 0) as live_tasks,
    g.offered_tasks + d.offered + coalesce(o.ready, 0) as offered_tasks
  from gated g
  join (
    select
      n.plan_id,
      sum(
        (n.due_at is not null)::int
        - (n.was_running or n.was_due or coalesce(n.status_reason in {IS_PATIENT}, false))::int
      ) as live,
      sum((n.ready_at is not null)::int - n.was_offered::int) as offered
    from landing n
    group by n.plan_id
  ) d on d.plan_id = g.id
  left join newly_due o on o.plan_id = g.id
),
{FOLLOWED},
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select e.event_type, 'task', e.task_id, e.plan_id, e.version, e.payload, e.metadata
  from (
    select
      n.position as place,
      case
        when n.outcome in ('failed', 'lease_ended', 'timed_out') and n.is_returning
          then 'task.requeued'
        when n.verb = '{End.RELEASE}' and n.new_status = {TASK_PENDING} then 'task.released'
        else {event_of(TASK_LIFECYCLE, "n.status", "n.new_status", by_service=True)}
      end as event_type,
      n.task_id, n.plan_id, n.version + 1 as version,
      case
        -- What happens most, said without comparing each field.
        when n.is_holder and n.verb = '{End.COMPLETE}' and n.error is null and n.started is null
          and n.output_data is null then
          case
            when n.output_given is null then json_build_object(
              'status', n.new_status, 'completed_at', n.new_completed_at
            )
            else json_build_object(
              'status', n.new_status, 'completed_at', n.new_completed_at,
              'output_data', n.output_given
            )
          end
        else (
          select json_object_agg(f.field, f.value) filter (where f.is_changed)
          from (
            values
              {compared(_SHOWN, new="n.new_", old="n.")}
          ) f (field, value, is_changed)
        )
      end as payload,
      row_to_json(r) as metadata
    from landing n
    join plan on plan.id = n.plan_id
    cross join lateral (
      select plan.revision, n.status as was, n.outcome, {run_of("n", plan="plan")}
    ) r
    union all
    {UNBLOCKED_EVENTS}
    union all
    -- A late answer is kept, though it isn't taken.
    select
      j.position, 'task.result_refused', j.task_id, j.plan_id, j.version, '{{}}',
      json_build_object(
        'revision', plan.revision, 'reason', j.verdict, 'refused', r.sent
      )
    from judged j
    join plan on plan.id = j.plan_id
    cross join lateral (
      select json_object_agg(f.field, f.value) filter (where f.value is not null) as sent
      from (
        values
          ('verb', to_json(j.verb)),
          ('fencing_token', to_json(j.token)),
          ('output_data', j.output_given),
          ('error', j.error_given),
          ('usage', j.usage_given)
      ) f (field, value)
    ) r
    where j.is_late
      -- A repetition under its key isn't late: it is answered as the first request was.
      and (
        select true from planstore.idempotency_keys k where k.scope = j.scope and k.key = j.key
      ) is null
  ) e
  order by e.place, e.task_id
  returning seq
),
{PLAN_RECORDED},
answer as materialized (  -- whole, where one task is to be answered
  select {TASK}
  from given g
  join moved s on s.task_id = g.task_id
  join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
  where {_WHOLE}
),
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select g.scope, g.key, g.fingerprint, row_to_json(a)
  from given g
  join answer a on a.id = g.task_id
  where g.scope is not null
)
select
  g.task_id,
  t.plan_id,
  case when j.is_moved then w.verdict else coalesce(j.verdict, 'missing') end as verdict,
  coalesce(n.new_status, j.status) as status,
  j.status as status_before,
  j.status_reason as reason_before,
  j.worker_id as worker_before,
  coalesce(w.is_limited, false) as is_limited,
  coalesce(n.new_status = {TASK_PENDING}, false) as is_returned,
  case when g.position = 1 then
    {UNBLOCKED}
  end as unblocked,
  j.version as version_before,
  case when g.position = 1 and {_WRITTEN_LATER} then
    set_config('synchronous_commit', 'off', true)
  end as is_written_later,
  (select row_to_json(o) from answer o where o.id = g.task_id) as task
from given g
left join placed t on t.position = g.position
left join judged j on j.position = g.position
left join weighable w on w.id = j.plan_id
left join landing n on n.position = g.position
order by g.position
"""


async def end(
    conn: Connection,
    endings: Sequence[Ending],
    *,
    is_locked: bool = False,
    is_derived_after: bool = False,
    is_whole: bool = False,
    is_written_later: bool = False,
) -> list[Row]:
    """End runs; answers each, in the given order, with ``verdict`` and the new ``status``.

    ``is_locked``: the plans were locked before, in the same transaction. ``is_derived_after``: so
    they were, and all that follows for them is derived after it.

    ``is_whole``: the task is answered as ``task`` too; its key is kept then. ``is_written_later``:
    the commit doesn't wait for the disk, and the caller sees to a later one (or `flush`) before
    anything is acknowledged.

    ``changed``: done. ``same``: it was so already (of a lease: it isn't over). ``stale``: nothing
    was done for the plan; call again with it locked before. ``wide``: nothing was done for it,
    since what follows takes more than counting. Refusals, by which nothing changed:
    ``stale_claim`` (the claim has ended; what was sent is kept as an event), ``claimed`` (by
    ``worker_before``), ``conflict`` (it has completed with another output), ``refused``
    (``status_before`` doesn't allow it), ``mismatch`` (it is at ``version_before``), ``missing``.

    ``is_limited``: the plan has as many tasks at work as it may have, so that the next ones are to
    be offered. ``unblocked``, of the first row: all tasks whose turn has come.
    """
    return await conn.fetch(
        _END,
        *zip(*(each.row for each in endings), strict=True),
        is_locked,
        is_derived_after,
        is_whole,
        is_written_later,
    )


_FLUSH: Final = "select pg_logical_emit_message(true, 'planstore', '')"


async def flush(conn: Connection) -> None:
    """Have all that was committed before on the disk, once this returns."""
    await conn.execute(_FLUSH)
