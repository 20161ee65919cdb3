"""`plimsoll run --mode demo` as a user runs it, against a venue in another process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from bus.messages import (
    AccountSnapshot,
    Bar,
    CalibratedForecast,
    Intent,
    OrderFilled,
    Quote,
    RunEnded,
    SubmitOrder,
)
from daemon.journal import read, segments
from tests.harness.command import REPOSITORY

# A still shorter day: the last twentieth of the sample's bars. Forecasts and orders take a millisecond, which is less
# than lies between two prices, and so as good as nothing.
SHORT = """
[data]
train_pct = 60
calibrate_pct = 35
trade_pct = 5
symbols = ["EURUSD"]
[forecast]
model_latency_ms = 1
[execution]
order_latency_ms = 1
fact_latency_ms = 0
[store]
enabled = false
"""


def write_config(path: Path, venue: dict, *, account=0, text=SHORT, **more) -> Path:
    """A configuration for a venue that told where it is."""
    keys = {
        "client_id": f'"{venue["client_id"]}"',
        "host": f'"{venue["host"]}"',
        "port": venue["port"],
        "ca_file": f'"{venue["ca_file"]}"',
        "account_id": venue["accounts"][account]["ctidTraderAccountId"],
        "time": '"recorded"',
        **more,
    }
    path.write_text(text + "\n[ctrader]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items()) + "\n")
    return path


def environment(venue: dict, **more) -> dict:
    secrets = {
        "PLIMSOLL_CTRADER_CLIENT_SECRET": venue["client_secret"],
        "PLIMSOLL_CTRADER_ACCESS_TOKEN": venue["access_token"],
    }
    return {**os.environ, **secrets, **more}


def command(config: Path, state: Path, *more, mode="demo") -> list[str]:
    arguments = ["run", "--mode", mode, "--headless", "--json", "--no-web", "--config", config, "--state", state]
    return [sys.executable, "-m", "daemon", *map(str, (*arguments, *more))]


class Live:
    """The process, and what its journal says so far."""

    def __init__(self, config, state, venue, *more):
        self.state = state
        self.process = subprocess.Popen(
            command(config, state, *more), cwd=REPOSITORY, env=environment(venue), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def journal(self) -> Path:
        runs = sorted((self.state / "runs").iterdir()) if (self.state / "runs").is_dir() else []
        return runs[-1] / "journal" if runs else self.state / "none"

    def size(self) -> int:
        folder = self.journal
        return sum(path.stat().st_size for path in segments(folder)) if folder.is_dir() else 0

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=30)

    def stop(self):
        """SIGTERM; gives standard output, and fails where the process did not end in good order."""
        self.process.send_signal(signal.SIGTERM)
        said, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, (self.process.returncode, said, errors)
        assert not errors, errors
        return said


class Story:
    """What a journal says, without times and names: a day to compare with another."""

    def __init__(self, folder: Path):
        self.signals, self.fills, self.forecasts, self.bars, self.orders = [], [], {}, {}, []
        self.snapshots, self.quotes, self.ended = [], 0, ""
        over = False
        for record in read(folder):
            m = record.message
            over = over or (isinstance(m, RunEnded) and m.flatten)
            match m:
                case Quote():
                    self.quotes += 1
                case Bar():
                    self.bars[m.ts_open_ns] = (m.open_e5, m.high_e5, m.low_e5, m.close_e5, m.spread_e5)
                case CalibratedForecast() if m.active:
                    self.forecasts[m.as_of_ns] = m.horizons
                case Intent() if not over:
                    self.signals.append((m.action, m.side, m.reference_e5, m.stop_loss_e5, m.take_profit_e5,
                                         m.horizon, m.point_e5, m.edge_e5, m.model_id))  # fmt: skip
                case SubmitOrder():
                    self.orders.append(m.client_order_id)
                case OrderFilled() if not over:
                    self.fills.append((m.side, m.volume_e2, m.price_e5, m.closing, m.cause, m.commission,
                                       m.gross_profit, m.booked_commission, m.booked_swap, m.balance))  # fmt: skip
                case AccountSnapshot():
                    self.snapshots.append(m)
                case RunEnded():
                    self.ended = m.reason
                case _:
                    pass
