"""Statistics of 90 days with five million tasks: how they are counted, and how soon they are told.

`stock` writes what was counted in such a time, and has a little more counted, as a server does;
`asked` says what is asked for then. One process makes one call at a time.
"""
