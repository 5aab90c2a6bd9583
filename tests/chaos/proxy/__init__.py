"""Proxies of ours that stand between a role and a server and do what networks and servers do on bad days.

    role ──► TcpProxy / PostgresProxy ──► PostgreSQL
    role ──► HttpProxy ────────────────► object store, schema registry

They run on an event loop in a thread of their own, so that the traffic does not wait for the test's loop. The
methods may be called from any thread; each returns when it has taken effect. Every fault is counted in
`bites` at the moment it is done to a message, so that a test can tell that it bit.
"""

from __future__ import annotations

from tests.chaos.proxy.http import HttpProxy
from tests.chaos.proxy.postgres import PostgresProxy
from tests.chaos.proxy.tcp import TcpProxy
from tests.chaos.proxy.thread import LoopThread

__all__ = ["HttpProxy", "LoopThread", "PostgresProxy", "TcpProxy"]
