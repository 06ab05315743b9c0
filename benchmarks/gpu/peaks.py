"""Peak speed of known cards, by their data sheets."""

# 10^12 operations per second on tensor cores, dense, in float16 or bfloat16 with float32 sums. A multiply-add is two.
_PEAKS = {
    "H200": 989.0,
    "H100 80GB HBM3": 989.0,
    "H100 PCIe": 756.0,
    "A100": 312.0,
    "A30": 165.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L4": 121.0,
    "V100-SXM2": 125.0,
    "V100-PCIE": 112.0,
    "T4": 65.0,
}
# Of that, in float32 on tensor cores.
_TF32 = 0.5


def fraction_of_peak(device: str, precision: str, macs_per_second: float) -> float | None:
    """Return the fraction of a card's peak speed that is used.

    Args:
        device: Name of the card.
        precision: Precision of the cell; float32 without tensor cores has no entry.
        macs_per_second: Multiply-adds per second.

    Returns:
        None if the peak of the card is unknown.
    """
    words = device.partition(",")[0].replace("NVIDIA ", "")
    # The longest name comes first: A100 is not A10.
    name = next((name for name in sorted(_PEAKS, key=len, reverse=True) if name in words), None)
    if name is None or precision == "float32" or not macs_per_second:
        return None
    return 2 * macs_per_second / 1e12 / (_PEAKS[name] * (_TF32 if precision == "tf32" else 1))
