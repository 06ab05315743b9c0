"""When two test sets are the same."""

import pandas as pd

from pipeline.inputs.manifest import images_digest

ROWS = pd.DataFrame({"path": ["a/1", "b/2"], "label": ["a", "b"], "sha256": ["1" * 64, "2" * 64]})


def test_a_digest_is_of_images_and_labels_whatever_their_paths():
    same = ROWS.assign(path=["x", "y"]).iloc[::-1]
    assert images_digest(same) == images_digest(ROWS)
    assert images_digest(ROWS.assign(label=["b", "a"])) != images_digest(ROWS)
    assert images_digest(ROWS.iloc[:1]) != images_digest(ROWS)
