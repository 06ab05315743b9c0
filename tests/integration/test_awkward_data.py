"""Awkward data sets, from the command line: the right manifest, or one clear error before any work; and a fuzz test."""

import random
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.config import SplitFoldersConfig
from pipeline.config.compose import checked_trials, configuration, with_params
from pipeline.data.listing import list_folder
from pipeline.data.sources import list_images, refuse_absent
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from tests.support.datasets import table_dataset
from tests.support.experiments import run_stages
from tests.support.images import draw, touch, write_images

NOISE = ("Error executing job", "HYDRA_FULL_ERROR", "Traceback")


def prepare(command, folder, *arguments):
    own = [f"cache_folder={folder}/cache", f"hydra.run.dir={folder}/job", f"hydra.sweep.dir={folder}/jobs"]
    ended = command("pipeline.prepare", *arguments, *own)
    assert not any(word in ended.stderr for word in NOISE), ended.stderr
    return ended


def test_images_that_are_not_there_are_one_error_for_a_whole_sweep_before_any_work(command, tmp_path):
    (tmp_path / "empty").mkdir()
    touch(*(tmp_path / "splits" / split / name / "a.png" for split in ("test", "val") for name in "ab"))
    paths = ",".join(f"{tmp_path}/{name}" for name in ("nowhere", "empty", "splits"))
    ended = prepare(command, tmp_path, "-m", "dataset=folder", f"dataset.path={paths}", "seed=1,2")
    assert ended.returncode == 1
    assert ended.stderr.count(f"'{tmp_path}/nowhere' does not exist") == 1
    assert ended.stderr.count(f"{tmp_path}/empty: the folder is empty") == 1
    assert "\n  test/: a/ (1), b/ (1)\n  val/: a/ (1), b/ (1)\n" in ended.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"empty", "splits"}


