"""The methods of `PlanStore` by which whole plans come in and go out."""

from __future__ import annotations

import asyncio
import hashlib
import io
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Final, Literal

from planstore.models.intake import ExportFormat, Imported, ImportFormat, ImportOrder
from planstore.services import exporting
from planstore.services.answers import plan_of
from planstore.services.intake import making, reading
from planstore.services.store.core import Core
from planstore.sql import idempotency as keys
from planstore.sql import plans

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.idempotency import Idempotency
    from planstore.models.plan import PlanStatus
    from planstore.services.intake.gathering import Gathered

PATIENCE: Final = timedelta(minutes=10)
"""How long an import may take that has an idempotency key."""


class Porting(Core):
    """The methods of `PlanStore` by which whole plans come in and go out."""

    async def import_plan(
        self,
        source: IO[bytes] | bytes | str,
        format: ImportFormat | str = ImportFormat.PLANSTORE,  # noqa: A002 - as the query calls it
        *,
        dry_run: bool = False,
        status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] | None = None,
        idempotency: Idempotency | None = None,
    ) -> Imported:
        """Make a plan of a file that came from elsewhere: all of it, or nothing.

        ``source``: its bytes or its text, or a file in binary mode, which is read from where it
        stands and isn't closed. ``dry_run``: say what would come of it. ``status``: what the plan
        is to be, `draft` or `active`; as its file says if left out, which only PlanStore's own
        JSON does, and else a draft.

        What a task of the file is called, and what it needs, is kept in memory while it is read;
        all else lies on disk.

        Raises:
            MalformedBody: it isn't JSON, or not text.
            InvalidInput: it has faults: up to 1,000 of them are named at once.
            DependencyCycle: all of these are that tasks would wait for each other.
            AlreadyExists: an id that the file gives is taken.
        """
        kind = ImportFormat(format)
        file = _opened(source)

        def read() -> tuple[Gathered, str]:
            if idempotency is None:
                return reading.read(file, kind, limits=self._limits), ""
            start = file.tell()
            digest = _digest(file)
            file.seek(start)
            return reading.read(file, kind, limits=self._limits), digest

        gathered, digest = await asyncio.to_thread(read)
        imported = Imported(
            dry_run=dry_run,
            plan=None,
            tasks=len(gathered.ids),
            dependencies=gathered.edges,
            finished=gathered.finished,
        )
        if dry_run:
            gathered.close()
            return imported
        order = ImportOrder(format=kind, status=status, digest=digest)
        key = idempotency and idempotency.of("import_plan", order)

        async def work() -> Imported:
            async with self._database.transaction() as conn:
                plan_id = await making.make(conn, gathered, status=status)
                row = await plans.get(conn, plan_id)
                assert row is not None
                made = imported.model_copy(update={"plan": plan_of(row)})
                if key is not None:
                    await keys.keep(conn, key, made.model_dump(mode="json"))
            self._wakeups.hint()
            return made

        return await self._writes.do(
            work,
            key=key,
            replay=Imported.model_validate,
            patience=PATIENCE,
            tidy=gathered.close,
        )

    async def export_plan(
        self,
        plan_id: UUID,
        format: ExportFormat | str = ExportFormat.JSON,  # noqa: A002 - as the query calls it
    ) -> IO[bytes]:
        """Return a plan with its tasks as a file, to be read and then closed.

        It is as it stood at one moment. `json` is what `import_plan` makes the same plan of again;
        drawings show at most the first 10,000 tasks, as `get_graph` does.

        Raises:
            NotFound: there is no such plan.
        """
        return await exporting.export(self._database, plan_id, ExportFormat(format))


def _opened(source: IO[bytes] | bytes | str) -> IO[bytes]:
    match source:
        case str():
            return io.BytesIO(source.encode())
        case bytes():
            return io.BytesIO(source)
        case _:
            return source


_CHUNK: Final = 256 * 1024


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
