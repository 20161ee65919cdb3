"""Message type to subject and lane, in one table."""

import enum

from bus import messages as m
from bus.messages import AnyMessage


class Lane(enum.Enum):
    """How a message travels when a reader is behind.

    QUOTES conflate: the newest a symbol wins and what was passed over is counted. FACTS never drop.
    """

    QUOTES = "quotes"
    FACTS = "facts"


PREFIX = "plimsoll"

# topic -> lane, and the types it carries. The subject on a wire is PREFIX.topic.SYMBOL (or PREFIX.topic._).
_TABLE: dict[str, tuple[Lane, tuple[type[AnyMessage], ...]]] = {
    "quote": (Lane.QUOTES, (m.Quote,)),
    "bar": (Lane.FACTS, (m.Bar,)),
    "clock": (Lane.FACTS, (m.ClockTick,)),
    "forecast": (
        Lane.FACTS,
        (m.Forecast, m.ForecastMissed, m.PatternSeen, m.RegimeSeen, m.CalibratedForecast, m.ForecastResolved),
    ),
    "ask": (Lane.FACTS, (m.ForecastRequested,)),
    "model": (
        Lane.FACTS,
        (
            m.ModelAdmitted,
            m.ModelRefused,
            m.PromoteModel,
            m.RollBackModel,
            m.ModelPromoted,
            m.ModelRolledBack,
            m.ModelRetired,
            m.SwapRefused,
            m.CoverageChanged,
            m.DriftChanged,
            m.GateChanged,
        ),
    ),
    "intent": (Lane.FACTS, (m.Intent, m.IntentRefused)),
    "command": (Lane.FACTS, (m.SubmitOrder, m.CancelOrder, m.AmendProtection)),
    "order": (
        Lane.FACTS,
        (
            m.OrderAccepted,
            m.OrderRejected,
            m.OrderCancelled,
            m.OrderExpired,
            m.OrderUnknown,
            m.OrderFilled,
            m.ProtectionChanged,
            m.SwapCharged,
            m.ForeignChanged,
        ),
    ),
    "account": (Lane.FACTS, (m.AccountSnapshot, m.ReconcileFound, m.BalanceMoved)),
    "control": (
        Lane.FACTS,
        (
            m.HaltTrading,
            m.ResumeTrading,
            m.HaltLatched,
            m.HaltLifted,
            m.ResumeRefused,
            m.RunStarted,
            m.RunResumed,
            m.RunEnded,
            m.LinkChanged,
            m.NewsScheduled,
        ),
    ),
    "alert": (Lane.FACTS, (m.AlertRaised, m.AlertCleared)),
    "training": (
        Lane.FACTS,
        (m.TrainingStarted, m.TrainingProgressed, m.TrainingSaved, m.TrainingEnded, m.ModelsPublished),
    ),
}

TOPICS = tuple(_TABLE)
TOPIC_OF: dict[type[AnyMessage], str] = {kind: topic for topic, (_, kinds) in _TABLE.items() for kind in kinds}
LANE_OF: dict[type[AnyMessage], Lane] = {kind: lane for lane, kinds in _TABLE.values() for kind in kinds}


def subject_of(message: AnyMessage) -> str:
    """The wire subject of a message: ``plimsoll.<topic>.<symbol>``, with ``_`` where it has no symbol."""
    symbol: str = getattr(message, "symbol", "") or "_"
    return f"{PREFIX}.{TOPIC_OF[type(message)]}.{symbol}"
