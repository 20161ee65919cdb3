"""`plimsoll paper` as a user runs it: a process, a state directory, one JSON line, and `kill -9`."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bus.messages import OrderFilled
from daemon.journal import read
from tests.harness.command import REPOSITORY, fresh_state, last_line, paper_arguments, plimsoll

pytestmark = pytest.mark.timeout(600)


def deals_of(result):
    return [record.message for record in read(Path(result["journal"])) if isinstance(record.message, OrderFilled)]


def trades_of(result):
    with (Path(result["report"]).parent / "trades.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_last_line_is_one_json_object_with_every_figure(trained):
    _, result = trained
    wanted = {
        "quotes", "bars", "forecasts", "patterns", "intents", "refused", "orders", "fills", "trades", "coverage",
        "pnl", "costs", "max_drawdown", "equity_end", "duration_s", "journal", "report", "decisions_sha256",
    }  # fmt: skip

    assert wanted <= set(result)
    assert result["trades"] > 0
    assert [row["horizon"] for row in result["coverage"]] == [1, 4, 24]
    for row in result["coverage"]:
        assert {"nominal", "measured", "n", "low95", "high95", "mean_width_pips"} <= set(row)
        assert row["low95"] <= row["measured"] <= row["high95"]
    assert Path(result["report"]).is_file()
    assert Path(result["journal"]).is_dir()


def test_fresh_state_directories_and_hash_seeds_give_the_same_decisions_and_replay_agrees(trained, tmp_path):
    """The whole claim, training included: nothing but the command line decides."""
    base, first = trained
    again = last_line(plimsoll(*paper_arguments(base, tmp_path / "state"), hash_seed="4242"))

    assert again["decisions_sha256"] == first["decisions_sha256"]
    assert trades_of(again) == trades_of(first)
    for result in (first, again):
        replayed = last_line(plimsoll("replay", result["journal"], "--json", hash_seed="77"))
        assert replayed["identical"] is True
        assert replayed["decisions_sha256"] == first["decisions_sha256"]


def test_a_process_that_forecasts_decides_nothing_else(trained, tmp_path):
    base, first = trained
    (base / "process.toml").write_text((base / "plimsoll.toml").read_text() + '\n[forecast]\nworker = "process"\n')
    state = fresh_state(base, tmp_path.name)
    done = plimsoll(*paper_arguments(base, state, config="process.toml"))
    assert last_line(done)["decisions_sha256"] == first["decisions_sha256"]
    assert "forecasts come from this process" not in done.stderr


def test_money_in_the_report_adds_up_to_the_smallest_unit(trained):
    _, result = trained
    report = json.loads((Path(result["report"]).parent / "report.json").read_text())

    money = report["summary"]["conservation"]
    assert money["exact"] is True
    assert money["balance_change"] == money["booked"] == result["pnl"]


KILLS = int(os.environ.get("PLIMSOLL_KILLS", "5"))
"""A batch; fifty in all by ``PLIMSOLL_KILLS=25 pytest tests/flows/test_paper_command.py``."""


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(2))
def test_kill_9_at_random_moments_changes_nothing(trained, batch, tmp_path):
    """So many kills a batch, each followed by the same command: same decisions, same trades, none twice."""
    base, whole = trained
    source = random.Random(100 + batch)
    expected = deals_of(whole)
    interrupted = 0
    for number in range(KILLS):
        state = tmp_path / str(number)
        state.mkdir()
        shutil.copytree(base / "state" / "models", state / "models")
        paced = paper_arguments(base, state, "--pace", "1200000x", config="bare.toml")
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", *map(str, paced)],
            cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        journal = state / "runs" / "0001" / "journal"
        while process.poll() is None and not any(journal.glob("*.seg")):
            time.sleep(0.002)
        time.sleep(source.uniform(0, 1.6))
        process.send_signal(signal.SIGKILL)
        interrupted += process.wait() == -signal.SIGKILL
        finished = (state / "runs" / "0001" / "finished").exists()

        result = last_line(plimsoll(*paper_arguments(base, state, config="bare.toml")))

        assert result["decisions_sha256"] == whole["decisions_sha256"]
        assert finished or Path(result["journal"]) == journal
        assert deals_of(result) == expected
        assert len({deal.deal_id for deal in expected}) == len(expected) > 4
        shutil.rmtree(state)
    assert interrupted >= KILLS * 3 // 4


def test_sigterm_stops_in_good_order_with_a_report_and_the_run_can_go_on(trained, tmp_path):
    base, whole = trained
    state = fresh_state(base, "sigterm")
    arguments = [sys.executable, "-m", "daemon", *map(str, paper_arguments(base, state, "--pace", "60000x"))]
    process = subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any((state / "runs").glob("*/journal/*.seg")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    stopped = json.loads(output.splitlines()[-1])

    assert process.returncode == 0, errors
    assert stopped["ended"] == "SIGTERM"
    assert Path(stopped["report"]).is_file()

    result = last_line(plimsoll(*paper_arguments(base, state)))
    assert result["decisions_sha256"] == whole["decisions_sha256"]


def test_another_seed_trains_other_models(trained):
    base, whole = trained
    state = fresh_state(base, "seed")
    arguments = [*paper_arguments(base, state, config="bare.toml"), "--seed", "8"]

    result = last_line(plimsoll(*arguments))

    assert result["coverage"][0]["model_id"] != whole["coverage"][0]["model_id"]


def test_a_database_that_was_lost_is_rebuilt_from_the_journal(trained):
    base, result = trained
    database = base / "state" / "plimsoll.db"
    database.unlink()

    rebuilt = last_line(plimsoll("store", "rebuild", "--state", base / "state", "--json"))

    assert database.is_file()
    assert rebuilt["records"] > result["quotes"]


def test_an_altered_byte_in_a_journal_is_found_by_verify(trained, tmp_path):
    _, result = trained
    copy = tmp_path / "journal"
    shutil.copytree(result["journal"], copy)
    assert plimsoll("journal", "verify", copy).returncode == 0

    segment = next(copy.glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 3] ^= 4
    segment.write_bytes(data)

    done = plimsoll("journal", "verify", copy)
    assert done.returncode == 1
    assert "ALTERED" in done.stdout


@pytest.mark.parametrize("damage", ["byte", "header"])
def test_a_damaged_journal_is_not_continued_and_the_way_out_works(trained, damage):
    base, result = trained
    state = fresh_state(base, f"damaged-{damage}")
    journal = state / "runs" / "0001" / "journal"
    shutil.copytree(result["journal"], journal)
    segment = next(journal.glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2 if damage == "byte" else 3] ^= 0x41
    segment.write_bytes(data)

    refused = plimsoll(*paper_arguments(base, state))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "--new" in refused.stderr
    assert bytes(data) == segment.read_bytes()

    again = last_line(plimsoll(*paper_arguments(base, state, "--new")))
    assert (again["run"], again["decisions_sha256"]) == ("0002", result["decisions_sha256"])


def test_journal_show_says_of_every_record_whether_it_went_in_or_out(trained):
    base, _ = trained
    done = plimsoll("journal", "show", "--state", base / "state", "--count", "300")
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert [line["seq"] for line in lines] == list(range(1, 301))
    assert {line["direction"] for line in lines} == {"in", "out"}
    assert {line["direction"] for line in lines if line["type"] in {"ModelAdmitted", "Quote"}} == {"in"}


def test_the_kill_switch_holds_through_a_restart_until_it_is_lifted(trained):
    base, _ = trained
    state = fresh_state(base, "halted")
    options = ("--state", state, "--operator", "mo", "--reason", "testing")
    assert plimsoll("halt", *options).returncode == 0

    halted = last_line(plimsoll(*paper_arguments(base, state)))
    assert halted["trades"] == 0
    assert halted["refused"] == halted["intents"] > 0

    assert plimsoll("resume", *options).returncode == 0
    assert last_line(plimsoll(*paper_arguments(base, state)))["trades"] > 0


def test_the_kill_switch_needs_no_sound_configuration(tmp_path):
    (tmp_path / "broken.toml").write_text("[risk\n")
    options = ("--operator", "mo", "--reason", "testing", "--config", tmp_path / "broken.toml")
    done = plimsoll("halt", "--state", tmp_path, *options)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "halt.json").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[strategy]\nname = "interva"\n', "did you mean 'interval'"),
        ("[strategy.params]\nhorizons = 4\n", "did you mean 'horizon'"),
        ('[data]\nclock = "mars"\n', "clock = 'mars'"),
    ],
)
def test_what_no_day_can_begin_with_is_found_by_config_check_and_leaves_no_run(text, message, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    options = ("--config", tmp_path / "c.toml", "--state", tmp_path / "state")
    for command in (("config", "check"), ("paper", "--headless", "--no-web")):
        done = plimsoll(*command, *options)
        assert done.returncode == 78
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "state").exists()


def test_two_processes_cannot_trade_on_one_state(trained):
    base, _ = trained
    state = fresh_state(base, "shared")
    arguments = [sys.executable, "-m", "daemon", *map(str, paper_arguments(base, state, "--pace", "real"))]
    process = subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not any((state / "runs").glob("*/journal/*.seg")):
            assert process.poll() is None
            time.sleep(0.01)
        second = plimsoll(*paper_arguments(base, state))
        assert second.returncode == 78
        assert f"in use by process {process.pid}" in second.stderr
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("paper", "--pace", "fast"), "is no pace"),
        (("paper", "--data", "/nowhere"), "does not exist"),
        (("report", "--state", "/proc/none"), "no run in"),
        (("journal", "verify", "--state", "/proc/none"), "no run in"),
        (("infer", "--state", "/proc/none"), "no bus to serve"),
    ],
)
def test_wrong_usage_is_one_clear_line(arguments, message):
    done = plimsoll(*arguments)

    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    ["", "paper", "train", "train search", "infer", "replay", "report", "journal", "journal verify", "store rebuild",
     "models", "models list", "models promote", "models rollback", "models sign", "models keygen", "halt", "flatten",
     "resume", "doctor", "config", "config show", "config check", "alerts", "alerts rules", "alerts list",
     "alerts test", "alerts resend"],
)  # fmt: skip
def test_every_command_explains_itself(command):
    done = plimsoll(*command.split(), "--help")

    assert done.returncode == 0
    assert len(done.stdout) > 100
