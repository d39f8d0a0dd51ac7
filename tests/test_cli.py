"""The command line, run as programs run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, get_args
from urllib.parse import urlsplit

import asyncpg
import pytest

from planstore import __version__
from planstore.commands.porting import ExportName, ImportName
from planstore.migrations import known
from planstore.models import ExportFormat, ImportFormat, PlanCreate
from tests.served import database_of, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
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


@pytest.mark.parametrize("argument", ["version", "--help"])
def test_what_is_asked_first_imports_nothing_that_takes_long(argument: str) -> None:
    program = (
        "import sys; from planstore.cli import main; sys.argv = ['planstore', sys.argv[1]]\n"
        "try: main()\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, argument],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    slow = {"asyncio", "asyncpg", "fastapi", "httpx2", "planstore.models", "planstore.client"}
    assert slow & {*ended.stderr.split()} == set()


def test_openapi_prints_the_document_without_a_server() -> None:
    document = json.loads(planstore("openapi").stdout)
    assert document["info"]["version"] == __version__
    assert set(document["paths"]["/plans/{plan_id}"]) == {"get", "patch", "delete"}
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


def sentence(failed: subprocess.CompletedProcess[str]) -> str:
    """Assert that a command failed with one sentence and nothing else; return that."""
    assert (failed.returncode, failed.stdout) == (1, "")
    (line,) = failed.stderr.splitlines()
    assert line.startswith("planstore: ")
    return line


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_doctor_does_not_make_what_it_is_to_look_at(tmp_path: Path, options: list[str]) -> None:
    nowhere = tmp_path / "nowhere"

    said = sentence(planstore("doctor", "--data-dir", str(nowhere), *options))

    assert str(nowhere) in said
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_url_is_one_that_is_not_set(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    failed = planstore("doctor", "--data-dir", str(nowhere), PLANSTORE_DATABASE_URL="")

    assert f"There is no database in {nowhere}" in sentence(failed)


async def test_doctor_says_that_a_schema_is_not_there_and_does_not_make_it(
    postgres: Postgres,
) -> None:
    async with postgres.database(template="template1") as url:
        report = planstore("doctor", "--json", PLANSTORE_DATABASE_URL=url)
        table = planstore("doctor", PLANSTORE_DATABASE_URL=url)
        conn = await asyncpg.connect(url)
        schema = await conn.fetchval("select to_regnamespace('planstore')")
        await conn.close()

    assert (report.returncode, table.returncode) == (1, 1)
    found = json.loads(report.stdout)
    assert [finding["rule"] for finding in found["findings"]] == found["rules"] == ["schema"]
    assert "planstore migrate" in found["findings"][0]["sentence"]
    (row,) = [line for line in table.stdout.splitlines() if line.startswith("schema")]
    assert "broken" in row
    assert schema is None


@asynccontextmanager
async def stranger(postgres: Postgres, url: str) -> AsyncGenerator[tuple[str, str]]:
    """Make a user who owns nothing; yields its name, and its URL of the same database.

    What it comes to own goes with the database.
    """
    parts = urlsplit(url)
    name = f"stranger_of_{parts.path.removeprefix('/')}"
    conn = await asyncpg.connect(url)
    await conn.execute(f"create role {name} login password 'secret'")
    try:
        place = parts.netloc.rpartition("@")[2]
        yield name, parts._replace(netloc=f"{name}:secret@{place}").geturl()
    finally:
        await conn.execute(f"drop owned by {name} cascade")
        await conn.execute(f"drop role {name}")
        await conn.close()


async def test_who_owns_the_schema_need_not_be_allowed_to_make_one(postgres: Postgres) -> None:
    async with (
        postgres.database(template="template1") as url,
        stranger(postgres, url) as (name, own),
    ):
        refused = planstore("migrate", PLANSTORE_DATABASE_URL=own)
        conn = await asyncpg.connect(url)
        await conn.execute(f"create schema planstore authorization {name}")
        await conn.close()
        done = planstore("migrate", "--json", PLANSTORE_DATABASE_URL=own)
        again = planstore("migrate", PLANSTORE_DATABASE_URL=own)
        report = planstore("doctor", "--json", PLANSTORE_DATABASE_URL=own)

    assert "grant it CREATE" in sentence(refused)
    assert done.returncode == 0, done.stderr
    assert [each["version"] for each in json.loads(done.stdout)] == [m.version for m in known()]
    assert again.stdout == "the schema is up to date\n"
    assert json.loads(report.stdout)["findings"] == []


async def test_a_user_who_may_not_connect_is_told_what_is_missing(
    postgres: Postgres, database_url: str
) -> None:
    conn = await asyncpg.connect(database_url)
    database = await conn.fetchval("select current_database()")
    await conn.execute(f"revoke connect on database {database} from public")
    await conn.close()
    async with stranger(postgres, database_url) as (_, own):
        said = sentence(planstore("doctor", PLANSTORE_DATABASE_URL=own))

    assert "CONNECT" in said
    assert "secret" not in said


def test_a_role_of_the_server_that_is_not_there_is_said(database_url: str) -> None:
    mark = "&" if "?" in database_url else "?"

    failed = planstore(
        "migrate", PLANSTORE_DATABASE_URL=f"{database_url}{mark}target_session_attrs=standby"
    )

    assert "target_session_attrs" in sentence(failed)


def test_demo_passes_by_a_proxy_of_the_environment() -> None:
    dead = "http://127.0.0.1:1"
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = {name: dead for each in names for name in (each, each.upper())}

    shown = planstore("demo", "--json", **proxies, no_proxy="", NO_PROXY="")

    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["plan"]["status"] == "completed"


def test_a_file_is_imported_and_exported_by_the_command_line(
    postgres: Postgres, tmp_path: Path
) -> None:
    checklist, out = tmp_path / "tea.md", tmp_path / "tea.json"
    checklist.write_text("1. [x] boil\n2. [ ] pour\n")
    with (
        database_of(postgres) as url,
        serving(PLANSTORE_DATABASE_URL=url, PLANSTORE_API_KEY="secret") as server,
    ):
        own = {"PLANSTORE_URL": server.url, "PLANSTORE_API_KEY": "secret"}
        dry = planstore("import", str(checklist), "--dry-run", **own)
        made = planstore("import", str(checklist), "--active", "--json", **own)
        plan = json.loads(made.stdout)["plan"]
        exported = planstore("export", plan["id"][:13], "--output", str(out), **own)
        again = planstore("import", str(out), **own)
        drawn = planstore("export", plan["id"], "--format", "mermaid", **own)
        faulty = planstore("import", str(checklist), "--format", "llm", **own)
        refused = planstore("export", plan["id"], "-o", str(out), PLANSTORE_URL=server.url)

    assert dry.stdout == "would make: 2 tasks, 1 dependencies, 1 finished\n", dry.stderr
    assert plan["status"] == "active"
    assert (exported.returncode, exported.stdout) == (0, "")
    assert again.stdout.endswith(": 2 tasks, 1 dependencies, 1 finished\n")
    assert drawn.stdout.startswith("flowchart TD\n")
    assert "there is no JSON" in sentence(faulty)
    assert "key" in sentence(refused)
    assert json.loads(out.read_text())["plan"]["status"] == "active"


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("- [ ] a")

    failed = planstore("import", str(file), PLANSTORE_URL="http://127.0.0.1:1")

    assert "the server at http://127.0.0.1:1 doesn't answer" in sentence(failed)


def test_the_command_line_knows_every_format() -> None:
    assert get_args(ImportName) == tuple(ImportFormat)
    assert get_args(ExportName) == tuple(ExportFormat)
