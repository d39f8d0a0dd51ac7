"""Templates: their versions, the plans that are made of them, and what became of these.

A version is never changed. So it is read and checked before anything is locked, and whoever makes
the next one begins anew where another was quicker.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import Fault, InvalidInput
from planstore.models.page import (
    PLACE_AMONG_REVISIONS,
    PLACE_AMONG_TEMPLATES,
    Page,
    decode_cursor,
    encode_cursor,
)
from planstore.models.task import MAX_BATCH
from planstore.models.template import (
    TEMPLATE_NAME,
    Instantiation,
    SaveAsTemplate,
    Template,
    TemplateCreate,
    TemplateRecord,
    TemplateSummary,
    TemplateVersionCreate,
)
from planstore.models.templating import blamed, check, kept, made
from planstore.services import creating, refusals
from planstore.sql import idempotency as keys
from planstore.sql import plans, structure, templates

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.fields import Limits
    from planstore.models.idempotency import RequestKey
    from planstore.models.plan import Plan
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, Row

PLANS_LOOKED_AT: Final = 1_000
"""How many plans of a version its record is drawn from: the newest."""

_TASKS_LOOKED_AT: Final = 20_000
"""How many tasks of these: a record is to be read in a moment."""

_NAMES: Final = 10_000
"""How many names are looked through for the nearest one."""

_LATER_THAN_ANY: Final = 2**31 - 1
_NAME: Final = re.compile(TEMPLATE_NAME)


class Templating:
    """What a process is asked to do with templates."""

    def __init__(self, database: Database, wakeups: Wakeups, limits: Limits) -> None:
        self._database = database
        self._wakeups = wakeups
        self._limits = limits

    async def create(self, draft: TemplateCreate, *, key: RequestKey | None) -> Template:
        """Make a template."""
        await self._check(draft.parameters, draft.plan)
        async with self._database.transaction() as conn:
            await templates.create(
                conn,
                draft.name,
                description=draft.description,
                parameters=draft.parameters,
                plan=draft.plan,
            )
            return await _as_it_is_now(conn, draft.name, key=key)

    async def save(
        self, plan_id: UUID, request: SaveAsTemplate, *, key: RequestKey | None
    ) -> Template:
        """Make a template of the structure of a plan."""
        async with self._database.moment() as conn:
            plan = await plans.get(conn, plan_id)
            if plan is None:
                raise refusals.no_plan(plan_id)
            tasks = await templates.structure(conn, plan_id, limit=MAX_BATCH + 1)
            edges = await structure.edges(conn, plan_id)
        if len(tasks) > MAX_BATCH:
            why = f"plan {plan_id} has more than {MAX_BATCH} tasks, which a template can't have"
            raise InvalidInput(why, faults=(Fault("", why),))
        content = await asyncio.to_thread(
            kept, dict(plan), [*map(dict, tasks)], [*map(tuple, edges)]
        )
        draft = TemplateCreate.model_construct(
            name=request.name, description=request.description, parameters={}, plan=content
        )
        return await self.create(draft, key=key)

    async def add_version(
        self,
        name: str,
        draft: TemplateVersionCreate,
        *,
        expected_version: int | None,
        key: RequestKey | None,
    ) -> Template:
        """Make a new version of a template."""
        while True:
            async with self._database.connection() as conn:
                before = await _version(conn, name)
            latest = before["version"]
            if expected_version is not None and expected_version != latest:
                raise refusals.template_mismatch(name, latest=latest, expected=expected_version)
            if before["archived_at"] is not None:
                raise refusals.template_archived(name, wish="make a version")
            given = {each: getattr(draft, each) for each in draft.model_fields_set}
            content = {each: before[each] for each in ("description", "parameters", "plan")} | given
            await self._check(content["parameters"], content["plan"])
            async with self._database.transaction() as conn:
                if await templates.add_version(conn, name, after=latest, **content):
                    return await _as_it_is_now(conn, name, key=key)

    async def _check(self, parameters: dict[str, Any], plan: dict[str, Any]) -> None:
        # It may take a second, in which others are served.
        await asyncio.to_thread(check, parameters, plan, limits=self._limits)

    async def archive(self, name: str, *, is_archived: bool, key: RequestKey | None) -> Template:
        """Have a template be archived, or be so no more."""
        async with self._database.transaction() as conn:
            await _version(conn, name)
            await templates.archive(conn, name, is_archived=is_archived)
            return await _as_it_is_now(conn, name, key=key)

    async def get(self, name: str, *, version: int | None) -> Template:
        """Return a version of a template."""
        async with self._database.moment() as conn:
            return await _whole(conn, await _version(conn, name, version))

    async def instantiate(
        self, name: str, request: Instantiation, *, plan_id: UUID, key: RequestKey | None
    ) -> Plan:
        """Make a plan of a template."""
        async with self._database.connection() as conn:
            row = await _version(conn, name, request.version)
        if row["archived_at"] is not None:
            raise refusals.template_archived(name, wish="make a plan")
        draft = await asyncio.to_thread(
            made, row["parameters"], row["plan"], request, limits=self._limits
        )
        try:
            return await creating.create_plan(
                self._database,
                self._wakeups,
                draft,
                plan_id=plan_id,
                key=key,
                limits=self._limits,
                template=(name, row["version"]),
            )
        except InvalidInput as error:
            raise type(error)(error.detail, faults=blamed(error.faults, row["plan"])) from error


async def list_templates(
    database: Database, *, archived: bool, limit: int, offset: int, cursor: str | None
) -> Page[TemplateSummary]:
    """Return the latest version of each template, by name."""
    after = "" if cursor is None else decode_cursor(cursor, PLACE_AMONG_TEMPLATES)[0]
    async with database.connection() as conn:
        rows = await templates.latest(
            conn, after=after, archived=archived, limit=limit + 1, offset=offset
        )
    page = Page(_summary(row) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = encode_cursor((page[-1].name,))
    return page


async def list_versions(
    database: Database, name: str, *, limit: int, offset: int, cursor: str | None
) -> Page[TemplateSummary]:
    """Return the versions of a template, newest first."""
    before = _LATER_THAN_ANY if cursor is None else decode_cursor(cursor, PLACE_AMONG_REVISIONS)[0]
    async with database.moment() as conn:
        await _version(conn, name)
        rows = await templates.versions(conn, name, before=before, limit=limit + 1, offset=offset)
    page = Page(_summary(row) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = encode_cursor((page[-1].version,))
    return page


async def _version(conn: Connection, name: str, version: int | None = None) -> Row:
    """Return a version of a template, the latest one where none is named.

    Raises:
        NotFound: there is no such template, or it has no such version.
    """
    row = await templates.get(conn, name, version) if _NAME.fullmatch(name) else None
    if row is None:
        raise refusals.no_template(name, await templates.names(conn, limit=_NAMES))
    if row["version"] is None:
        assert version is not None
        raise refusals.no_version(name, version, latest=row["latest_version"])
    return row


async def _as_it_is_now(conn: Connection, name: str, *, key: RequestKey | None) -> Template:
    """Return the latest version of a template, and keep it under the request's key."""
    template = await _whole(conn, await _version(conn, name))
    if key is not None:
        await keys.keep(conn, key, template.model_dump(mode="json"))
    return template


async def _whole(conn: Connection, row: Row) -> Template:
    found = await templates.record(
        conn, row["name"], row["version"], plans=PLANS_LOOKED_AT, tasks=_TASKS_LOOKED_AT
    )
    record = TemplateRecord.model_validate(dict(found))
    fields = {name: row[name] for name in Template.model_fields if name != "record"}
    return Template.model_validate({**fields, "record": record})


def _summary(row: Row) -> TemplateSummary:
    return TemplateSummary.model_validate(dict(row))
