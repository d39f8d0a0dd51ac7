"""What names a worker on the command line, and what is said where it doesn't."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from planstore.errors import SetupError
from planstore.worker.loading import load_worker
from tests.served import PATIENCE, command, environment

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
from planstore.worker import Worker
reader = Worker()
number = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_tasks.py").write_text(MODULE)
    (tmp_path / "my_needy_tasks.py").write_text("import something_else")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_worker_is_found_by_its_module_and_name(here: Path) -> None:
    assert load_worker("my_tasks:reader").name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_tasks", "MODULE:NAME"),
        ("my_tusks:reader", "no module 'my_tusks'"),
        ("my_tasks:raeder", "did you mean my_tasks:reader?"),
        ("my_tasks:number", "did you mean my_tasks:reader?"),
    ],
)
def test_what_is_no_worker_is_said_in_a_sentence(here: Path, name: str, says: str) -> None:
    with pytest.raises(SetupError, match=says.replace("?", r"\?")):
        load_worker(name)


def test_a_module_that_lacks_something_itself_says_what(here: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="something_else"):
        load_worker("my_needy_tasks:reader")


def test_the_command_says_it_in_one_line_and_exits_with_1(here: Path) -> None:
    failed = subprocess.run(
        command("worker", "my_tasks:raeder"),
        capture_output=True,
        text=True,
        cwd=here,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("planstore: The module 'my_tasks' has no worker 'raeder'")
