"""One user of one server, from the first start on."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from planstore.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path

    from tests.embedded.conftest import Ask, Running


def test_a_first_start_makes_the_database(place: Path, bin_dir: Path | None, ask: Ask) -> None:
    with EmbeddedPostgres.start(place / "data", bin_dir=bin_dir) as postgres:
        assert postgres.data_dir == place / "data"
        assert postgres.is_alive()
        assert ask(postgres.url(), "select current_database()") == "planstore"
        assert (ask(postgres.url(), "show server_version")).split()[0] == postgres.version


def test_data_survive_a_restart(
    place: Path, bin_dir: Path | None, ask: Ask, running: Running
) -> None:
    with EmbeddedPostgres.start(place / "data", bin_dir=bin_dir) as postgres:
        ask(postgres.url(), "create table kept as select 42 as answer")
    assert not [line for line in running(place) if "reaper.py" not in line]

    with EmbeddedPostgres.start(place / "data", bin_dir=bin_dir) as postgres:
        assert ask(postgres.url(), "select answer from kept") == 42


def test_text_is_sorted_by_code_point(place: Path, bin_dir: Path | None, ask: Ask) -> None:
    with EmbeddedPostgres.start(place / "data", bin_dir=bin_dir) as postgres:
        joined = "select string_agg(t, '' order by t) from unnest($1::text[]) as t"
        assert ask(postgres.url(), joined, ["ä", "b", "B", "_", "Z"]) == "BZ_bä"
        assert ask(postgres.url(), "select lower('ÄÖ')") == "äö"


def test_a_stopped_server_stays_stopped(data_dir: Path) -> None:
    postgres = EmbeddedPostgres.start(data_dir)
    postgres.stop()
    postgres.stop()

    assert not postgres.is_alive()
    assert not postgres.ensure_running()
    assert not postgres.is_alive()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("checkpoint_timeout", "15min"),
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("io_method", "sync"),
        ("jit", "off"),
        ("listen_addresses", ""),
        ("log_timezone", "UTC"),
        ("max_connections", "200"),
        ("max_wal_size", "2GB"),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
        ("synchronous_commit", "on"),
        ("TimeZone", "UTC"),
    ],
)
def test_a_setting_has_its_value(
    shared: EmbeddedPostgres, ask: Ask, setting: str, value: str
) -> None:
    assert ask(shared.url(), f"show {setting}") == value


def test_the_url_quotes_the_database(shared: EmbeddedPostgres, ask: Ask) -> None:
    ask(shared.url(), 'create database "odd/na me?&"')

    assert ask(shared.url("odd/na me?&"), "select current_database()") == "odd/na me?&"


def test_the_url_serves_psql(shared: EmbeddedPostgres) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed here")

    answer = subprocess.check_output([psql, "-XAtc", "select current_user", shared.url()])

    assert answer == b"planstore\n"


def test_a_server_that_is_alive_is_left_alone(shared: EmbeddedPostgres) -> None:
    assert not shared.ensure_running()


def test_an_operators_own_setting_wins(data_dir: Path, ask: Ask) -> None:
    with (data_dir / "postgres/data/postgresql.conf").open("a") as conf:
        conf.write("max_connections = 17\n")

    with EmbeddedPostgres.start(data_dir) as postgres:
        assert ask(postgres.url(), "show max_connections") == "17"
