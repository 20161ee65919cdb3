"""Limits on what rests on models: how far their intervals, the market they know and their answers may be off."""

from collections.abc import Mapping
from typing import ClassVar

from bus.errors import ConfigError
from risk.policies.keys import Group, Key


class ModelLimits(Group, frozen=True, kw_only=True):
    """``[risk.models]``: when a model's forecasts are worth less, or nothing. Only entries are held against it.

    Attributes:
        coverage_window: outcomes of an interval that are looked at, the newest (`risk.coverage`). 0 = off.
        false_block_pct_e2: chance of a false block within so many outcomes, in 1/100 percent.
        degraded_pct: what is left of size while coverage is degraded, in percent.
        performance_drift_pct: excess of a model's Winkler score over its calibration split from which size falls, in
            percent; at twice as much there is no new risk (`risk.drift`). 0 = off.
        data_drift_pct: part of the distribution of returns or ranges that lies elsewhere than in training. 0 = off.
        spectrum_drift_pct: part of the power of returns that lies in other octaves than in training. 0 = off.
        drift_pct: what is left of size from there on.
        unusual_bars: bars, from the unusual one on, during which `unusual_pct` holds. 0 = off.
        unusual_pct: what is left of size while an unusual bar or window is that recent; 0 = no new risk.
        avoid_regimes: regimes in which `avoided_pct` holds, 0 the calmest; empty = none.
        sure_regime_pct: least probability of the most probable regime, in percent; below it none is known, and
            `avoided_pct` holds. 0 = off.
        avoided_pct: what is left of size in a regime to avoid; 0 = no new risk.
        misses: forecasts in a row that a model owes until it brings no new risk. 0 = off.
        answers: forecasts in a row, in time, that let it again.
    """

    SECTION: ClassVar[str] = "risk.models"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "coverage_window": Key(
            0, 5_000, "off", 250, "outcomes", "Over how many outcomes the coverage of intervals is measured.", ""
        ),
        "false_block_pct_e2": Key(
            1, 1_000, "", 100, "1/100 %", "Chance that honest intervals are blocked within so many outcomes.", "higher"
        ),
        "degraded_pct": Key(1, 100, "", 50, "% of size", "What is left of size while coverage is degraded."),
        "performance_drift_pct": Key(
            0, 1_000, "off", 15, "%", "How far a model's Winkler score may exceed its calibration's."
        ),
        "data_drift_pct": Key(0, 100, "off", 20, "%", "How much of the returns may lie elsewhere than in training."),
        "spectrum_drift_pct": Key(
            0, 100, "off", 25, "%", "How much of the returns' power may lie in other octaves than in training."
        ),
        "drift_pct": Key(1, 100, "", 50, "% of size", "What is left of size beyond such a limit."),
        "unusual_bars": Key(0, 1_000, "off", 2, "bars", "How long an unusual bar or window is remembered.", "higher"),
        "unusual_pct": Key(0, 100, "", 50, "% of size", "What is left of size meanwhile; 0 is no new risk."),
        "sure_regime_pct": Key(
            0, 100, "off", 60, "%", "Least probability of the most probable regime, to know it at all.", "higher"
        ),
        "avoided_pct": Key(0, 100, "", 25, "% of size", "What is left in a regime to avoid; 0 is no new risk."),
        "misses": Key(0, 1_000, "off", 3, "forecasts", "How many in a row may fail to come."),
        "answers": Key(1, 1_000, "", 3, "forecasts", "How many in a row must come in time after that.", "higher"),
    }

    WORDS: ClassVar[Mapping[str, str]] = {"avoid_regimes": "Regimes to avoid, 0 the calmest; empty = none."}

    coverage_window: int = 250
    false_block_pct_e2: int = 100
    degraded_pct: int = 50
    performance_drift_pct: int = 15
    data_drift_pct: int = 20
    spectrum_drift_pct: int = 25
    drift_pct: int = 50
    unusual_bars: int = 2
    unusual_pct: int = 50
    avoid_regimes: tuple[int, ...] = ()
    sure_regime_pct: int = 0
    avoided_pct: int = 0
    misses: int = 3
    answers: int = 3

    def __post_init__(self) -> None:
        """Refuse impossible values, windows that can never be measured, and regimes that are none."""
        super().__post_init__()
        if 0 < self.coverage_window < 50:
            raise ConfigError(f"risk.models.coverage_window = {self.coverage_window}: write 0 (off), or 50 or more")
        if len(self.avoid_regimes) > 64 or not all(type(each) is int and 0 <= each < 64 for each in self.avoid_regimes):
            raise ConfigError(
                f"risk.models.avoid_regimes = {list(self.avoid_regimes)}: regimes count from 0, the calmest; write for "
                "instance [2]"
            )
