"""Errors say what may be done next. What is expected (a refusal, a late forecast) is a value, not an error.

TradingError
  ConfigError            refuse to start; the service manager must not restart
  BrokerError
    NotSent              nothing left this machine; safe to repeat
    Refused              the broker said no; do not repeat unchanged
    RateLimited          wait, then repeat
    SessionLost          sign in again
    OutcomeUnknown       written, not answered; reconcile first
    ProtocolError        ours or theirs
  DataError              an impossible value from outside; drop, count, mark the source stale
  ModelError             no forecast; the strategy receives none
  InvariantBroken        the books contradict themselves; stop, restart, recover
"""

from typing import Literal


class TradingError(Exception):
    """Root of every error that Plimsoll raises on purpose."""


class ConfigError(TradingError):
    """The configuration or the command line cannot be obeyed. Says which key, why, and what to write instead."""


class BrokerError(TradingError):
    """Something between us and the broker."""


class NotSent(BrokerError):
    """Nothing left this machine, so repeating is safe."""


class Refused(BrokerError):
    """The broker said no. Repeating it unchanged is pointless."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text


class RateLimited(BrokerError):
    """Too many requests."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"rate limited; retry after {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class SessionLost(BrokerError):
    """The session is gone; sign in again."""


class OutcomeUnknown(BrokerError):
    """A command was written and never answered. It is neither done nor refused until evidence says which."""

    def __init__(self, client_order_id: str) -> None:
        super().__init__(f"outcome of order {client_order_id} unknown; reconcile before anything else")
        self.client_order_id = client_order_id


class ProtocolError(BrokerError):
    """Somebody broke the protocol."""

    def __init__(self, whose: Literal["ours", "theirs"], text: str) -> None:
        super().__init__(f"protocol broken ({whose}): {text}")
        self.whose = whose


class DataError(TradingError):
    """An impossible value came in from outside. Dropped and counted; says where and why."""


class ModelError(TradingError):
    """A model could not be loaded, verified or asked."""


class InvariantBroken(TradingError):
    """The books contradict themselves. The only safe step is to stop, restart and recover."""
