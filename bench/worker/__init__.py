"""A worker process over HTTP: how many tasks it carries out, and how soon it begins one.

Beside the rate stands that of a bare caller, which sends the same requests and does nothing with
the answers but read their JSON. Beside the delay stands the bare round trip to the same server.
"""
