"""How much memory a process takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes of 1,000,000 bytes."""
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    return _megabytes(subprocess.run(command, check=True, capture_output=True).stdout)


def peak_mb(pid: int | None = None) -> float:
    """Return the most that a process (this one if left out) ever had; now, without /proc."""
    pid = os.getpid() if pid is None else pid
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except FileNotFoundError:
        return resident_mb(pid)
    return _megabytes(status.partition(b"VmHWM:")[2].split()[0])


def _megabytes(kibibytes: bytes) -> float:
    return int(kibibytes) * 1024 / 1e6
