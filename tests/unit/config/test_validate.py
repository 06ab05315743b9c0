"""One message with every problem: the key, what was given, what is allowed."""

import pytest

from pipeline.config.compose import GROUPS, composed, configuration
from pipeline.config.validate import check, known_keys
from pipeline.system.errors import PipelineError


def problems(*overrides: str) -> str:
    with pytest.raises(PipelineError) as caught:
        configuration(overrides)
    return str(caught.value)


def test_every_problem_stands_in_one_message():
    message = problems(
        "seed=-1", "train.dropout=1", "train.epocs=3", "+finetune.learning_rat=3", "hardware.precision=fp8"
    )
    assert "seed: -1 is not allowed; it takes a whole number, 0 to 4294967295" in message
    assert "train.dropout: 1 is not allowed; it takes a number, at least 0 and below 1" in message
    assert "train.epocs: there is no such key; did you mean train.epochs?" in message
    assert "finetune.learning_rat: there is no such key; did you mean finetune.learning_rate?" in message
    assert (
        "hardware.precision: 'fp8' is not allowed; it takes auto | float32 | mixed_bfloat16 | mixed_float16" in message
    )
    assert len(message.splitlines()) == 6


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rate=nan", "train.learning_rate: nan"),
        ("train.learning_rate=inf", "train.learning_rate: inf"),
        ("train.epochs=2.5", "train.epochs: 2.5 is not allowed; it takes a whole number, at least 1"),
        ("train.epochs=null", "train.epochs: None is not allowed"),
        ("train=5", "train=5: there is no such file in conf/train/"),
        ("augment.rotation_degrees=181", "0 to 180 degrees"),
        ("seed='${nowhere}'", "nowhere"),
        ("~train.epochs", "train.epochs: is missing"),
        ("backbone=vgg61", "did you mean vgg"),
        ("dataset=folder", "dataset.path=<folder>"),
        ("dataset.path=images", "say dataset=folder"),
        ("dataset.test=validation", "no validation split of its own"),
        ("image_size=16", "takes at least 32"),
        ("finetune.warmup_epochs=9", "finetune.warmup_epochs: 9 is more than finetune.epochs=6"),
        ("backbone.weights=no/such.h5", "there is no file 'no/such.h5'"),
        ("tracking.uri=https://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("train.epochs=[1", "train.epochs"),
        ("dataset=csv", "dataset.path=<file>.csv"),
        ("dataset=tfds", "it takes <name>:<version>"),
        ("dataset.tfds=mnist:3.0.1", "say dataset=tfds"),
        ("dataset.groups='('", "is no regular expression"),
        ("dataset.near_duplicates.distance=65", "0 to 64 bits"),
        ("train.class_weight=heavy", "none | balanced | {<class>: <number above 0>, ...}"),
        ("finetune.unfreeze=''", "finetune.unfreeze: '' is not allowed; it takes a whole number or a text, not empty"),
        ("finetune.phases=[]", "a list of {unfreeze, epochs, learning_rate, image_size}"),
        ("finetune.phases=[{epocs:3}]", "a list of {unfreeze, epochs, learning_rate, image_size}"),
        (
            "finetune.phases=[{epochs:1},{epochs:3}]",
            "finetune.warmup_epochs: 2 is more than the epochs of a phase, 1",
        ),
        ("finetune.optimizer=adamm", "adam | adamw | sgd"),
        ("finetune.rate_factors={top:-1}", "{<block, head or stem>: <number, at least 0>, ...}"),
        ("finetune.image_size=16", "takes at least 32"),
        ("augment.mixup=0.2", "finetune.batch_size: 1 is not allowed with augment.mixup"),
        ("evaluate.tta=flip", "say crops"),
        ("find_lr.low=2", "is not below find_lr.high=1.0"),
        ("train.class_weight={a:0}", "none | balanced | {<class>: <number above 0>, ...}"),
    ],
)
def test_a_problem_says_what_is_allowed(override, said):
    # What only is a problem together with something else.
    beside = {
        "augment.mixup=0.2": ["finetune.batch_size=1"],
        "finetune.phases=[{epochs:1},{epochs:3}]": ["finetune.warmup_epochs=2"],
    }
    assert said in problems(override, *beside.get(override, []))


def test_each_value_of_a_sweep_is_checked_before_any_job_runs():
    message = problems("train.epochs=1,0", "backbone=vgg16,resnet5o", "seed=1,2,-3")
    assert "train.epochs: 0" in message
    assert "did you mean resnet50" in message
    assert "seed: -3" in message


def test_a_password_is_not_repeated_in_the_message():
    assert "secret" not in problems("tracking.uri=https://me:secret@host", "seed=-1")


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("dataset", "experiment")])
def test_every_shipped_configuration_is_valid(group):
    for name in GROUPS[group]:
        assert getattr(check(composed([f"{group}={name}"])), group).name == name


def test_every_shipped_experiment_and_data_set_is_valid():
    for name in GROUPS["dataset"]:
        path = [f"dataset.path=images{'.csv' * (name == 'csv')}"] if name in ("csv", "folder") else []
        set_name = ["dataset.tfds=mnist:3.0.1"] if name == "tfds" else []
        assert check(composed([f"dataset={name}", *path, *set_name])).dataset.name == name
    assert check(composed([])).dataset.name == "digits"
    for name in GROUPS["experiment"]:
        assert check(composed([f"experiment={name}", "dataset=folder", "dataset.path=images"])).dataset.name == "folder"


def test_the_articles_own_experiment():
    config = check(composed(["experiment=article_vgg16", "dataset=folder", "dataset.path=images"]))
    assert (config.backbone.name, config.image_size, config.train.batch_size, config.train.dropout) == (
        "vgg16",
        224,
        32,
        0.1,
    )
    assert (config.train.epochs, config.finetune.unfreeze, config.finetune.learning_rate) == (5, 15, 1e-5)


def test_the_names_that_users_rely_on():
    relied_on = """seed dataset.path dataset.test backbone.weights augment.views train.epochs finetune.epochs finetune.learning_rate
    finetune.unfreeze hardware.precision tracking.uri tracking.experiment"""
    assert set(relied_on.split()) <= set(known_keys())
