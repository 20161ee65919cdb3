"""The calibrators of one symbol, by model and horizon: persisted whole, reset when a model is swapped."""

from collections.abc import Collection, Iterator, Sequence

import msgspec

from bus.errors import DataError
from models.conformal.calibrator import Calibrator, CalibratorState, calibrator


class BankEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One calibrator and whose it is."""

    model_id: str
    horizon: int
    state: CalibratorState


class BankState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All calibrators of a symbol; encodes to JSON and back without loss."""

    symbol: str
    entries: tuple[BankEntry, ...]


class Bank:
    """Calibrators of one symbol, in the order of admission."""

    __slots__ = ("_calibrators", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._calibrators: dict[tuple[str, int], Calibrator] = {}

    def __len__(self) -> int:
        """Calibrators held."""
        return len(self._calibrators)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Model and horizon of each."""
        return iter(self._calibrators)

    def admit(self, model_id: str, horizon: int, levels_ppm: Sequence[int], scores: Sequence[float]) -> None:
        """Start a model's calibrator from its own scores alone, whatever was there under its name."""
        self._calibrators[model_id, horizon] = calibrator(levels_ppm, horizon, scores)

    def dismiss(self, model_id: str) -> None:
        """Forget a model's calibrators; nothing where it has none."""
        for key in [key for key in self._calibrators if key[0] == model_id]:
            del self._calibrators[key]

    def get(self, model_id: str, horizon: int) -> Calibrator | None:
        """The calibrator of a model at a horizon; None where it was not admitted."""
        return self._calibrators.get((model_id, horizon))

    def state(self) -> BankState:
        """Everything, for `restore`."""
        entries = (
            BankEntry(model_id=model_id, horizon=horizon, state=each.state())
            for (model_id, horizon), each in self._calibrators.items()
        )
        return BankState(symbol=self.symbol, entries=tuple(entries))

    @classmethod
    def restore(cls, state: BankState, symbol: str, model_ids: Collection[str]) -> "Bank":
        """Continue, bit-equal, with the calibrators of the models that still serve; those of others are left behind.

        Raises:
            DataError: the state is another symbol's, or contradicts itself.
        """
        if state.symbol != symbol:
            raise DataError(f"calibrators of {state.symbol} for {symbol}; scores of two markets are not exchangeable")
        made = cls(symbol)
        for entry in state.entries:
            if entry.model_id in model_ids:
                made._calibrators[entry.model_id, entry.horizon] = Calibrator.restore(entry.state)
        return made
