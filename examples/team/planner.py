"""The planner of a team: makes a plan, and leaves it to whoever can carry it out.

    python examples/team/researcher.py     # one terminal
    python examples/team/writer.py         # another one
    python examples/team/watcher.py $(python examples/team/planner.py)

It prints the plan's id. The three facts are looked up side by side; the letter is written once all
of them are there, for it takes them as its input. Nobody says who is to do what: each worker claims
the tasks of the types that it can carry out.
"""

from __future__ import annotations

import os
from typing import Final

from planstore.client import PlanStoreClient
from planstore.models import PlanCreate, PlanStatus, TaskDraft

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
KEY: Final = os.environ.get("PLANSTORE_API_KEY") or None

SUBJECTS: Final = ("whales", "owls", "bees")

LETTER: Final = TaskDraft(
    name="letter",
    description="Write a letter to a child who likes animals",
    task_type="writing",
    input_data={"to": "Ida", "facts": ["{{whales.fact}}", "{{owls.fact}}", "{{bees.fact}}"]},
)


def main() -> None:
    research = [
        TaskDraft(
            name=subject,
            description=f"Find out something about {subject}",
            task_type="research",
            input_data={"subject": subject},
        )
        for subject in SUBJECTS
    ]
    draft = PlanCreate(status=PlanStatus.ACTIVE, plan_type="dag", tasks=[*research, LETTER])
    with PlanStoreClient.open(SERVER, api_key=KEY) as store:
        print(store.create_plan(draft).id)


if __name__ == "__main__":
    main()
