"""The relay: how fast it is, how soon, and what it takes from those who work beside it.

`drain` lets it work off a backlog, `beside` has tasks claimed and completed with and without it,
`delay` follows single events to a subscriber. The relay runs in a server of its own, started as its
users start it, with a Valkey of the run's own. `work` is what the processes around it do.
"""
