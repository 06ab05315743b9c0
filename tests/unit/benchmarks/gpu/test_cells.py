"""The plan of the measurement."""

import pytest

from benchmarks.gpu.cells import BACKBONES, SIZES, cells


@pytest.mark.parametrize("device", SIZES)
def test_cells_are_few_and_each_changes_one_setting(device):
    planned = cells(device, quick=False)
    assert len(planned) <= 24
    names = [cell.name for cell in planned]
    assert len(set(names)) == len(names)
    assert {cell.subject for cell in planned if cell.part == "extraction"} == set(BACKBONES)
    base = SIZES[device].batches[1]
    for cell in planned:
        if cell.part != "feed":
            changed = [cell.precision != "auto", cell.batch != base, not cell.deterministic]
            # XLA needs a training that is not deterministic.
            assert sum(changed) + cell.xla <= 1 + cell.xla
            assert cell.images % cell.batch == 0


@pytest.mark.parametrize("device", SIZES)
def test_quick_has_the_feed_and_both_parts_of_one_backbone(device):
    parts = [cell.part for cell in cells(device, quick=True)]
    assert parts == ["feed"] * 4 + ["extraction", "training"]
