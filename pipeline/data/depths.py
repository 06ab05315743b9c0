"""One depth for all 16-bit files of a data set, so that their brightness can be compared."""

import pandas as pd

from pipeline.data.inspection import STATISTICS


def one_depth(manifest: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Scale all 16-bit files from the largest depth that one of them uses.

    Args:
        manifest: Table with the column depth, the bits that the samples of each 16-bit file use, and `STATISTICS` of
            images that are scaled from these bits.

    Returns:
        (manifest, counts): Table with the same depth for all 16-bit files, and `STATISTICS` of images that are scaled
        from it; without such files, it has no column depth. The counts are the number of files by the bits that they
        use.
    """
    used = manifest["depth"].dropna().astype("int64")
    if used.empty:
        return manifest.drop(columns="depth"), {}
    manifest = manifest.copy()
    factors = (2**used - 1) / (2 ** used.max() - 1)
    for name in STATISTICS:
        manifest.loc[used.index, name] *= factors
    manifest.loc[used.index, "depth"] = used.max()
    return manifest, {str(depth): int(count) for depth, count in used.value_counts().sort_index().items()}


def depth_message(depth: int, counts: dict[str, int]) -> str:
    """Return a message about the depth of a data set's 16-bit files, `counts` by the bits that they use."""
    each = ", ".join(f"{count} use {bits} bits" for bits, count in counts.items())
    scaled = f"{sum(counts.values())} files of 16 bits: {each}. All of them, and those to predict, are scaled from {depth} bits"
    darker = "; those that use fewer bits look darker. If they come from other devices, scale their samples alike"
    return scaled + darker * (len(counts) > 1)
