"""Another worker of a team: writes letters of what others have found out, until Ctrl-C.

    python examples/team/writer.py

It prints each letter. The facts in its input are the outputs of other tasks, whoever did them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from planstore.worker import Worker, over_http

if TYPE_CHECKING:
    from planstore.models import WorkPacket
    from planstore.worker import Context

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
KEY: Final = os.environ.get("PLANSTORE_API_KEY") or None

worker = Worker()


@worker.task("writing")
def write(packet: WorkPacket, context: Context) -> dict[str, str]:
    given = packet.resolved_input or {}
    lines = [f"Dear {given['to']},"]
    for number, fact in enumerate(given["facts"], start=1):
        context.report_progress(number / len(given["facts"]), f"fact {number} is in")
        lines.append(fact)
    text = "\n".join(lines)
    print(text)
    return {"text": text}


if __name__ == "__main__":
    worker.run(over_http(SERVER, api_key=KEY))
