"""A data set given as a CSV file."""

import pytest

from pipeline.data.sources import image_folder, list_images, listing_digest, table_file
from pipeline.system.errors import PipelineError
from tests.support.datasets import dataset


@pytest.fixture
def table(tmp_path):
    def write(text: str, *overrides: str):
        (tmp_path / "images.csv").write_text(text, encoding="utf-8")
        return dataset(tmp_path / "images.csv", *overrides, source="csv")

    return write


def test_a_row_a_picture(table, tmp_path):
    config = table("path,label\nb/2.png,cat\na/1.png,dog\nc 3.png,cat\n")
    listing = list_images(config)
    assert [(p.path, p.label, p.split, p.group) for p in listing.images] == [
        ("a/1.png", "dog", None, None), ("b/2.png", "cat", None, None), ("c 3.png", "cat", None, None),
    ]  # fmt: skip
    assert listing.classes == ["cat", "dog"]
    assert image_folder(config) == tmp_path


def test_splits_groups_and_other_names_of_columns(table):
    rows = "file,kind,part,patient\n1.png,cat,train,p1\n2.png,dog,Val,p2\n3.png,dog,training,p3\n4.png,cat,test,p1\n"
    columns = "dataset.columns={path: file, label: kind, split: part}"
    listing = list_images(table("\ufeff" + rows, columns, "dataset.groups=patient"))
    assert [p.split for p in listing.images] == ["train", "validation", "train", "test"]
    assert [p.group for p in listing.images] == ["p1", "p2", "p3", "p1"]
    without = list_images(table(rows, "dataset.columns={path: file, label: kind, split: null}"))
    assert {p.split for p in without.images} == {None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n", "the file has no rows"),
        ("name,label\nx,y\n", "has no column 'path'; it has name, label: set the names in dataset.columns"),
        ("path,label\n1.png,\n,dog\n", "row 2 has no label"),
        ("path,label\n1.png,a\n1.png,b\n", "'1.png' occurs in 2 rows"),
        ("path,label,split\n1.png,a,train\n2.png,b,dev\n", "row 3 has the split 'dev'; allowed are train"),
        ("path,label,split\n1.png,a,train\n2.png,b,\n", "1 rows have no split, first '2.png'"),
        ("path,label,split\n1.png,a,train\n2.png,b,train\n3.png,c,test\n", "classes that no training row has: 'c'"),
        ("path,label\n1.png,a\n2.png,a\n", "has only one class"),
        ("path,label\n1.png,A\n2.png,a\n", "differ only in case"),
    ],
)
def test_a_useless_table_is_refused(table, text, said):
    with pytest.raises(PipelineError) as caught:
        list_images(table(text))
    assert said in str(caught.value)


def test_many_problems_are_not_all_told(table):
    with pytest.raises(PipelineError, match="and 15 more"):
        list_images(table("path,label\n" + "1.png,\n" * 24))


def test_a_missing_table_and_a_missing_group_column(table, tmp_path):
    with pytest.raises(PipelineError, match=r"dataset\.path: .* is not a file .* expected a CSV file"):
        image_folder(dataset(tmp_path / "nowhere.csv", source="csv"))
    with pytest.raises(PipelineError, match="has no column 'patient'"):
        list_images(table("path,label\n1.png,a\n2.png,b\n", "dataset.groups=patient"))


def test_no_text_is_no_table(tmp_path):
    (tmp_path / "images.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(PipelineError, match="is not a CSV file in UTF-8"):
        list_images(dataset(tmp_path / "images.csv", source="csv"))


def test_the_digest_notices_rows_and_pictures(table, tmp_path):
    text = "path,label\n1.png,a\n2.png,b\n"
    digests = [listing_digest(table(text))]
    assert listing_digest(table(text)) == digests[0]
    (tmp_path / "1.png").write_bytes(b"x")
    digests.append(listing_digest(table(text)))
    digests.append(listing_digest(table(text + "3.png,a\n")))
    assert len(set(digests)) == 3


def test_a_table_is_prepared_like_a_folder(table, tmp_path, configure):
    """Missing files are quarantined, and groups of the table are kept whole."""
    import pandas as pd

    from pipeline.stages import prepare
    from pipeline.stages.settings import Places, stage_settings
    from tests.support.images import draw

    rows = ["path,label,patient"]
    for number in range(60):
        draw((number, 90, 90), number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},p{number // 4}")
    config = configure()
    config.dataset = table("\n".join([*rows, "gone.png,a,p99"]) + "\n", "dataset.groups=patient")
    (tmp_path / "prepare").mkdir()
    places = Places(tmp_path, table_file(config.dataset), weights=None, cache=tmp_path / "cache")
    prepare.run(stage_settings("prepare", config), places, tmp_path / "prepare")
    manifest = pd.read_parquet(tmp_path / "prepare" / "manifest.parquet")
    assert len(manifest) == 60
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    assert set(manifest["group"]) == {f"p{number}" for number in range(15)}
    quarantined = pd.read_csv(tmp_path / "prepare" / "quarantine.csv", keep_default_na=False)
    assert quarantined.to_dict("records") == [{"path": "gone.png", "reason": "No such file or directory", "sha256": ""}]
