"""Image sets of TensorFlow Datasets, on its own made-up data."""

from pathlib import Path

import pytest

from pipeline.data.bundled import write_tfds
from pipeline.data.listing import list_folder
from pipeline.system.errors import PipelineError

tfds = pytest.importorskip("tensorflow_datasets")


def described(home, name: str, splits: set[str], count: int) -> None:
    """What TensorFlow Datasets writes down of a set that it has prepared: the names and sizes of its splits."""
    builder = tfds.builder(name, data_dir=home)
    template = tfds.core.ShardedFileTemplate(
        data_dir=builder.data_dir, dataset_name=builder.name, filetype_suffix="tfrecord"
    )
    of_split = [
        tfds.core.SplitInfo(
            name=split, shard_lengths=[count], num_bytes=1, filename_template=template.replace(split=split)
        )
        for split in splits
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(of_split))
    Path(builder.data_dir).mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)


# What its own use of other libraries says.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("name", "splits", "classes"),
    [
        ("cats_vs_dogs:4.0.1", {None}, 2),
        ("tf_flowers:3.0.1", {None}, 5),
        ("oxford_iiit_pet:4.0.0", {"train", "test"}, 37),
        ("stanford_dogs:0.2.0", {"train", "test"}, 120),
        ("cifar10:3.0.2", {"train", "test"}, 10),
    ],
)
def test_a_set_becomes_a_folder_of_pictures_once(tmp_path, name, splits, classes):
    described(tmp_path / "tensorflow_datasets", name, splits - {None} or {"train"}, 12)
    with tfds.testing.mock_data(num_examples=12, data_dir=tmp_path / "tensorflow_datasets"):
        folder = write_tfds(name, tmp_path)
    listing = list_folder(folder)
    assert {image.split for image in listing.images} == splits
    assert len(listing.images) == 12 * len(splits)
    assert len(listing.classes) == classes
    # Without the mock, the set would have to be downloaded.
    assert write_tfds(name, tmp_path) == folder


def test_files_are_what_was_published(tmp_path):
    described(tmp_path / "tensorflow_datasets", "tf_flowers:3.0.1", {"train"}, 3)
    with tfds.testing.mock_data(num_examples=3, data_dir=tmp_path / "tensorflow_datasets"):
        folder = write_tfds("tf_flowers:3.0.1", tmp_path)
        published = {
            bytes(example["image"])
            for example in tfds.as_numpy(
                tfds.builder("tf_flowers:3.0.1", data_dir=tmp_path / "tensorflow_datasets").as_dataset(
                    split="train", decoders={"image": tfds.decode.SkipDecoding()}
                )
            )
        }
    assert {file.read_bytes() for file in folder.rglob("*") if file.is_file()} == published


def test_what_there_is_not_is_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"dataset\.tfds: TensorFlow Datasets has no 'no_such_set:1\.0\.0'"):
        write_tfds("no_such_set:1.0.0", tmp_path)
    with pytest.raises(PipelineError, match=r"TensorFlow Datasets has no 'cifar10:9\.9\.9'"):
        write_tfds("cifar10:9.9.9", tmp_path)
    with (
        tfds.testing.mock_data(num_examples=1),
        pytest.raises(PipelineError, match="is not a data set of images with one label each"),
    ):
        write_tfds("imdb_reviews:1.0.0", tmp_path)
