"""How much the whole book may lose at once: value at risk, expected shortfall, correlation, factors.

Theory of operation. `history` folds closed bars of every symbol into rows of returns at equal times, and divides each
return by the volatility that was known before it. `covariance` learns from those rows how symbols move together,
`scenarios` lays out what each symbol may do in the next bar (the rows again, scaled to the volatility of now, or points
drawn from the covariance), and `model` puts them together, once a row. What a book would lose is then one product of
its values and the scenarios, and an order statistic. `outlook` says what an entry would make of the book; the rules in
`risk.limits.portfolio` compare that with the limits (`risk.policies.portfolio`).

Equal on every machine: returns, volatilities, scenarios, losses and correlations are whole numbers and exact; the rest
is single additions, multiplications, divisions and square roots of floats in a fixed order, which IEEE 754 rounds alike
everywhere, and is rounded to whole numbers before a verdict hangs on it. numpy appears in `scenarios` alone, on int64
alone, and is loaded when a limit of these is on.
"""
