"""Image sets of TensorFlow Datasets, on its own made-up data."""

import pytest

from pipeline.data.folders import list_folder
from pipeline.data.tfds import write_tfds
from pipeline.errors import PipelineError

tfds = pytest.importorskip("tensorflow_datasets")

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
    with tfds.testing.mock_data(num_examples=12):
        folder = write_tfds(name, tmp_path)
    listing = list_folder(folder)
    assert {picture.split for picture in listing.pictures} == splits
    assert len(listing.pictures) == 12 * len(splits)
    assert len(listing.classes) == classes
    # Without the mock, the set would have to be downloaded.
    assert write_tfds(name, tmp_path) == folder
    assert sorted(item.name for item in tmp_path.iterdir()) == ["tfds", "tfds.lock"]


def test_files_are_what_was_published(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        folder = write_tfds("tf_flowers:3.0.1", tmp_path)
        published = {
            bytes(example["image"])
            for example in tfds.as_numpy(
                tfds.builder("tf_flowers:3.0.1", data_dir=tmp_path).as_dataset(
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
        pytest.raises(PipelineError, match="is no set of images with one label each"),
    ):
        write_tfds("imdb_reviews:1.0.0", tmp_path)
