"""Whether anything may be risked at all: halts, the connection, outcomes nobody knows."""

from bus.messages import HaltLevel
from risk.limits.check import Breach, Check, Rule

NO_CONNECTION = Breach("connection", "a ready connection", "none", "the same intent once the venue is reached again")
"""Holds for exits too: nothing can leave, and nothing is kept for later."""


def halt(c: Check) -> Breach | None:
    """Whether a halt is in force."""
    if c.halt_level > HaltLevel.NONE:
        return Breach("halt", "no new risk", HaltLevel(c.halt_level).name, "an exit, or an operator who resumes")
    return None


def connection(c: Check) -> Breach | None:
    """Whether there is no way to the venue; an order that waits for one is not the order that was meant."""
    return None if c.link_up else NO_CONNECTION


def unknown_outcome(c: Check) -> Breach | None:
    """Whether a command of unknown outcome hangs over the symbol."""
    if c.unknown:
        return Breach("unknown_outcome", "0 commands unanswered", "1 or more", "evidence of what became of it")
    return None


RULES = (
    Rule(halt, "While a halt is in force nothing new is risked."),
    Rule(connection, "Nothing is ordered while the venue cannot be reached, and nothing is kept for later."),
    Rule(unknown_outcome, "A symbol with a command of unknown outcome takes no new risk until there is evidence."),
)
