"""The commands that speak to a server, one module a noun.

Each command imports what it needs when it is called, so that help and version answer at once.
"""
