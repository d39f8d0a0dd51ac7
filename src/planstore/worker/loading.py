"""Finding the worker that a command line names."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from pathlib import Path

from planstore.errors import SetupError
from planstore.worker.worker import Worker


def load_worker(name: str) -> Worker:
    """Import ``MODULE:NAME``; modules of the current directory are found too.

    Raises:
        SetupError: there is no such module, or no such worker in it.
    """
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        raise SetupError(
            f"{name!r} names no worker: it is to be MODULE:NAME, such as tasks:worker for the "
            "worker of tasks.py"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # it is there, but lacks something itself
        raise SetupError(
            f"There is no module {module_name!r} here or among those installed."
        ) from error
    found = getattr(module, attribute, None)
    if isinstance(found, Worker):
        return found
    workers = [each for each, value in vars(module).items() if isinstance(value, Worker)]
    near = get_close_matches(attribute, workers, n=1, cutoff=0.0)
    hint = f"did you mean {module_name}:{near[0]}?" if near else "it has none at all"
    raise SetupError(f"The module {module_name!r} has no worker {attribute!r}; {hint}")
