"""Alerts: a fold over the journal's messages that says once when something is as it should not be, and once when not.

Theory of operation. `Alerts.on` passes each message to the rules that hear its type (`RULES`, one file a group) and
settles their readings in one place: a breach of a rule and subject that has no open alert raises one, the all-clear of
one that has clears it, everything else changes nothing. So of one key at most one alert is open, whatever rules do; the
room between breach and all-clear is the hysteresis. What only a shell can see (disk, clock, a failing journal) it
tells with `tell`, by the same path. Alerts that the core said itself (`risk.alerts.cost`) are passed on.

Pure: no clock, no I/O; equal messages give equal alerts, which is why `plimsoll alerts list` needs a journal alone.

To add a rule: see `risk.alerts.rule.Rule`. A bound of its own is a field of `AlertSettings`.
"""

import difflib
from collections.abc import Sequence

from bus.errors import ConfigError
from bus.messages import AlertCleared, AlertRaised, AnyMessage
from risk.alerts import cost, execution, limits, measured, operation
from risk.alerts.rule import Context, Reading, Rule
from risk.alerts.settings import AlertSettings

GROUPS = (execution, cost, limits, measured, operation)
"""The files of rules; a test sees that none is left out."""

RULES: tuple[type[Rule], ...] = tuple(rule for group in GROUPS for rule in group.RULES)

Said = AlertRaised | AlertCleared
_SAID = (AlertRaised, AlertCleared)
_NOTHING: tuple[Said, ...] = ()


def check_off(off: Sequence[str]) -> None:
    """Refuse to silence what does not exist.

    Raises:
        ConfigError: with a suggestion.
    """
    names = [rule.name for rule in RULES]
    for name in off:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            raise ConfigError(f"alerts.off = [{name!r}]: no such rule; {hint}")


class Alerts:
    """The fold.

    Attributes:
        open: alerts that are raised and not cleared, by rule and subject, oldest first.
    """

    def __init__(self, settings: AlertSettings) -> None:
        """Begin with nothing known.

        Raises:
            ConfigError: `settings.off` names no rule.
        """
        check_off(settings.off)
        self.open: dict[tuple[str, str], AlertRaised] = {}
        self.context = Context(settings)
        self._rules = {rule.name: rule() for rule in RULES if rule.name not in settings.off}
        self._hearing: dict[type[AnyMessage], list[Rule]] = {}
        for rule in self._rules.values():
            for kind in rule.hears:
                self._hearing.setdefault(kind, []).append(rule)

    def on(self, message: AnyMessage) -> Sequence[Said]:
        """Take in the journal's next message, input or output, and say what it raises and clears."""
        context = self.context
        context.on(message)
        hearing = self._hearing.get(type(message))
        if hearing is None:
            return self._as_said(message) if isinstance(message, _SAID) else _NOTHING
        out: list[Said] = []
        for rule in hearing:
            for reading in rule.on(message, context):
                self._settle(rule, reading, context.now_ns, out)
        return out

    def tell(self, name: str, reading: Reading, now_ns: int) -> Sequence[Said]:
        """Take in what a shell has seen for itself; a rule that is off says nothing.

        Args:
            name: of the rule.
            reading: what was seen.
            now_ns: when.

        Raises:
            KeyError: there is no such rule.
        """
        rule = self._rules.get(name)
        if rule is None:
            if name in self.context.settings.off:
                return _NOTHING
            raise KeyError(name)
        out: list[Said] = []
        self._settle(rule, reading, now_ns, out)
        return out

    def _settle(self, rule: Rule, reading: Reading, now_ns: int, out: list[Said]) -> None:
        key = (rule.name, reading.subject)
        alert = self.open.get(key)
        if reading.breached and alert is None:
            value, limit = reading.words()
            alert = AlertRaised(
                rule=rule.name,
                subject=reading.subject,
                severity=rule.severity,
                value=value,
                limit=limit,
                advice=rule.advice,
                ts_init_ns=now_ns,
            )
            self.open[key] = alert
            out.append(alert)
        elif reading.breached is False and alert is not None:
            del self.open[key]
            value, limit = reading.words()
            cleared = AlertCleared(
                rule=rule.name,
                subject=reading.subject,
                severity=alert.severity,
                value=value,
                limit=limit or alert.limit,
                ts_raised_ns=alert.ts_init_ns,
                ts_init_ns=now_ns,
            )
            out.append(cleared)

    def _as_said(self, said: Said) -> Sequence[Said]:
        key = (said.rule, said.subject)
        if said.rule not in self._rules or (key in self.open) is isinstance(said, AlertRaised):
            return _NOTHING
        if isinstance(said, AlertRaised):
            self.open[key] = said
        else:
            del self.open[key]
        return (said,)


__all__ = ["GROUPS", "RULES", "AlertSettings", "Alerts", "Context", "Reading", "Rule", "check_off"]
