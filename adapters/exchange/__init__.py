"""The simulated exchange: matching without I/O."""

from adapters.exchange.engine import Exchange
from adapters.exchange.model import ExecutionModel

__all__ = ["Exchange", "ExecutionModel"]
