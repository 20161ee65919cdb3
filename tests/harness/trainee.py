"""A training in a process of its own: python -m tests.harness.trainee FOLDER [PAUSE_S [EPOCHS]].

Trains a small network within a training run, and prints the sha256 of its weights, its losses, and its steps.
"""

import json
import os
import sys
import time
from pathlib import Path

from torch import nn

from daemon.config import Config
from daemon.trainingrun import TrainingRun
from models.learning import TrainingStopped
from models.nets._torch import repeatable
from models.train.engine import workers
from models.train.engine.callbacks import Callback
from models.train.engine.checkpoint import digest
from models.train.engine.loop import learn
from models.train.engine.recipe import Recipe
from tests.harness.learning import problem


class Curve(Callback):
    def __init__(self):
        self.found, self.steps = [], 0

    def step(self, state, look):
        self.steps += 1

    def epoch(self, state):
        self.found.append(state.found)


def network(dropout):
    return nn.Sequential(nn.Linear(18, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 2))


def main(folder, pause_s=0.0, epochs=4, dropout=0.2):
    def loss(module, inputs, targets):
        if module.training:
            time.sleep(pause_s)
        return ((module(inputs) - targets) ** 2).mean()

    rank = int(os.environ.get("RANK", "0"))
    run, curve = TrainingRun(Path(folder), writes=rank == 0), Curve()
    recipe = Recipe(name="small", loss=loss, learning_rate=5e-3, batch=64, average=0.9)
    try:
        with run.held(Config()), repeatable(3):
            task = problem(epochs=epochs, seed=3, job=run.job("EURUSD", "small"), save_every_s=0.0, schedule="cosine")
            learnt = learn(network(dropout), task, recipe, more=(curve,))
            if rank == 0:
                told = {
                    "sha256": digest(*learnt.state_dict().values()),
                    "found": curve.found,
                    "steps": curve.steps,
                    "first": learnt[0].weight[0].tolist(),
                    "world": workers.expected().world,
                }
                sys.stdout.write(json.dumps(told))
            run.finish()
    except TrainingStopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return 130
    finally:
        workers.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(float, sys.argv[2:3]), *map(int, sys.argv[3:4]), *map(float, sys.argv[4:5])))
