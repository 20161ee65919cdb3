"""The status page, health, metrics, and an operator's two commands."""

from daemon.web.server import Commands, Server, start

__all__ = ["Commands", "Server", "start"]
