"""The command line: `plimsoll`. Every command explains itself with --help and answers machines with --json."""

import errno
import os
import signal
import sys

import click

from bus.errors import ConfigError, TradingError
from daemon.commands import alerts, auth, ctrader, data, machine, models, probe, proof, records, reports, trading
from daemon.commands import forecast as forecasting
from daemon.commands import risk as limits
from daemon.commands import search as searching
from daemon.commands import train as training
from daemon.commands import validate as validation
from daemon.commands.common import EXIT_FAILED

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: the service manager must not restart what cannot start."""

EXIT_STOPPED = 130
"""Stopped by Ctrl-C or SIGTERM where there was nothing to bring to an end in good order."""

VERSION = "0.1.0"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="plimsoll")
def cli() -> None:
    """Plimsoll trades foreign exchange on forecasts whose uncertainty is measured.

    \b
    Start here:
      plimsoll paper            a paper trading day on real prices, with a report
      plimsoll run --mode demo  the same at a broker, on its demo account
      plimsoll report           write the report of the last run again
      plimsoll report daily     was everything kept, and what needs attention
      plimsoll replay           prove that the last run can be repeated bit for bit
      plimsoll doctor           is this machine fit, and if not, what to do

    Trading foreign exchange on margin can lose more than you paid in. Nothing here is advice, and no profit is
    promised.
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)


for command in (
    trading.paper,
    trading.run_command,
    training.train,
    trading.infer,
    forecasting.forecast,
    validation.validate,
    records.replay_command,
    reports.report,
    proof.audit_command,
    proof.parity_command,
    records.journal_group,
    records.store_group,
    models.models_group,
    limits.risk_group,
    trading.halt,
    trading.flatten,
    trading.resume,
    ctrader.venue,
    probe.ctrader_group,
    data.data_group,
    auth.auth_group,
    alerts.alerts_group,
    machine.doctor,
    machine.config_group,
):
    cli.add_command(command)
training.train.add_command(searching.search)


class Stopped(SystemExit):
    """Ctrl-C, SIGTERM, or a terminal that went away.

    No KeyboardInterrupt: scikit-learn takes one for the end of training, and half-trained models would be published.
    """


def _stop(_signal: int, _frame: object) -> None:
    """All of them are one wish. Commands that can end in good order put their own handler in place of this."""
    raise Stopped(EXIT_STOPPED)


def main() -> int:
    """Run a command; one clear line for every expected error.

    Returns:
        0 = done, 1 = failed, 2 = wrong usage, 78 = the configuration cannot be obeyed, 130 = stopped.
    """
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _stop)
    # Small models are fastest on one thread, and sums then always add up in the same order.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    try:
        return int(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (Stopped, click.exceptions.Abort):
        click.echo("stopped", err=True)
        return EXIT_STOPPED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        click.echo(f"plimsoll: {error}", err=True)
        return EXIT_CONFIG
    except TradingError as error:
        click.echo(f"plimsoll: {error}", err=True)
        return EXIT_FAILED
    except OSError as error:
        click.echo(f"plimsoll: {_words(error)}", err=True)
        return EXIT_FAILED


def _words(error: OSError) -> str:
    """What the system refused, and what may be done about it."""
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{where}{reason}; make room, then give the same command again: what the journal has is safe"
    return f"{where}{reason}; `plimsoll doctor` may say more"


if __name__ == "__main__":
    sys.exit(main())
