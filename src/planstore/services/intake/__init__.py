"""Taking plans in that come from elsewhere.

A file is read once, piece by piece: a reader of its format (`llm`, `taskmaster`, `markdown`,
`wfformat`, `ported`) makes an `Item` of each task, and `Gathering` keeps of it in memory what it is
called and what it needs, and all else on disk. Once every fault is known, and there is none,
`making` writes what lies there, in one transaction.
"""
