"""A training that was stopped, killed or short of disk goes on as if nothing had happened."""

import errno
import json
import os
import resource
import shutil
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (`make torch`)")

from torch import nn  # noqa: E402

from bus.errors import ModelError  # noqa: E402
from models.learning import TrainingStopped  # noqa: E402
from models.nets._torch import repeatable  # noqa: E402
from models.train.engine import checkpoint  # noqa: E402
from models.train.engine.callbacks import Callback  # noqa: E402
from models.train.engine.loop import learn  # noqa: E402
from models.train.engine.recipe import Recipe  # noqa: E402
from tests.harness.learning import Remembering, problem  # noqa: E402


class Curve(Callback):
    def __init__(self):
        self.found, self.steps = [], 0

    def step(self, state, look):
        self.steps += 1

    def epoch(self, state):
        self.found.append((state.epoch, state.found, state.train_loss))


RECIPE = Recipe(
    name="small", loss=lambda net, inputs, targets: ((net(inputs) - targets) ** 2).mean(), learning_rate=5e-3, batch=64
)


def trained(job, recipe=RECIPE, **settings):
    curve = Curve()
    settings = {"epochs": 3, "save_every_s": 0.0, "noise": 0.1, "mixup": 0.2} | settings
    with repeatable(1):
        net = nn.Sequential(nn.Linear(18, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 2))
        learnt = learn(net, problem(seed=1, job=job, **settings), recipe, more=(curve,))
    return checkpoint.digest(*learnt.state_dict().values()), curve


def stopped_and_resumed(folder, at, **settings):
    """Stop before step `at`, resume in what is a process's place, and give what came out and the curve's two parts."""
    first = Remembering(folder, {at: "stop"})
    with pytest.raises(TrainingStopped, match=f"after {at} steps; the same command goes on"):
        trained(first, **settings)
    second = Remembering(folder)
    sha256, curve = trained(second, **settings)
    assert second.said("going on from checkpoint")
    return sha256, curve


@pytest.mark.parametrize("at", [1, 5, 6, 7, 17])
def test_a_training_that_was_stopped_anywhere_ends_in_the_same_weights_to_the_bit(at, tmp_path):
    """Six steps an epoch: within one, at its end, at the last but one step of all. Dropout and augmentation go on."""
    whole, curve = trained(Remembering())
    resumed, rest = stopped_and_resumed(tmp_path, at)
    assert resumed == whole
    assert rest.steps == 18 - at
    assert rest.found == curve.found[at // 6 if at % 6 else at // 6 - 1 :]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "schedule": "plateau", "patience": 3},
        {"optimizer": "lamb", "schedule": "one_cycle", "accumulation": 2},
        {"optimizer": "adam", "average": 0.9, "schedule": "restarts", "kernels": "fused"},
        {"precision": "fp16", "schedule": "cosine"},
        {"regularise": 0.0, "checkpointing": "on"},
    ],
    ids=lambda settings: settings.get("optimizer", next(iter(settings))),
)
def test_so_does_every_optimiser_schedule_and_precision(settings, tmp_path):
    assert stopped_and_resumed(tmp_path, 8, **settings)[0] == trained(Remembering(), **settings)[0]


def test_a_training_that_has_come_to_its_end_is_not_trained_again(tmp_path):
    first, _ = trained(Remembering(tmp_path))
    job = Remembering(tmp_path)
    again, curve = trained(job)
    assert (again, curve.steps) == (first, 0)
    assert job.said("come to its end before")


def test_a_checkpoint_of_another_training_is_not_taken_for_this_ones(tmp_path):
    trained(Remembering(tmp_path))
    for other in ({"noise": 0.2}, {"epochs": 4}, {"outputs": 2, "n": 401}):
        job = Remembering(tmp_path)
        assert trained(job, **other)[0] == trained(Remembering(), **other)[0]
        assert job.said("of another training")


