"""Price files of made-up markets, as a user has them."""

from bus.calendar import to_datetime
from tests.harness.markets import made_up_bars


def write_pairs(folder, *symbols, count=1500):
    """One CSV of hourly bars a symbol."""
    folder.mkdir(exist_ok=True)
    for seed, symbol in enumerate(symbols):
        write_csv(folder / f"{symbol}.csv", made_up_bars(count, seed, symbol=symbol))
    return folder


def write_csv(path, bars):
    lines = ["time,open,high,low,close,volume"]
    columns = (bars.ts_open_ns, bars.open_e5, bars.high_e5, bars.low_e5, bars.close_e5)
    for ts_ns, *prices in zip(*(column.tolist() for column in columns), strict=True):
        lines.append(f"{to_datetime(ts_ns):%Y-%m-%d %H:%M:%S},{','.join(f'{p / 1e5:.5f}' for p in prices)},4")
    path.write_text("\n".join(lines) + "\n")
