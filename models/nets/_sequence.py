"""What networks that look at a sequence of bars see of each: what moved in it, how much for its time, and when."""

FEATURES = (
    "ret_1", "body", "upper_wick", "lower_wick", "range_sigma", "vol_ewma", "vol_ratio_8_64", "spread_ratio_24",
    "hour_sin", "hour_cos", "gap_bars", "gap_return",
)  # fmt: skip
"""Longer returns and averages are left out: a network that sees the bars themselves can form its own."""

NEEDS = ("torch", "onnx", "onnxscript")
