"""The read-only status page, health and metrics."""

from daemon.web.server import Server, start

__all__ = ["Server", "start"]
