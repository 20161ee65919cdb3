"""A process that dies, or a machine that loses power, at any point of a refresh locks nobody out.

What a kill between the broker's rotation and the durable write means. The broker documents no grace for a used refresh
token (reference 2.5: it is refused, and both old tokens are gone), and the endpoint here gives none. So that grant is
lost, and no program can get it back. What is asserted is therefore: with the spare grant that `plimsoll auth login`
asks for, one such loss costs no access and no person is needed; without the spare, exactly the crashes in that window
lock out, and none besides; and in general access ends only when as many answers were lost as there were grants.
"""

import pytest

from adapters.ctrader.grants import LoginNeeded, TokensUnavailable
from tests.harness.tokens import MARK, Broker, Crash, Desk, Machine, luck

DUE_DAYS = 25


def due_desk(*, spare=True, broker=None):
    desk = Desk(broker=broker)
    desk.log_in(spare=spare)
    desk.pass_days(DUE_DAYS)
    return desk


def steps_of(desk, method="access_token"):
    desk.folder.machine = Machine()
    desk.run(method)
    return desk.folder.machine.steps


def assert_no_token_in_the_clear(desk):
    assert not any(MARK.encode() in content for content in desk.folder.files())


def test_a_thousand_crashes_at_every_point_of_a_refresh_lock_nobody_out():
    points = len(steps_of(due_desk()))
    crashed = lost = 0
    for run in range(1_000):
        desk = due_desk()
        method = "access_token" if run % 3 else "refresh"
        crashed += desk.crash(run % points, method, rng=luck(run) if run % 2 else None)
        lost += desk.lost_answers

        token = desk.run()

        assert desk.broker.accepts(token), f"run {run}, {desk.folder.machine.steps}"
        assert_no_token_in_the_clear(desk)
        desk.pass_days(DUE_DAYS)
        assert desk.broker.accepts(desk.run()), f"run {run}: a month later"
    assert crashed > 900
    assert lost > 50, "the window between rotation and durable write was never hit: the test tests nothing"


def test_without_a_spare_exactly_a_lost_answer_locks_out_and_it_is_said_when_and_what_to_do():
    steps = steps_of(due_desk(spare=False))
    hole = range(steps.index("rotated"), steps.index("write on", steps.index("rotated")) + 1)
    locked_out, said = [], set()
    for point in range(len(steps)):
        desk = due_desk(spare=False)
        assert desk.crash(point)
        desk.pass_days(10)  # until the old access token has expired too
        try:
            assert desk.broker.accepts(desk.run())
        except LoginNeeded as error:
            locked_out.append(point)
            said.add(str(error))
    assert locked_out == list(hole)
    (line,) = said
    assert "CH_ACCESS_TOKEN_INVALID): a refresh that began at 2023-12-09 22:13:20 UTC was cut short" in line
    assert line.endswith("after the broker had made the new pair; run `plimsoll auth login`")


def test_access_ends_only_when_as_many_answers_were_lost_as_there_were_grants():
    """Crashes in refreshes, in recoveries, and in recoveries of recoveries; by kill and by power cut."""
    ended = 0
    for seed in range(400):
        rng = luck(seed)
        desk = due_desk()
        for _ in range(rng.randrange(1, 6)):
            try:
                desk.crash(rng.randrange(45), rng.choice(["access_token", "refresh"]), rng if seed % 2 else None)
            except (LoginNeeded, TokensUnavailable):
                desk.folder.restart()
            if rng.random() < 0.5:
                desk.pass_days(DUE_DAYS)
        try:
            served = desk.broker.accepts(desk.run())
        except LoginNeeded:
            served = False
        assert served or desk.lost_answers >= 2, f"seed {seed}: {desk.lost_answers} answers lost, and no access"
        ended += not served
        assert_no_token_in_the_clear(desk)
        desk.log_in()
        assert desk.broker.accepts(desk.run()), "a login mends everything"
    assert ended > 0, "the worst case never came up: the test tests nothing"


@pytest.mark.parametrize("ends_others", [False, True])
def test_a_crash_in_a_login_leaves_the_old_access_or_the_new_one(ends_others):
    for point in range(60):
        desk = due_desk(broker=Broker(consent_ends_others=ends_others))
        desk.folder.machine = Machine(point)
        try:
            desk.log_in()
        except Crash:
            desk.folder.restart(luck(point))
            if ends_others:
                desk.log_in()  # the broker ended the old grant, and the user is there
        desk.folder.restart()
        assert_no_token_in_the_clear(desk)
        assert desk.broker.accepts(desk.run()), f"point {point}"


def test_a_whole_answer_that_was_not_renamed_yet_is_adopted_not_thrown_away():
    steps = steps_of(due_desk(spare=False))
    answered = steps.index("answered")
    desk = due_desk(spare=False)
    assert desk.crash(steps.index("rename", answered))
    asked = desk.asked

    assert desk.broker.accepts(desk.run())
    assert desk.asked == asked


def test_an_adopted_answer_is_made_durable_before_it_is_used():
    """Killed between write and sync, and after the next start the power goes."""
    steps = steps_of(due_desk(spare=False))
    for seed in range(10):
        desk = due_desk(spare=False)
        assert desk.crash(steps.index("sync", steps.index("answered")))
        token = desk.run()
        assert desk.broker.accepts(token)

        desk.folder.restart(luck(seed))
        assert desk.run() == token


def test_a_lost_active_grant_is_followed_by_the_spare_without_spending_its_refresh_token():
    steps = steps_of(due_desk(), "refresh")
    last_rotation = len(steps) - 1 - steps[::-1].index("rotated")
    desk = due_desk()
    assert desk.crash(last_rotation, "refresh")
    spare = desk.store().peek().spare.pair

    assert desk.run("refresh") == spare.access
    assert desk.broker.accepts(spare.access)


def test_nothing_is_created_or_allocated_between_the_answer_and_its_durable_record():
    steps = steps_of(due_desk(spare=False))
    after = steps[steps.index("answered") :]

    assert after[:6] == ["answered", "write", "write on", "sync", "rename", "sync folder"]
