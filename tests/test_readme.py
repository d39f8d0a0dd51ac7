"""The README's commands do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from planstore.demo import temporary_server

README: Final = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_minute_ends_with_a_finished_plan() -> None:
    start, *commands = blocks("bash")
    assert start == "make serve\n"
    with temporary_server() as url:
        script = "\n".join(commands).replace("localhost:8011", url.removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("curl ", "curl -sSf ")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    statuses = re.findall(r'"status":"(\w+)"', done.stdout)
    assert statuses == [
        *("draft", "pending", "pending"),
        *("running", "completed", "active"),
        *("completed", "completed"),
    ]
    steps = re.findall(r'"current_step":(\d+)', done.stdout)
    assert steps == ["0", "2", "2"]


def test_the_python_of_the_readme_ends_with_a_completed_plan() -> None:
    (program,) = blocks("python")
    assert "start(default_data_dir())" in program
    with TemporaryDirectory(prefix="planstore-tests-") as home:
        Path(home).chmod(0o755)
        elsewhere = f"start(default_data_dir().__class__({home!r}, 'data'))"
        done = subprocess.run(
            [sys.executable, "-c", program.replace("start(default_data_dir())", elsewhere)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout == "completed\n", done.stderr
