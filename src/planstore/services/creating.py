"""Making plans, with their tasks where they have any: all of it in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models.expansion import expanded
from planstore.services import following
from planstore.services.answers import plan_of
from planstore.services.placing import new_tasks
from planstore.sql import idempotency as keys
from planstore.sql import plans

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.fields import Limits
    from planstore.models.idempotency import RequestKey
    from planstore.models.plan import Plan, PlanCreate
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection


async def create_plan(
    database: Database,
    wakeups: Wakeups,
    plan: PlanCreate,
    *,
    plan_id: UUID,
    key: RequestKey | None,
    limits: Limits,
    template: tuple[str, int] | None = None,
) -> Plan:
    """Make a plan, with its tasks where it has any, and those of its steps if it says so.

    ``template``: the name and the version of that of which it is made.
    """
    if not plan.tasks and not plan.expand:
        async with database.connection() as conn:
            row = await plans.create(conn, plan, plan_id=plan_id, key=key, template=template)
        return plan_of(row)
    drafts = expanded(plan.steps, plan_type=plan.plan_type, limits=limits) if plan.expand else []
    new = new_tasks(plan_id, [*drafts, *plan.tasks])
    async with database.transaction() as conn:
        await plans.create(conn, plan, plan_id=plan_id, key=None, template=template)
        await following.add_tasks(conn, await following.lock(conn, plan_id), new)
        made = await as_it_is_now(conn, plan_id, key=key)
    wakeups.hint()
    return made


async def as_it_is_now(conn: Connection, plan_id: UUID, *, key: RequestKey | None) -> Plan:
    """Return a plan with all that followed from a change, and keep it under the request's key."""
    row = await plans.get(conn, plan_id)
    assert row is not None
    plan = plan_of(row)
    if key is not None:
        await keys.keep(conn, key, plan.model_dump(mode="json"))
    return plan
