"""A look at what runs below a directory, by what the command lines name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planstore.embedded.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    command: str


def postgres_of(data_dir: Path) -> list[Process]:
    """Return the postmaster of an embedded PostgreSQL and then its children; none if it is down."""
    everything = _everything()
    # A child bears its parent's command line until it has given itself a title.
    named = {each.pid: each for each in everything if _is_named(each, data_dir)}
    for postmaster in named.values():
        if postmaster.parent not in named:
            children = (each for each in everything if each.parent == postmaster.pid)
            return [postmaster, *children]
    return []


def _is_named(process: Process, data_dir: Path) -> bool:
    is_reaper = "reaper.py" in process.command  # which was told what to start
    return process.command.endswith(f"/postgres -D {data_dir}/postgres/data") and not is_reaper


def end_what_runs_in(place: Path, *, seconds: float) -> None:
    """Wait until nothing runs below a directory, and kill what still does then."""
    wait_until(lambda: not _below(place), seconds=seconds)
    kill(_below(place))


def kill(processes: Iterable[Process]) -> None:
    for each in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)


def _below(place: Path) -> list[Process]:
    return [each for each in _everything() if str(place) in each.command]


def _everything() -> list[Process]:
    """Return all processes but for zombies."""
    said = subprocess.run(
        ["ps", "-eww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    words = (line.split(None, 3) for line in said.splitlines())
    return [
        Process(int(pid), int(parent), command)
        for pid, parent, stat, command in words
        if not stat.startswith("Z")
    ]
