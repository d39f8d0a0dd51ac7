"""Coordination: claims, completions and creations, beside bare SQL on the same machine.

A process under measurement carries out what is in `work` (through `PlanStore`), `remote` (through
a server), `bare` (without either) or `idle` (waiting for work, by one of two `doors`), on databases
that `supply` and `backlog` fill. `rates`, `starts`, `kept` and `server_memory` measure; `figures`
shows what was found beside what is to be reached.
"""
