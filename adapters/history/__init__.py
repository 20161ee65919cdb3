"""Market history: files of every common format in, checked series and quotes out.

    read(path, symbol=…, clock=…)       series from a file or folder, format recognised by content
    load(path, …)                       the same, with notes on what was left out
    sample()                            real EURUSD hours, from the `sample` extra
    quotes(series, spread=…)            quotes in order of time
    resample(series, period_ns)         longer bars

Importing this package is light: numpy, and pyarrow for Parquet, are loaded when they are first needed.

=====================  =============================================  ==========================================
Format                 Recognised by                                  Clock unless said otherwise
=====================  =============================================  ==========================================
Parquet                magic bytes; columns ts, open … or bid, ask    UTC
CSV with header        names in the first line                        UTC
HistData ASCII, MT     shape of the lines, volume always 0            ``histdata``: New York, with summer time
HistData ticks         shape of the lines                             ``est``: UTC-5
MetaTrader 4           shape of the lines, no header                  ``eet``: UTC+2, UTC+3 in European summer
MetaTrader 5           header ``<DATE>`` …, or tickvol                ``eet``
Dukascopy CSV          header and day-first times                     UTC, or the offset in the time
Dukascopy bi5          LZMA header; day from the folders              UTC
TrueFX                 pair in every line                             UTC
LEAN                   columns without header; day from the name      UTC; ``est`` below a folder ``fxcm``
=====================  =============================================  ==========================================

Plain text or zip, for all text formats. A time that carries its own offset keeps it whatever the clock.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.history.contract import Note
    from adapters.history.loading import History, load, read, sample
    from adapters.history.pricing import SpreadModel, clamped, quotes, resample

__all__ = ["History", "Note", "SpreadModel", "clamped", "load", "quotes", "read", "resample", "sample"]

_HOME = {
    "History": "loading",
    "Note": "contract",
    "SpreadModel": "pricing",
    "clamped": "pricing",
    "load": "loading",
    "quotes": "pricing",
    "read": "loading",
    "resample": "pricing",
    "sample": "loading",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for, on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"adapters.history.{_HOME[name]}"), name)
