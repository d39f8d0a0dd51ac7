"""The statements about tasks: one typed function is one statement.

`create`, `change` and `end` lock plans first and tasks after them, write the change, what follows
from it where that can be counted in place, what it does to the plan (`planstore.sql.following`),
the events of both and the idempotency key, all at once; and answer a ``verdict``, so that a
refusal costs no second round trip. What can't be counted in place is ``wide``: nothing is done,
and the caller does it again in a transaction, with `planstore.sql.derivation` after it. `claim` and
`renew` take task rows only. What happens most is done by functions in the database: `complete`,
claims of one task, and what goes together with such a claim.
"""

from typing import Final

from planstore.sql.tasks import deletion, dependencies
from planstore.sql.tasks.approving import decide
from planstore.sql.tasks.change import change
from planstore.sql.tasks.claiming import CLAIMS_OF_ONE, Place, claim, held, seconds_to_next
from planstore.sql.tasks.completing import COMPLETE, complete
from planstore.sql.tasks.creation import CREATES_OF_ONE, NewEdge, NewTask, create, expect_many
from planstore.sql.tasks.deletion import delete
from planstore.sql.tasks.ending import End, Ending, end, flush
from planstore.sql.tasks.leases import LONG_AGO, overdue, renew
from planstore.sql.tasks.offering import offer
from planstore.sql.tasks.packets import NEEDED, TRIED
from planstore.sql.tasks.reading import GET, attempts, get, many, statuses
from planstore.sql.tasks.resetting import failed, reset
from planstore.sql.tasks.restoring import Restored, restore
from planstore.sql.tasks.rewriting import differing, renumber, rewrite
from planstore.sql.tasks.together import complete_and_claim, create_and_claim

ROUTINES: Final = (
    *(COMPLETE, GET, NEEDED, TRIED),
    *CLAIMS_OF_ONE.values(),
    *(each.routine for each in CREATES_OF_ONE.values()),
)
"""The functions that the statements call."""

__all__ = [
    "LONG_AGO",
    "ROUTINES",
    "End",
    "Ending",
    "NewEdge",
    "NewTask",
    "Place",
    "Restored",
    "attempts",
    "change",
    "claim",
    "complete",
    "complete_and_claim",
    "create",
    "create_and_claim",
    "decide",
    "delete",
    "deletion",
    "dependencies",
    "differing",
    "end",
    "expect_many",
    "failed",
    "flush",
    "get",
    "held",
    "many",
    "offer",
    "overdue",
    "renew",
    "renumber",
    "reset",
    "restore",
    "rewrite",
    "seconds_to_next",
    "statuses",
]
