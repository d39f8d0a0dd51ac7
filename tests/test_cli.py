"""The command line, run as programs run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import asyncpg

from planstore import __version__
from planstore.migrations import known
from planstore.models import PlanCreate

if TYPE_CHECKING:
    from pathlib import Path

    from planstore import PlanStore
    from tests.conftest import Postgres


def planstore(*args: str, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PLANSTORE_")}
    return subprocess.run(
        [sys.executable, "-m", "planstore", *args],
        env={**own, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_says_which_it_is() -> None:
    assert planstore("version").stdout == f"planstore {__version__}\n"
    assert json.loads(planstore("version", "--json").stdout) == {"version": __version__}


def test_openapi_prints_the_document_without_a_server() -> None:
    document = json.loads(planstore("openapi").stdout)
    assert document["info"]["version"] == __version__
    assert set(document["paths"]["/plans/{plan_id}"]) == {"get", "patch"}
    assert not any(path.startswith("/plans/tasks") for path in document["paths"])


async def test_migrate_brings_an_empty_database_up_to_date_once(postgres: Postgres) -> None:
    async with postgres.database(template="template1") as url:
        first = planstore("migrate", "--json", PLANSTORE_DATABASE_URL=url)
        second = planstore("migrate", PLANSTORE_DATABASE_URL=url)
    assert [each["version"] for each in json.loads(first.stdout)] == [m.version for m in known()]
    assert second.stdout == "the schema is up to date\n"


async def test_the_sql_of_migrate_makes_the_schema_by_hand(postgres: Postgres) -> None:
    async with postgres.database(template="template1") as url:
        conn = await asyncpg.connect(url)
        await conn.execute(planstore("migrate", "--sql").stdout)
        await conn.close()
        after = planstore("migrate", PLANSTORE_DATABASE_URL=url)
    assert after.stdout == "the schema is up to date\n"


def test_demo_ends_with_a_completed_plan() -> None:
    shown = planstore("demo")
    assert shown.returncode == 0, shown.stderr
    assert '"status": "completed"' in shown.stdout
    result = json.loads(planstore("demo", "--json").stdout)
    assert result["plan"]["status"] == "completed"
    assert {task["status"] for task in result["tasks"]} == {"completed"}


def test_an_error_that_a_person_can_mend_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    failed = planstore("migrate", PLANSTORE_DATABASE_URL="postgresql://me:secret@127.0.0.1:1/x")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr == (
        "planstore: The database at 127.0.0.1:1/x can't be reached: start it, or check "
        "PLANSTORE_DATABASE_URL; leave it out to use the embedded one.\n"
    )


def test_a_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    failed = planstore("migrate", PLANSTORE_DATABASE_URI="postgresql://127.0.0.1/x")
    assert failed.returncode == 1
    assert (
        "PLANSTORE_DATABASE_URI is unknown; did you mean PLANSTORE_DATABASE_URL?" in failed.stderr
    )


def test_doctor_finds_nothing_in_a_database_where_all_is_well(database_url: str) -> None:
    report = planstore("doctor", "--json", PLANSTORE_DATABASE_URL=database_url)
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["findings"] == []
    table = planstore("doctor", PLANSTORE_DATABASE_URL=database_url)
    assert "broken" not in table.stdout
    assert table.stdout.count(" ok ") == len(json.loads(report.stdout)["rules"]) + 1


async def test_doctor_says_what_is_broken_and_exits_with_1(
    store: PlanStore, database_url: str
) -> None:
    plan = await store.create_plan(PlanCreate())
    conn = await asyncpg.connect(database_url)
    await conn.execute("delete from planstore.events")
    await conn.close()
    report = planstore("doctor", "--json", PLANSTORE_DATABASE_URL=database_url)
    assert report.returncode == 1
    (finding,) = json.loads(report.stdout)["findings"]
    assert finding["examples"] == [str(plan.id)]
    table = planstore("doctor", PLANSTORE_DATABASE_URL=database_url)
    assert table.returncode == 1
    assert "broken" in table.stdout
