"""Pages for review: likely label errors apart from hard images."""

import pandas as pd

from pipeline.reports.review_pages import doubtful_labels


def test_a_label_is_likely_wrong_if_the_model_is_as_sure_of_the_other_class_as_of_its_own_images():
    rows = [
        # Images of b have 0.8 on average.
        *(("b.png", "b", 0.8, "b", 0.8) for _ in range(3)),
        ("wrong.png", "a", 0.05, "b", 0.95),
        ("hard.png", "a", 0.4, "b", 0.6),
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "probability", "suggested", "suggested_probability"])
    likely, hard = doubtful_labels(table)
    assert likely["path"].tolist() == ["wrong.png"]
    assert hard["path"].tolist() == ["hard.png"]
