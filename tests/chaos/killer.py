"""Kills whom chance names, by SIGKILL."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.chaos import processes

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.stage import Stage

_WEIGHTS: Final = {
    "a worker": 6,
    "a server": 4,
    "all servers": 1,
    "the postmaster": 1,
    "a PostgreSQL process": 1,
    "all of PostgreSQL": 1,
}


class Killer:
    """Strikes whoever is on the stage."""

    def __init__(self, stage: Stage, chance: Random) -> None:
        self.kills = Counter[str]()
        """How often whom."""
        self._stage = stage
        self._random = chance
        self._untried = chance.sample(list(_WEIGHTS), len(_WEIGHTS))

    def strike(self) -> None:
        """Kill somebody, unless it is PostgreSQL's turn and it lies on the ground already."""
        victim = self._next_victim()
        if self._is_hit(victim):
            self.kills[victim] += 1

    def _next_victim(self) -> str:
        if self._untried:  # so that a short run, too, has something of everything
            return self._untried.pop()
        (victim,) = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        return victim

    def _is_hit(self, victim: str) -> bool:
        match victim:
            case "a worker":
                self._stage.kill(self._random.choice(self._stage.workers))
                return True
            case "a server":
                self._stage.kill(self._random.choice(self._stage.servers))
                return True
            case "all servers":
                self._stage.kill(*self._stage.servers)
                return True
            case _:
                return self._is_postgres_hit(victim)

    def _is_postgres_hit(self, victim: str) -> bool:
        running = processes.postgres_of(self._stage.data_dir)
        if victim == "the postmaster":
            chosen = running[:1]
        elif victim == "all of PostgreSQL":
            chosen = running
        else:
            chosen = [self._random.choice(running[1:])] if running[1:] else []
        processes.kill(chosen)
        return bool(chosen)
