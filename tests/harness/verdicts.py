"""One seed to its problems: undisturbed, disturbed, audited, compared."""

import shutil

from daemon.replay import replay
from tests.harness.auditor import Auditor, records_of
from tests.harness.disasters import BALANCE, Scenario, disturbed, fills_of, undisturbed, with_resting
from tests.harness.reign import hasten, reign_of
from tests.harness.virtual import Killed
from tests.harness.virtual_disk import Durable


def audited(trial, problems):
    """Fold what a trial wrote, and hold it against the trial's exchange and book."""
    records = records_of(trial.folder, problems)
    auditor = Auditor(trial.scenario, BALANCE).audit(records)
    auditor.at_rest(trial.exchange, trial.engine.core.book, finished=trial.reason == "end of data")
    problems.extend(auditor.problems)
    reign = reign_of(message for _, _, message in records)
    problems.extend(reign.over())
    trades = {symbol: each.in_force for symbol, each in trial.engine.core.successions.items()}
    if trades != reign.in_force:
        problems.append(f"{trades} trade, the journal says {reign.in_force}")
    again = replay(trial.folder)
    if not again.identical or again.decisions_sha256 != trial.engine.decisions.hexdigest():
        problems.append(f"replay differs: {again.difference}")
    return len(records)


def problems_of(seed, folder, monkeypatch, *, crashes=True):
    """Everything that went wrong with one seed; empty = nothing."""
    durable, problems = Durable(), []
    monkeypatch.setattr("os.fdatasync", durable)
    monkeypatch.setattr("os.fsync", durable)
    with_resting(monkeypatch)
    hasten(monkeypatch)
    scenario = Scenario(seed)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        whole = undisturbed(scenario, folder / "whole", durable, problems)
        records = audited(whole, problems)
        if crashes and not problems:
            broken = disturbed(scenario, folder / "broken", durable, problems, records)
            audited(broken, problems)
            if broken.engine.decisions.hexdigest() != whole.engine.decisions.hexdigest():
                problems.append("the interrupted run decided otherwise than the undisturbed one")
            if fills_of(folder / "broken") != fills_of(folder / "whole"):
                problems.append("the interrupted run traded otherwise than the undisturbed one")
    except (Killed, AssertionError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever it dies of is what the seed found
        problems.append(f"{type(error).__name__}: {error}")
    return problems
