"""Plans that come from elsewhere and go there, by each door."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest

from planstore.errors import InvalidInput, NotFound
from planstore.models import ExportFormat, Idempotency, ImportFormat, PlanStatus, TaskStatus
from tests.arranging import plan_of

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore

TEA: Final = "# Tëa\n\n1. [x] boil\n2. [ ] pour\n"


@pytest.mark.parametrize("kind", [str, bytes, io.BytesIO])
async def test_a_plan_comes_from_a_text_bytes_or_a_file(
    store: PlanStore, kind: type[str | bytes | io.BytesIO]
) -> None:
    file = io.BytesIO(b"read already" + TEA.encode())
    file.seek(len("read already"))
    given = {str: TEA, bytes: TEA.encode(), io.BytesIO: file}[kind]
    made = await store.import_plan(given, ImportFormat.MARKDOWN, status=PlanStatus.ACTIVE)
    assert made.plan is not None
    assert (made.plan.status, made.tasks, made.finished) == (PlanStatus.ACTIVE, 2, 1)
    boil, pour = await store.list_tasks(plan_id=made.plan.id)
    assert (boil.status, pour.status) == (TaskStatus.COMPLETED, TaskStatus.PENDING)


async def test_what_would_come_of_it_is_said_and_nothing_made(store: PlanStore) -> None:
    would = await store.import_plan(TEA, "markdown", dry_run=True)
    assert (would.dry_run, would.plan, would.tasks, would.dependencies) == (True, None, 2, 1)
    with pytest.raises(InvalidInput):
        await store.import_plan("", "markdown")


async def test_a_key_of_the_callers_makes_one_plan(store: PlanStore) -> None:
    key = Idempotency(f"import-{uuid4()}")
    made = await store.import_plan(TEA, "markdown", idempotency=key)
    assert await store.import_plan(TEA, "markdown", idempotency=key) == made


async def test_a_plan_goes_out_as_a_file_and_comes_in_again(
    store: PlanStore, library: PlanStore
) -> None:
    plan = await plan_of(store, metadata={"of": "tëa"}, tasks=[{"description": "boil"}])
    for kind in ExportFormat:
        with (
            await store.export_plan(plan.id, kind) as file,
            await library.export_plan(plan.id, kind) as same,
        ):
            assert file.read() == same.read()
    with await store.export_plan(plan.id) as file:
        made = await store.import_plan(file)
    assert made.plan is not None
    assert (made.plan.metadata, made.tasks) == (plan.metadata, 1)
    await store.delete_plan(plan.id, force=True)
    with pytest.raises(NotFound):
        await store.export_plan(plan.id)
