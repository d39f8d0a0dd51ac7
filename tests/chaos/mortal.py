"""Runs a Python module in a process that never outlives the one that started it.

`python -m tests.chaos.mortal PARENT MODULE ARGUMENT…`, where PARENT is the starter's process id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as a mortal of this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), module, *arguments]


def main(parent: str, *module: str) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):  # else it has ended before we asked to be told
        os.execv(sys.executable, [sys.executable, "-m", *module])


if __name__ == "__main__":
    main(*sys.argv[1:])
