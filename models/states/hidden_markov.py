"""Two regimes that last: a hidden Markov chain over how wide each bar is for its hour."""

import numpy as np

from models.columns import Floats
from models.forms.markov import Markov
from models.states import Task
from models.states._chains import learn


class HiddenMarkov:
    """Calm or wild for the hour, remembered from bar to bar: a two-state chain over each bar's range, learnt by EM."""

    name = "hidden_markov"
    task: Task = "regimes"
    needs: tuple[str, ...] = ()
    feature_names = ("range_to_usual",)
    window = 60

    def fit(self, bars: Floats, seed: int) -> Markov:
        """Learn the chain; there is nothing random in it, and `seed` is not used."""
        del seed
        chain = learn(bars, 2)
        return Markov(
            means=chain.means,
            variances=chain.variances,
            transition=chain.transition,
            start=np.ascontiguousarray(chain.start),
            window=self.window,
        )


STATE = HiddenMarkov()