def test_a_table_without_its_files_is_an_error_before_any_work(command, tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n1,a\n2,b\n")
    touch(tmp_path / "images" / "1.jpg", tmp_path / "images" / "2.jpg")
    ended = prepare(command, tmp_path, "dataset=csv", f"dataset.path={tmp_path}/t.csv")
    assert (ended.returncode, ended.stderr.count("Use dataset.images=images/*.jpg, which finds 2 of 2")) == (1, 1)
    assert {each.name for each in tmp_path.iterdir()} == {"t.csv", "images"}


def test_a_failure_within_a_job_is_an_error_without_advice_of_hydra_and_leaves_the_excluded_files(command, tmp_path):
    write_images(tmp_path / "images", per_class=6)
    for number in range(3):
        (tmp_path / "images" / "red" / f"00{number}.png").write_bytes(b"")
    ended = prepare(command, tmp_path, "dataset=folder", f"dataset.path={tmp_path}/images")
    assert ended.returncode == 1
    assert "'red' has 3; add images, remove the class, or lower dataset.min_images_per_class to 3\n" in ended.stderr
    assert f"3 files were excluded, with reasons in {tmp_path}/job/quarantine.csv" in ended.stderr
    assert pd.read_csv(tmp_path / "job" / "quarantine.csv")["path"].tolist() == [
        f"red/00{each}.png" for each in range(3)
    ]


def test_each_data_set_of_a_sweep_is_looked_at():
    trials = checked_trials(
        with_params(["dataset=folder", "dataset.path=a,b", "seed=range(50)", "backbone=vgg16,resnet50"])
    )
    assert {config.dataset.path for config in trials} == {"a", "b"}
    # One for each value beyond the first of its key, and not one for each of 200 jobs.
    assert len(trials) == 1 + 1 + 49 + 1


def test_class_names_that_tables_use_themselves(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=10, classes=("true", "phase", "a, b $x$"))
    run_stages(configure(f"dataset.path={folder}", "backbone=scratch_cnn"), tmp_path / "job")
    table = pd.read_csv(tmp_path / "job" / "evaluate" / "confusion.csv")
    assert list(table) == ["phase", "true", "predicted", "count"]
    assert set(table["true"]) == {"true", "phase", "a, b $x$"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dataset.images=i/*.jpg", "dataset.images: invalid value 'i/*.jpg' with dataset=folder"),
        ("dataset.splits.test=x", "dataset.splits.train: invalid value None with dataset.splits.test"),
        ("dataset.class_level=middle", "dataset.class_level: invalid value 'middle'; expected top, leaf, or null"),
    ],
)
def test_settings_that_contradict_each_other(override, said):
    with pytest.raises(PipelineError) as caught:
        configuration(["dataset=folder", "dataset.path=a", override])
    assert said in str(caught.value)


def prepared(configure, tmp_path, *overrides):
    run_stages(configure(*overrides), tmp_path / "job", "prepare")
    folder = tmp_path / "job" / "prepare"
    return pd.read_parquet(folder / "manifest.parquet"), read_json(folder / "metrics.json")


def test_given_splits_with_affixes_and_other_folders(configure, tmp_path, caplog):
    for split, count in (("seg_train/seg_train", 8), ("seg_test/seg_test", 3)):
        write_images(tmp_path / "intel" / split, per_class=count + 8 * ("test" in split))
    for file in (tmp_path / "intel" / "seg_test").rglob("00[0-7].png"):
        file.unlink()
    write_images(tmp_path / "intel" / "seg_pred", per_class=5, classes=("seg_pred",))
    manifest, metrics = prepared(configure, tmp_path, "dataset=folder", f"dataset.path={tmp_path}/intel")
    assert manifest["label"].unique().tolist() == ["blue", "green", "red"]
    assert (manifest["split"] == "test").sum() == 9
    assert metrics["left_out"] == 5
    assert "5 files left out: in seg_pred/, which is not read as a split" in caplog.text
    assert "read as splits: seg_train/seg_train/ (train), seg_test/seg_test/ (test)" in caplog.text


def test_a_table_of_ids_with_several_formats_and_scripts(configure, tmp_path):
    labels, rows = ["猫", "قطة", "🐈"], ["id;breed"]
    (tmp_path / "train").mkdir()
    for number in range(60):
        colours = ((230, 30, 30), (30, 230, 30), (30, 30, 230))
        ending = ("jpg", "png", "bmp", "webp")[number % 4]
        draw(colours[number % 3], number).save(tmp_path / "train" / f"{number:016x}.{ending}")
        rows.append(f"{number:016x};{labels[number % 3]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    manifest, metrics = prepared(
        configure, tmp_path, "dataset=csv", f"dataset.path={tmp_path}/labels.csv", "dataset.images=train/*.*",
        "dataset.columns.path=id", "dataset.columns.label=breed",
    )  # fmt: skip
    assert manifest["label"].value_counts().to_dict() == dict.fromkeys(labels, 20)
    assert metrics["formats"] == dict.fromkeys(["BMP", "JPEG", "PNG", "WEBP"], 15)


@pytest.mark.slow
def test_a_thousand_classes_of_ten(configure, tmp_path, caplog):
    random_pixels = np.random.default_rng(1)
    for number in range(1000):
        (tmp_path / "images" / f"class {number}").mkdir(parents=True)
        for image in range(10):
            pixels = random_pixels.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"class {number}" / f"{image}.png")
    manifest, _ = prepared(configure, tmp_path, "dataset=folder", f"dataset.path={tmp_path}/images")
    assert (pd.crosstab(manifest["label"], manifest["split"]) > 0).all(axis=None)
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) <= 2
    assert max((len(each.getMessage()) for each in caplog.records), default=0) < 500


LETTERS = ["a", "b", "e", "o", "A", "é", "e\u0301", " ", "\u00a0", "\u200b", "\ufeff", "\u00ad", "\u200d", "猫", "ع", "🐈", "\ufe0f",
           "1", "-", "\u2011", "_", "'", "(", ")", "+", "=", ",", "$", "#", "@", "%", "\t", "\n", "\\", "."]  # fmt: skip
SPLITS = ["train", "test", "val", "Training", "seg_test", "fold1", "fold2", "@eaDir", "images", "__MACOSX"]


def lengths(short, long):
    return pytest.mark.parametrize("count", [short, pytest.param(long, marks=pytest.mark.slow)])


def outcome(function, *arguments):
    """The classes, or the message of a PipelineError; any other exception ends the test."""
    try:
        listing = function(*arguments)
    except PipelineError as error:
        return str(error)
    assert len(listing.classes) >= 2
    assert all(name == unicodedata.normalize("NFC", name).strip() for name in listing.classes)
    assert {image.label for image in listing.images} <= {*listing.classes}
    return listing.classes


@lengths(40, 500)
def test_any_folders_have_an_answer(tmp_path, count):
    draws = random.Random(6)
    no_splits = SplitFoldersConfig(train=None, validation=None, test=None)
    for number in range(count):
        base = tmp_path / str(number)
        names = [
            "".join(draws.choices(LETTERS, k=draws.randint(1, 5))).strip(".") or "x" for _ in range(draws.randint(1, 5))
        ]
        homes = draws.choices(["", *SPLITS, "train/train", "x/y"], k=draws.randint(1, 3))
        touch(*(base / home / name / f"{draws.randint(0, 3)}.png" for home in homes for name in names))
        outcome(list_folder, base, no_splits, draws.choice([None, "top", "leaf"]))
        if number % 4 == 0:
            # The right answers of these are known.
            plain = tmp_path / f"plain {number}"
            classes = [f"{name} {place}" for place, name in enumerate(draws.sample("abcdefg", 3))]
            touch(*(plain / name / "1.png" for name in classes))
            assert outcome(list_folder, plain, no_splits, None) == sorted(classes)
            touch(plain / f"{classes[0]}\u200b" / "1.png")
            assert "look alike" in outcome(list_folder, plain, no_splits, None)


def mutated(draws, text):
    for _ in range(draws.randint(1, 4)):
        place, kind = draws.randrange(len(text) + 1), draws.randrange(5)
        if kind == 0:
            text = text[:place] + draws.choice([*LETTERS, '"', ";", "\r", "\0", ",,"]) + text[place:]
        elif kind == 1:
            text = text[:place] + text[place + draws.randint(1, 5) :]
        elif kind == 2:
            lines = text.split("\n")
            draws.shuffle(lines)
            text = "\n".join(lines)
        elif kind == 3:
            text = text.replace(draws.choice([",", "a", "\n", "/"]), draws.choice([";", "b", "\r\n", "\\", ""]))
        else:
            text += text[place : place + 40]
    return text


@lengths(40, 1000)
def test_any_table_has_an_answer(tmp_path, count):
    draws = random.Random(7)
    touch(*(tmp_path / "i" / f"{number}.png" for number in range(8)))
    rows = [f"i/{number}.png,class {'abc'[number % 3]},{'train' if number < 6 else 'test'}" for number in range(8)]
    text = "\n".join(["path,label,split", *rows]) + "\n"
    config = table_dataset(tmp_path, text)

    def listed():
        listing = list_images(config)
        refuse_absent(listing)
        return listing

    def answer(table):
        (tmp_path / "images.csv").write_bytes(table.encode())
        return outcome(listed)

    for number in range(count):
        answer(mutated(draws, text))
        if number % 10 == 0:
            shuffled = draws.sample(rows, len(rows))
            assert answer("\n".join(["path,label,split", *shuffled])) == ["class a", "class b", "class c"]
            assert answer(text.replace("/", "\\")) == ["class a", "class b", "class c"]
            assert "files are not there" in answer(text.replace("i/", "j/"))
            assert "more values than columns" in answer(text.replace(draws.choice(rows), "i/0.png,a,train,b"))
