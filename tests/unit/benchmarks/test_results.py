"""The pages of measured times."""

from benchmarks.results import page_text, row

RECIPE = row(recipe=[10.0, 12.0], pipeline=[5.0, 4.0], note="fast")
GPU = row(recipe=[0.02], pipeline=[0.01]) | {"page": "gpu"}


def test_each_row_is_on_its_own_page():
    results = {"a CPU": {"VGG16": RECIPE}, "a GPU": {"feed": GPU, "training": row(note="failed") | {"page": "gpu"}}}
    recipe, gpu = (page_text(page, results) for page in ("against_recipe", "gpu"))
    assert (
        f"## a CPU\n\n| workload | recipe or bare loop | pipeline | times faster | and | date |\n{'| --- ' * 6}|\n"
        in recipe
    )
    assert f"| VGG16 | 11.00 s | 4.50 s | 2.5 (2.0, 3.0) | fast | {RECIPE['date']} |\n" in recipe
    assert "a GPU" not in recipe
    assert f"| feed | 20.0 ms | 10.0 ms | 2.0 (2.0) |  | {GPU['date']} |\n| training |  |  |  | failed |" in gpu
    assert "No GPU has been measured" not in gpu
    assert "a CPU" not in gpu


def test_without_rows_the_page_says_that_nothing_was_measured():
    assert "\n\nNo GPU has been measured yet." in page_text("gpu", {"a CPU": {"VGG16": RECIPE}})
    assert "{measured}" not in page_text("gpu", {"a GPU": {"feed": GPU}})
