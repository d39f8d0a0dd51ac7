"""Templates by each door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import NotFound, TemplateArchived, VersionMismatch
from planstore.models import PlanStatus
from planstore.models.template import (
    Instantiation,
    SaveAsTemplate,
    Template,
    TemplateCreate,
    TemplateSummary,
    TemplateVersionCreate,
)

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore

CONTENT: Final[dict[str, Any]] = {
    "parameters": {"properties": {"of": {"type": "string"}, "n": {"type": "integer"}}},
    "plan": {"tasks": [{"name": "cook", "description": "Cook {{params.of}}"}]},
}


async def template_of(store: PlanStore) -> Template:
    fields = {"name": f"{uuid4()}", **CONTENT}
    return await store.create_template(TemplateCreate.model_validate(fields))


def brief(template: Template) -> TemplateSummary:
    return TemplateSummary.model_validate(template.model_dump(exclude={"plan", "record"}))


async def test_a_template_has_versions(store: PlanStore, library: PlanStore) -> None:
    first = await template_of(store)
    assert first == await library.get_template(first.name)
    change = TemplateVersionCreate(description="newer")
    second = await store.add_template_version(first.name, change, expected_version=1)
    assert (second.version, second.description, second.plan) == (2, "newer", first.plan)
    with pytest.raises(VersionMismatch):
        await store.add_template_version(first.name, change, expected_version=1)
    cleared = TemplateVersionCreate(description=None)
    third = await store.add_template_version(first.name, cleared)
    assert third.description is None
    assert await store.get_template(first.name, version=1) == first
    page = await store.list_template_versions(first.name, limit=2)
    assert [*page] == [brief(third), brief(second)]
    page = await store.list_template_versions(first.name, limit=2, cursor=page.next_cursor)
    assert [*page] == [brief(first)]


async def test_a_plan_is_made_of_a_template_and_becomes_one(
    store: PlanStore, library: PlanStore
) -> None:
    template = await template_of(store)
    request = Instantiation(params={"of": "soup", "n": 2**60}, status=PlanStatus.ACTIVE)
    plan = await store.instantiate_template(template.name, request)
    assert plan == await library.get_plan(plan.id)
    assert (plan.status, plan.template) == (PlanStatus.ACTIVE, template.name)
    (task,) = await store.list_tasks(plan_id=plan.id)
    assert task.description == "Cook soup"
    request = SaveAsTemplate(name=f"{uuid4()}", description="saved")
    saved = await store.save_plan_as_template(plan.id, request)
    assert saved == await library.get_template(saved.name)
    assert (await store.instantiate_template(saved.name)).template == saved.name


async def test_a_template_is_archived_and_restored(store: PlanStore) -> None:
    template = await template_of(store)
    archived = await store.archive_template(template.name)
    assert archived.archived_at is not None
    with pytest.raises(TemplateArchived):
        await store.instantiate_template(template.name, Instantiation(params={"of": "soup"}))
    assert brief(archived) not in await store.list_templates(limit=1_000)
    assert brief(archived) in await store.list_templates(archived=True, limit=1_000)
    assert await store.restore_template(template.name) == template


async def test_a_name_may_be_anything_where_it_is_looked_for(store: PlanStore) -> None:
    for name in ("ü?x=1#y", "%2e", "a b"):
        with pytest.raises(NotFound, match="there is no template"):
            await store.get_template(name)
