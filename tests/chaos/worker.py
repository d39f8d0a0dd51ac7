"""A worker: claims tasks over HTTP, works, reports, and is killed at any moment.

`python -m tests.chaos.worker NAME LIFE SEED JOURNALS URL…`. It does all that a worker may do, and
what it shouldn't: it forgets heartbeats, reports long after its claim has ended, repeats requests
with and without a key, and never ends by itself.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tests.chaos.caller import Caller
from tests.chaos.journal import Journal, What

if TYPE_CHECKING:
    import httpx2

    Json = dict[str, Any]

LEASES: Final = (1.0, 1.5, 2.0)
"""Seconds that a claim may last."""

FORGETFUL: Final = 0.015
"""How often a run goes on past its lease without a heartbeat."""

DILIGENT: Final = 0.03
"""How often a run goes on past its lease with heartbeats."""


@dataclass(frozen=True, slots=True)
class Claim:
    task_id: str
    token: int
    attempt: int
    lease: float
    valid_until: float


class Worker:
    """One life of a worker."""

    def __init__(
        self, name: str, life: str, *, chance: random.Random, journals: Path, urls: list[str]
    ) -> None:
        self._name = name
        self._life = f"{name}-{life}"
        self._random = chance
        self._journal = Journal(journals / f"{self._life}.jsonl")
        self._caller = Caller(urls, chance)
        self._held: dict[str, Claim] = {}

    def run(self) -> None:
        while True:
            self._renew_what_ends_soon()
            if not self._held:
                self._claim()
            elif len(self._held) > 1 and self._random.random() < 0.5:
                self._carry_out_all()
            else:
                self._carry_out(next(iter(self._held.values())))

    def _claim(self) -> None:
        request, sent = self._request_for_more(), time.monotonic()
        answer = self._send("/tasks/claim", request)
        if answer.is_success:
            self._take(answer.json()["tasks"], request, sent)
        else:
            self._be_surprised(answer)

    def _request_for_more(self) -> Json:
        return {
            "worker_id": self._name,
            "limit": self._random.choice((1, 1, 1, 2, 8)),
            "lease_seconds": self._random.choice(LEASES),
            "wait_seconds": self._random.choice((0, 0.2, 1.5)),
        }

    def _take(self, packets: list[Json], request: Json, sent: float) -> None:
        lease = request["lease_seconds"]
        for packet in packets:
            # It was claimed after the request was sent, however often it was sent.
            claim = Claim(
                packet["id"], packet["fencing_token"], packet["attempt"], lease, sent + lease
            )
            self._held[claim.task_id] = claim
            self._note(What.CLAIMED, claim, said=_outputs_of(packet["dependencies"]))

    def _carry_out(self, claim: Claim) -> None:
        self._work(claim)
        claim = self._held.pop(claim.task_id, claim)
        verb, content = self._report_of(claim)
        content["fencing_token"] = claim.token
        more = self._request_for_more() if self._random.random() < 0.7 else None
        if more is not None:
            content["claim_next"] = more
        sent = time.monotonic()
        answer = self._send(f"/tasks/{claim.task_id}/{verb}", content)
        if answer.is_success:
            self._note(What.ACKNOWLEDGED, claim, verb=verb)
            if more is not None:
                self._take(answer.json()["tasks"], more, sent)
        elif answer.status_code == 409:
            self._note(What.REFUSED, claim, verb=verb, said=answer.json()["code"])
        else:
            self._be_surprised(answer)

    def _report_of(self, claim: Claim) -> tuple[str, Json]:
        chance = self._random.random()
        if chance < 0.08:
            failure: Json = {"error": f"{self._life} has bad luck"}
            if self._random.random() < 0.5:
                failure["retry_in_seconds"] = self._random.choice((0, 0.3))
            return "fail", failure
        if chance < 0.12:
            return "release", {}
        return "complete", {"output_data": self._output(claim)}

    def _carry_out_all(self) -> None:
        for claim in list(self._held.values()):
            if claim.task_id in self._held:  # a heartbeat may have said that it is lost
                self._work(claim)
        done = list(self._held.values())
        self._held.clear()
        if not done:
            return  # all were lost meanwhile
        more = self._request_for_more()
        results = [
            {
                "task_id": each.task_id,
                "fencing_token": each.token,
                "output_data": self._output(each),
            }
            for each in done
        ]
        sent = time.monotonic()
        answer = self._send("/tasks/complete", {"results": results, "claim_next": more})
        if not answer.is_success:
            self._be_surprised(answer)
            return
        for claim, result in zip(done, answer.json()["results"], strict=True):
            if result["ok"]:
                self._note(What.ACKNOWLEDGED, claim, verb="complete")
            else:
                self._note(What.REFUSED, claim, verb="complete", said=result["error"]["code"])
        self._take(answer.json()["tasks"], more, sent)

    def _output(self, claim: Claim) -> Json:
        return {"token": claim.token, "by": self._life}

    def _work(self, claim: Claim) -> None:
        self._note(What.BEGAN, claim)
        chance = self._random.random()
        if chance < FORGETFUL:
            time.sleep(claim.lease * self._random.uniform(1.0, 2.0))
        elif chance < FORGETFUL + DILIGENT:
            for _ in range(5):
                time.sleep(claim.lease * 0.35)
                self._renew()
                if claim.task_id not in self._held:
                    break
        else:
            time.sleep(self._random.expovariate(1 / 0.02))
        self._note(What.STOPPED, claim)

    def _renew_what_ends_soon(self) -> None:
        soon = time.monotonic() + 0.4
        if any(each.valid_until < soon for each in self._held.values()):
            self._renew()

    def _renew(self) -> None:
        """Renew all claims that are held, and let go of those that are lost."""
        held, sent = list(self._held.values()), time.monotonic()
        claims = [
            {
                "task_id": each.task_id,
                "fencing_token": each.token,
                "progress": self._random.choice((None, self._random.random())),
            }
            for each in held
        ]
        answer = self._send("/tasks/heartbeat", {"worker_id": self._name, "claims": claims})
        if not answer.is_success:
            self._be_surprised(answer)
            return
        for claim, renewed in zip(held, answer.json()["claims"], strict=True):
            if renewed["state"] == "lost":
                del self._held[claim.task_id]
            else:
                longer = replace(claim, valid_until=sent + claim.lease)
                self._held[claim.task_id] = longer
                self._note(What.RENEWED, longer)

    def _send(self, path: str, content: Json) -> httpx2.Response:
        has_key = path != "/tasks/heartbeat" and self._random.random() < 0.6
        key = str(UUID(int=self._random.getrandbits(128), version=4)) if has_key else ""
        return self._caller.ask("POST", path, content, key=key)

    def _note(self, what: What, claim: Claim, *, verb: str = "", said: Any = None) -> None:
        self._journal.write(
            what,
            task_id=claim.task_id,
            token=claim.token,
            attempt=claim.attempt,
            valid_until=claim.valid_until,
            verb=verb,
            said=said,
        )

    def _be_surprised(self, answer: httpx2.Response) -> None:
        said = f"{answer.request.url.path}: {answer.status_code} {answer.text[:2_000]}"
        self._journal.write(What.SURPRISED, said=said)


def _outputs_of(needed: list[Json]) -> Json:
    return {each["task_id"]: each["output_data"] for each in needed}


def main(name: str, life: str, seed: str, journals: str, *urls: str) -> None:
    chance = random.Random(f"{seed} {name} {life}")
    Worker(name, life, chance=chance, journals=Path(journals), urls=list(urls)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
