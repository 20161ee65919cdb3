"""Which gates on models let through less than all just now, for people: a table in bounded memory."""

from bus.messages import CoverageChanged, DriftChanged, GateChanged

GATE_NEWS = (CoverageChanged, DriftChanged, GateChanged)
"""What changes the table."""

_QUIET = frozenset({"ok", "unmeasured", "no reference"})


class GateBoard:
    """Gates that are not open, each with its reason.

    Args:
        largest: gates kept; further ones are not shown.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._shut: dict[tuple[str, str, str], str] = {}

    def take(self, changed: CoverageChanged | DriftChanged | GateChanged) -> str:
        """Follow one change; a line for people about the model that trades, empty where there is no news in it."""
        if isinstance(changed, CoverageChanged):
            gate = f"coverage {changed.horizon} bars ahead"
        elif isinstance(changed, DriftChanged):
            gate = f"{changed.kind} drift" + (f" {changed.horizon} bars ahead" if changed.horizon else "")
        else:
            gate = changed.gate
        key = changed.symbol, changed.model_id, gate
        self._shut.pop(key, None)
        if changed.after not in _QUIET and len(self._shut) < self._largest:
            left = f"{changed.multiplier_ppm / 10_000:g} % of size" if changed.multiplier_ppm else "no new risk"
            self._shut[key] = f"{left}: {changed.reason}"
        news = changed.before != changed.after and not {changed.before, changed.after} <= _QUIET
        market = isinstance(changed, GateChanged) and changed.gate != "forecasts"
        if not news or not (changed.active or market):
            return ""
        return f"{changed.symbol}: {gate} {changed.before} to {changed.after} ({changed.model_id}): {changed.reason}"

    def forget(self, model_id: str) -> None:
        """A model is asked no more, or is measured anew."""
        for key in [key for key in self._shut if key[1] == model_id]:
            del self._shut[key]

    def shown(self) -> dict[str, str]:
        """``EURUSD coverage 4 bars ahead, MODEL`` to what it lets through and why."""
        return {f"{symbol} {gate}, {model_id}": words for (symbol, model_id, gate), words in self._shut.items()}
