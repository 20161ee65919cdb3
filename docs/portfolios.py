"""Writes the tables of docs/portfolio-risk.md.

python docs/portfolios.py [FIRST [LAST]]     rows of the ten pairs' common hours; all by default
python docs/portfolios.py decay              the weight of the past in the volatility, on the first half
"""

import sys
from concurrent.futures import ProcessPoolExecutor

from risk.policies.portfolio import METHODS
from risk.portfolio import history
from tests.harness.backtest import followed, hours

LEVELS = (9_500, 9_900)
DECAYS_PPM = (0, 940_000, 970_000, 985_000, 994_000)


def one(job):
    method, level, first, last, decay_ppm = job
    times, prices = hours(start=first, stop=last)
    if decay_ppm:
        history.DECAY_PPM = decay_ppm
    return decay_ppm, followed(method, level, prices, times)


def main():
    words = sys.argv[1:]
    if words == ["decay"]:
        half = len(hours()[0]) // 2
        jobs = [("filtered", level, None, half, decay) for decay in DECAYS_PPM[1:] for level in LEVELS]
    else:
        first, last = ([int(word) for word in words] + [None, None])[:2]
        jobs = [(method, level, first, last, 0) for method in METHODS for level in LEVELS]
    print("| method | level | bars ahead | n | exceeded, least to most of 20 books | Kupiec | Christoffersen ", end="")
    print("| loss over shortfall | VaR over mean move |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with ProcessPoolExecutor(2) as pool:
        for decay, found in pool.map(one, jobs):
            for each in found:
                name = f"{each.method} {decay / 1e6:g}" if decay else each.method
                print(
                    f"| {name} | {each.level:.0%} | {each.ahead} | {each.n:,} | {each.misses:.2%}, {each.least:.2%} to "
                    f"{each.most:.2%} | {each.kupiec:.0%} | {each.christoffersen:.0%} | {each.severity:.2f} "
                    f"| {each.mean:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
