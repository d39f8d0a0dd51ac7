"""Finding and replanning in a store of a million plans and five million tasks.

`stock` makes the store once for all lines of a run. `lists` says what is looked for, and
`revisions` changes plans of a thousand tasks; a process of its own makes the calls one at a time
(`calls`). `figures` shows how long they took beside how long they may.
"""
