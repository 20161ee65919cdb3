"""From market history to artifacts. The heavy side: training imports scikit-learn when it starts, not before."""

from models.train.fit import Trained, fit_defaults

__all__ = ["Trained", "fit_defaults"]
