"""The public exchange-rate benchmark: several daily series forecast together, 30 days ahead, scored as GluonTS does.

    measure(levels, forecasters(...), samples=1000, seed=7)     rows, protocol by protocol
    protocols_of(levels)                                        which protocols a file of this shape allows

Theory of operation. Everything here is about paths: a forecaster learns from the training days once (`Sampler.fit`) and
then draws paths of all series together from whatever history a window has (`Paths`). Windows, levels and weights are
those of the published protocols, so that a figure can stand beside published ones; a fair CRPS stands beside them,
because 19 levels, 9 levels and all levels are three different figures of one forecast. `walks` holds what every model
has to beat, `learnt` our own architectures, which move the centre of the best of those walks.

Protocols that share the name exchange_rate and must not be mixed:

A  exchange_rate_nips (Salinas et al. 2019): 6,071 days of training, 5 windows of 30 days, 19 levels, CRPS and CRPS-sum
B  exchange_rate of GluonTS: the same windows, 9 levels, series by series: the figure of 9 levels in A's rows
C  the last 30 of 7,588 days, 9 levels and MASE (Ansari et al. 2024)
"""

from models.benchmark.protocols import Protocol, Row, measure, protocols_of
from models.benchmark.walks import WALKS, Paths, Sampler

__all__ = ["WALKS", "Paths", "Protocol", "Row", "Sampler", "measure", "protocols_of"]
