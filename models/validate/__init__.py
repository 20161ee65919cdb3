"""Do the intervals tell the truth on a market's history? Every volatility and every method, beside the random walk's.

    validate(series, settings)      rows for one market
    Settings, Report, Row, RivalRow, JointRow

Theory of operation. The bars are split once in time: parameters (a static split's scores, GARCH) come from the older
part, everything that learns online runs through both, and only forecasts issued in the newer part are counted. A
forecast is issued at the close of every bar and its truth is the close h bars later; nothing that happened after the
issue is used, and labels teach when they come. The point of every model here is "no change": what differs is the scale.

=======================  ============================================================================================
Model                    Scale of the return over h bars
=======================  ============================================================================================
random-walk              none: as far as the price used to move, whatever happened lately
ewma-random-walk         EWMA volatility (0.94, `models.features`) times sqrt h
garch-random-walk        GARCH(1,1) fitted to the older part
seasonal-random-walk     `models.volatility`
=======================  ============================================================================================

Methods make an interval of a scale: `normal` (Gaussian), `split` (static split conformal on the older part), `rolling`
(split conformal on a window that moves on), `aci`, `dtaci`, `pid` (`models.conformal`). The daemon uses DEFAULT.

Prices are bid closes in 1/100000, intervals are integers rounded outwards, as a user would have been given them;
width, Winkler score and CRPS are basis points of the price. CRPS is that of the Gaussian, or of point +- scale x kept
scores (fair), renewed every 24 bars. Forecasts h bars ahead overlap: intervals of coverage and tests count n / h.
"""

from models.validate.report import Report
from models.validate.rows import DEFAULT, JointRow, RivalRow, Row
from models.validate.run import Settings, bars_ahead, validate

__all__ = ["DEFAULT", "JointRow", "Report", "RivalRow", "Row", "Settings", "bars_ahead", "validate"]
