"""Everything that is measured on one market, table by table."""

import msgspec

from models.validate.agreement import AgreementRow
from models.validate.rows import JointRow, RivalRow, Row
from models.validate.skill import CalibrationRow, Curve, SkillRow
from models.validate.trading import TradingRow

__all__ = ["AgreementRow", "CalibrationRow", "Curve", "JointRow", "Report", "RivalRow", "Row", "SkillRow", "TradingRow"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One market.

    Attributes:
        rows: intervals of every volatility and method; `rivals`, `joint`: of the default.
        skill: forecasters over expanding windows, the random walk's rows first; likewise `trading` (not deflated:
            that takes the rows of all markets, see `models.validate.trading.deflated`), `agreement`, `calibration`
            and `curves`.
        notes: what could not be measured, and why.
    """

    rows: tuple[Row, ...]
    rivals: tuple[RivalRow, ...]
    joint: tuple[JointRow, ...]
    skill: tuple[SkillRow, ...] = ()
    trading: tuple[TradingRow, ...] = ()
    agreement: tuple[AgreementRow, ...] = ()
    calibration: tuple[CalibrationRow, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
