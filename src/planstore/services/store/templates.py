"""The methods of `PlanStore` about templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from planstore.models.idempotency import NOTHING
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.plan import Plan
from planstore.models.template import Instantiation, Template
from planstore.services import templates
from planstore.services.store.core import Core

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.idempotency import Idempotency
    from planstore.models.page import Page
    from planstore.models.template import (
        SaveAsTemplate,
        TemplateCreate,
        TemplateSummary,
        TemplateVersionCreate,
    )


class Templates(Core):
    """The methods of `PlanStore` about templates."""

    async def create_template(
        self, template: TemplateCreate, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Make a template, at version 1.

        Raises:
            AlreadyExists: there is a template of that name.
            InvalidInput: its parameters are no JSON Schema, or its plan is none, as far as that is
                known before it is filled in; all faults are named.
        """
        key = idempotency and idempotency.of("create_template", template)
        return await self._writes.do(
            lambda: self._templating.create(template, key=key),
            key=key,
            replay=Template.model_validate,
        )

    async def save_plan_as_template(
        self, plan_id: UUID, request: SaveAsTemplate, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Keep the structure of a plan as a template: what it and its tasks are, none of the work.

        Tasks without a name that others need are given one; `goal_id` and `not_before` are left
        out, as being of that plan alone.

        Raises:
            NotFound: there is no such plan.
            AlreadyExists: there is a template of that name.
            InvalidInput: it has more than 10,000 tasks, or what a template can't have.
        """
        key = idempotency and idempotency.of(f"save_plan_as_template {plan_id}", request)
        return await self._writes.do(
            lambda: self._templating.save(plan_id, request, key=key),
            key=key,
            replay=Template.model_validate,
        )

    async def add_template_version(
        self,
        name: str,
        version: TemplateVersionCreate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Template:
        """Make a new version of a template; what is left out is as in the version before.

        Raises:
            NotFound: there is no such template.
            TemplateArchived: it is archived.
            VersionMismatch: its latest version isn't ``expected_version``.
            InvalidInput: as for `create_template`.
        """
        key = idempotency and idempotency.of(f"add_template_version {name}", version)
        return await self._writes.do(
            lambda: self._templating.add_version(
                name, version, expected_version=expected_version, key=key
            ),
            key=key,
            replay=Template.model_validate,
        )

    async def get_template(self, name: str, *, version: int | None = None) -> Template:
        """Return a version of a template with its record, the latest one if none is named.

        The record is of the newest 1,000 plans of that version, and of fewer where these have more
        than 20,000 tasks.

        Raises:
            NotFound: there is no such template, or it has no such version.
        """
        return await self._templating.get(name, version=version)

    async def list_templates(
        self,
        *,
        archived: bool = False,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[TemplateSummary]:
        """Return the latest version of each template, by name, without plans and records.

        ``archived``: archived templates too. ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        return await templates.list_templates(
            self._database, archived=archived, limit=limit, offset=offset, cursor=cursor
        )

    async def list_template_versions(
        self,
        name: str,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[TemplateSummary]:
        """Return the versions of a template, newest first, without plans and records.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            NotFound: there is no such template.
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        return await templates.list_versions(
            self._database, name, limit=limit, offset=offset, cursor=cursor
        )

    async def archive_template(
        self, name: str, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Have no more plans and versions be made of a template; lists leave it out.

        Raises:
            NotFound: there is no such template.
        """
        return await self._archive("archive_template", name, idempotency, is_archived=True)

    async def restore_template(
        self, name: str, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Have plans and versions be made of an archived template again.

        Raises:
            NotFound: there is no such template.
        """
        return await self._archive("restore_template", name, idempotency, is_archived=False)

    async def _archive(
        self, verb: str, name: str, idempotency: Idempotency | None, *, is_archived: bool
    ) -> Template:
        key = idempotency and idempotency.of(f"{verb} {name}", NOTHING)
        return await self._writes.do(
            lambda: self._templating.archive(name, is_archived=is_archived, key=key),
            key=key,
            replay=Template.model_validate,
        )

    async def instantiate_template(
        self,
        name: str,
        request: Instantiation | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> Plan:
        """Make a plan of a template, with its tasks, in one transaction.

        Raises:
            NotFound: there is no such template, or it has no such version.
            TemplateArchived: it is archived.
            AlreadyExists: the id is taken.
            InvalidInput: the parameters don't fit, or the plan doesn't that they make; all faults
                are named.
            DependencyCycle: tasks would wait for each other.
        """
        request = request or Instantiation()
        key = idempotency and idempotency.of(f"instantiate_template {name}", request)
        plan_id = request.id or uuid7()
        return await self._writes.do(
            lambda: self._templating.instantiate(name, request, plan_id=plan_id, key=key),
            key=key,
            replay=Plan.model_validate,
        )
