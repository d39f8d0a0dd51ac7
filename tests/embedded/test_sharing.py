"""Several processes use the one server of a data directory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from planstore.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path

    from tests.embedded.conftest import Ask, Running, Spawn

BUSY = """
import sys
from pathlib import Path
from planstore.embedded import EmbeddedPostgres
for _ in range(12):
    with EmbeddedPostgres.start(Path(sys.argv[1])) as postgres:
        assert postgres.is_alive()
"""


def test_the_server_stops_with_its_last_user(
    data_dir: Path, ask: Ask, spawn: Spawn, running: Running
) -> None:
    first = EmbeddedPostgres.start(data_dir)
    second = spawn(data_dir)
    assert second.url() == first.url()

    first.stop()
    assert ask(first.url(), "select 1") == 1

    second.leave()
    assert not first.is_alive()
    assert not [line for line in running(data_dir) if "reaper.py" not in line]


def test_one_process_may_use_it_twice(data_dir: Path, ask: Ask) -> None:
    with EmbeddedPostgres.start(data_dir) as first:
        with EmbeddedPostgres.start(data_dir) as second:
            assert second.url() == first.url()
            assert second.version == first.version
        assert ask(first.url(), "select 1") == 1


def test_twenty_starters_get_one_cluster(place: Path, ask: Ask, spawn: Spawn) -> None:
    starters = [spawn(place / "data") for _ in range(20)]

    urls = {starter.url() for starter in starters}

    assert len(urls) == 1
    assert ask(urls.pop(), "select current_database()") == "planstore"
    assert [entry.name for entry in place.iterdir()] == ["data"]
    assert not list((place / "data").glob(".*"))


def test_users_who_come_and_go_never_meet_a_dying_server(data_dir: Path) -> None:
    rivals = [
        subprocess.Popen([sys.executable, "-c", BUSY, data_dir], stderr=subprocess.PIPE)
        for _ in range(4)
    ]

    errors = [rival.communicate(timeout=120)[1] for rival in rivals]

    assert errors == [b""] * 4
