"""The README's commands do what it says."""

from __future__ import annotations

import json
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
        script = script.replace("curl ", r"curl -sSf -w '\n' ")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    made, resolved, ended, plan = done.stdout.splitlines()
    assert json.loads(made)["status"] == "active"
    assert f"# {resolved}" in "".join(commands)
    assert json.loads(ended)["name"] == "write"
    assert json.loads(plan)["status"] == "completed"


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
    *_, last = done.stdout.splitlines()
    assert last == "completed", done.stderr
    assert "write {'from': ['a.md', 'b.md']}" in done.stdout
