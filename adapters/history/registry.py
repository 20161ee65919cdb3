"""Every market-data format there is, in the order in which they are asked. The narrower ones come first."""

from adapters.history.contract import Format, Head
from adapters.history.csv_generic import GenericCsv
from adapters.history.dukascopy import DukascopyCandles, DukascopyTicks
from adapters.history.dukascopy_bi5 import DukascopyBi5
from adapters.history.histdata import HistDataBars, HistDataMt, HistDataTicks
from adapters.history.lean import LeanBars, LeanTicks
from adapters.history.metatrader import Mt4Bars, Mt5Bars, Mt5Ticks
from adapters.history.parquet import Parquet
from adapters.history.truefx import TrueFx

FORMATS: tuple[Format, ...] = (
    Parquet(),
    DukascopyBi5(),
    HistDataBars(),
    HistDataTicks(),
    HistDataMt(),
    Mt4Bars(),
    Mt5Bars(),
    Mt5Ticks(),
    DukascopyCandles(),
    DukascopyTicks(),
    TrueFx(),
    LeanTicks(),
    LeanBars(),
    GenericCsv(),
)


def format_of(head: Head) -> Format | None:
    """The first format that recognises a file; None = nobody does."""
    return next((candidate for candidate in FORMATS if candidate.recognise(head)), None)
