"""Tables as people and programs write them."""

import pytest

from pipeline.data.sources import list_images
from pipeline.system.errors import PipelineError
from tests.support.datasets import dataset, table_dataset


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators(tmp_path, separator, end):
    rows = [["path", "label"], ["1.png", "a" if separator == "," else "a, b"], ["2.png", "c"]]
    listing = list_images(table_dataset(tmp_path, end.join(separator.join(row) for row in rows)))
    assert [image.label for image in listing.images] == [rows[1][1], "c"]


def test_blanks_after_separators(tmp_path):
    listing = list_images(
        table_dataset(tmp_path, "path, label, split\n1.png, a, train\n2.png, b, Training \n3.png, a, dev\n")
    )
    assert [(image.label, image.split) for image in listing.images] == [
        ("a", "train"),
        ("b", "train"),
        ("a", "validation"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,label\n1.png,a,b\n", "has 2 columns with the name 'label'; rename all but one"),
        ("path,label,path,path\n1.png,a,b,c\n", "has 3 columns with the name 'path'"),
        ("path,label,split,split\n1.png,a,,\n", "has 2 columns with the name 'split'"),
        ("path,label\n1.png,a,b\n2.png,c\n", "row 2 has more values than columns; put values with commas in quotes"),
        ("path,label\n1\0.png,a\n2.png,b\n", "row 2 has a null character in path"),
        ("path,label\n1.png,  \n2.png,b\n", "row 2 has no label"),
        ("path,label\n\n\n1.png,\n2.png,b\n", "row 4 has no label"),
        ("path,label,split\n1.png,a,train\n2.png,b,somewhere\n", "row 3 has the split 'somewhere'"),
    ],
)
def test_awkward_tables_are_refused(tmp_path, text, said):
    with pytest.raises(PipelineError) as caught:
        list_images(table_dataset(tmp_path, text))
    assert said in str(caught.value)


def test_columns_that_are_not_used_may_share_a_name(tmp_path):
    text = "path,label,x,x,,\n1.png,a,1,1,,\n2.png,b,1,1,,\n"
    assert list_images(table_dataset(tmp_path, text)).classes == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_named(tmp_path, encoding):
    (tmp_path / "images.csv").write_bytes("path,label\ncafé.png,café\n".encode(encoding))
    with pytest.raises(PipelineError, match=r"is not a CSV file in UTF-8: .*; save it as such"):
        list_images(dataset(tmp_path / "images.csv", source="csv"))