def test_how_it_runs_may_change_between_two_parts_and_what_it_learns_does_not(tmp_path):
    with pytest.raises(TrainingStopped):
        trained(Remembering(tmp_path, {8: "stop"}))
    job = Remembering(tmp_path)
    trained(job, accumulation=4, checkpointing="on", keep=1)
    assert job.said("going on from checkpoint")


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif how == "altered":
        data[-5] ^= 0x40
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut short", "altered", "gone"])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(how, suffix, tmp_path):
    with pytest.raises(TrainingStopped):
        trained(Remembering(tmp_path, {14: "stop"}))
    newest = max(tmp_path.glob("step-*.json"))
    assert newest.stem == "step-0000000014"
    damage(newest.with_suffix(suffix), how)
    job = Remembering(tmp_path)
    sha256, curve = trained(job)
    assert sha256 == trained(Remembering())[0]
    assert curve.steps == 6
    if (how, suffix) != ("gone", ".json"):  # which is a checkpoint that was never finished
        (line,) = job.said("damaged")
        assert "step-0000000014" in line
    assert job.said("going on from checkpoint step-0000000012")


def test_where_every_checkpoint_is_damaged_it_begins_again_and_says_so(tmp_path):
    with pytest.raises(TrainingStopped):
        trained(Remembering(tmp_path, {14: "stop"}))
    for path in tmp_path.glob("step-*.safetensors"):
        damage(path, "altered")
    job = Remembering(tmp_path)
    sha256, curve = trained(job)
    assert (sha256, curve.steps) == (trained(Remembering())[0], 18)
    assert len(job.said("damaged")) == 3


@contextmanager
def files_of_at_most(size):
    """The system itself refuses to let a file grow further, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_ones_before_and_ends_in_one_line(tmp_path):
    with pytest.raises(TrainingStopped):
        trained(Remembering(tmp_path, {8: "stop"}))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_of_at_most(1000), pytest.raises(ModelError, match="make room, then give the same command again"):
        trained(Remembering(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert trained(Remembering(tmp_path))[0] == trained(Remembering())[0]


def test_a_file_that_cannot_be_flushed_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    checkpoint.write(path, b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert path.read_bytes() == b"old"


def test_checkpoints_are_tensors_and_json_and_only_so_many(tmp_path):
    trained(Remembering(tmp_path), epochs=6, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{suffix}"
        for name in ("finished", "step-0000000030", "step-0000000036")
        for suffix in (".json", ".safetensors")
    )
    record = json.loads((tmp_path / "step-0000000036.json").read_bytes())
    assert record["state"]["steps"] == 36
    assert b"pickle" not in (tmp_path / "step-0000000036.safetensors").read_bytes()


def test_saving_on_a_wish_does_not_change_what_is_learnt(tmp_path):
    job = Remembering(tmp_path, {2: "save", 9: "save"})
    sha256, _ = trained(job, save_every_s=9999)
    assert sha256 == trained(Remembering())[0]
    assert sorted(path.stem for path in tmp_path.glob("step-*.json")) == ["step-0000000002", "step-0000000009"]
    assert [each["step"] for each in job.told if each["kind"] == "checkpoint"] == [2, 9]


def test_a_pause_waits_for_the_next_wish_and_saves_first(tmp_path):
    job = Remembering(tmp_path, {3: "pause", 6: "resume", 10: "pause", 11: "stop"})
    with pytest.raises(TrainingStopped, match="after 7 steps"):
        trained(job, save_every_s=9999)
    assert [line.split(": ")[1] for line in job.said("paused") + job.said("going on")] == [
        "paused after 3 steps", "paused after 7 steps", "going on", "going on",
    ]  # fmt: skip
    assert trained(Remembering(tmp_path))[0] == trained(Remembering())[0]


def test_out_of_memory_and_resumed_it_keeps_the_pieces_it_found_to_fit(tmp_path):
    calls = []

    def greedy(module, inputs, targets):
        if module.training and len(calls) > 2 and len(inputs) > 20:
            raise torch.OutOfMemoryError("simulated")
        calls.append(len(inputs))
        return ((module(inputs) - targets) ** 2).mean()

    recipe = Recipe(name="small", loss=greedy, learning_rate=5e-3, batch=64)
    with pytest.raises(TrainingStopped):
        trained(Remembering(tmp_path, {8: "stop"}), recipe)
    shutil.copytree(tmp_path, tmp_path / "copy")
    job = Remembering(tmp_path)
    trained(job, recipe)
    assert not job.said("out of memory")


def test_without_a_folder_nothing_is_kept_and_a_stop_says_so():
    with pytest.raises(TrainingStopped, match="nothing was kept"):
        trained(Remembering(None, {2: "stop"}))
