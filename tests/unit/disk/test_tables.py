"""Tables fit into 100 characters, and have names, not hashes."""

from pathlib import Path

import pytest

from pipeline.disk.contents import Content
from pipeline.disk.parts import Part
from pipeline.disk.prune import Pruned
from pipeline.disk.tables import print_contents, print_parts, print_pruned
from pipeline.storage.entries import Entry

RESULT = {"kind": "result", "stage": "finetune"}
FEATURES = {"kind": "frozen", "shape": "14x14x2048", "view": 12}


def content(holds: dict, *experiments: str, jobs: int = 1, used: float = 0.0) -> Content:
    name = "finetune-0123456789abcdef"
    return Content(Entry(Path(name), Path(f".{name}.lock"), 10**9, used, holds), list(experiments), jobs)


@pytest.fixture
def lines(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def printed() -> list[str]:
        found = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert max(map(len, found)) <= 100
        return found

    return printed


def test_the_first_experiment_is_named_and_the_others_are_counted(lines):
    print_contents([content(RESULT, "vgg16 flowers -1 aaaaaa", "b", "c", "d", jobs=4)], None)
    assert "result of finetune vgg16 flowers -1 aaaaaa and 3 more" in lines()[-1]


def test_a_long_name_keeps_its_end(lines):
    print_contents([content(FEATURES, f"efficientnet_lite0 {'long ' * 10}-12 abcdef", "b")], None)
    line = lines()[-1]
    assert line.startswith("features 14x14x2048, varian… efficientnet_lite…-12 abcdef and 1 more ")
    assert line.endswith("012345")


def test_brackets_in_a_name_are_no_style(lines):
    print_contents([content(RESULT, "vgg16 [bold]x[/bold] -1 aaaaaa")], None)
    assert "vgg16 [bold]x[/bold] -1 aaaaaa" in lines()[-1]


def test_a_long_list_ends_early_unless_all_are_wanted(lines):
    print_contents([content(RESULT, "a")] * 7, 5)
    assert lines()[-1] == "2 more; --all lists them."
    print_contents([content(RESULT, "a")] * 7, None)
    assert len(lines()) == 9


def test_a_time_of_use_in_the_future_is_now(lines):
    print_contents([content(RESULT, "a", used=1e11)], None)
    assert " 0 s " in lines()[-1]


def test_parts_have_a_total(lines, tmp_path):
    print_parts([Part("job folders in runs/", 10**9, 1200), Part("MLflow: models", 2 * 10**9, 3, 10**6)], tmp_path)
    printed = lines()
    assert [line.split() for line in printed[1:4]] == [
        ["job", "folders", "in", "runs/", "1,200", "1.0", "GB"],
        ["MLflow:", "models", "3", "2.0", "GB", "1.0", "MB"],
        ["total", "3.0", "GB", "1.0", "MB"],
    ]
    assert any(line.startswith("Unused in MLflow") for line in printed)
    assert not any(line.startswith("Unused in the cache") for line in printed)


def test_what_was_pruned_is_summed_by_kind(lines):
    outcome = Pruned(
        5 * 10**8, [content(RESULT, "a"), content(RESULT, "b"), content(FEATURES, "a")], [content(RESULT, "c")]
    )
    print_pruned(outcome, 0, limit=None, dry_run=False)
    printed = "\n".join(lines())
    assert "results of stages: 2 removed, 2.0 GB" in printed
    assert "features: 1 removed, 1.0 GB" in printed
    assert "Running processes use 1 more, which stay." in printed
    assert "The cache now has 500.0 MB." in printed
    assert "This is more than the budget" in printed
    print_pruned(Pruned(5), 10, limit=None, dry_run=True)
    printed = "\n".join(lines())
    assert "Nothing is removed." in printed
    assert "The cache would then have 5 bytes." in printed
    assert "budget" not in printed
