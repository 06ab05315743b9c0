"""One message with every problem: the key, what was given, what is allowed."""

import pickle

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pipeline.config.compose import CONF, GROUPS, composed, configuration, sweep_trials
from pipeline.config.validate import RENAMED, ConfigError, check, known_keys
from pipeline.system.errors import PipelineError
from tests.support.backbones import BACKBONES


def message_of(*overrides: str) -> str:
    with pytest.raises(PipelineError) as caught:
        configuration(overrides)
    return str(caught.value)


def test_every_problem_stands_in_one_message():
    message = message_of(
        "seed=-1", "train.dropout=1", "train.epocs=3", "+finetune.learning_rat=3", "hardware.precision=fp8"
    )
    assert "seed: invalid value -1; expected an integer >= 0 and <= 4294967295" in message
    assert "train.dropout: invalid value 1; expected a number >= 0 and < 1" in message
    assert "train.epocs: unknown key; did you mean train.epochs?" in message
    assert "finetune.learning_rat: unknown key; did you mean finetune.learning_rate?" in message
    assert (
        "hardware.precision: invalid value 'fp8'; expected one of auto, float32, mixed_bfloat16, mixed_float16"
        in message
    )
    assert len(message.splitlines()) == 6


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rate=nan", "train.learning_rate: invalid value nan"),
        ("train.learning_rate=inf", "train.learning_rate: invalid value inf"),
        ("train.epochs=2.5", "train.epochs: invalid value 2.5; expected an integer >= 1"),
        ("train.epochs=null", "train.epochs: invalid value None"),
        ("train=5", "train=5: unknown file in conf/train/"),
        ("augment.rotation_degrees=181", "expected a number >= 0 and <= 180"),
        ("seed='${nowhere}'", "nowhere"),
        ("~train.epochs", "train.epochs: required key is missing"),
        ("backbone=vgg61", "did you mean vgg"),
        ("dataset=folder", "dataset.path=<folder>"),
        ("dataset.path=images", "use dataset=folder"),
        ("dataset.test=validation", "no validation split of its own"),
        ("image_size=16", "expected at least 32"),
        ("image.resize=fit", "image.resize: invalid value 'fit'; expected one of stretch, crop, pad"),
        ("image.resize=null", "image.resize: invalid value None; expected one of stretch, crop, pad"),
        ("image=crop", "image: 'crop' is not a section; use image.<key>=<value>"),
        ("image.resise=crop", "image.resise: unknown key; did you mean image.resize?"),
        ("+hardware.batch_size=8", "hardware.batch_size: unknown key; did you mean train.batch_size?"),
        ("+hardware.xla=true", "hardware.xla: unknown key; hardware has name, precision, deterministic, strategy, "),
        ("+lr=1", "lr: unknown key; the configuration has seed, image_size, "),
        ("image.pad_value=256", "image.pad_value: invalid value 256; expected an integer >= 0 and <= 255, or a list"),
        ("image.pad_value=-1", "expected an integer >= 0 and <= 255, or a list of three, such as [124, 116, 104]"),
        ("image.pad_value=0.5", "expected an integer >= 0 and <= 255"),
        ("image.pad_value=true", "expected an integer >= 0 and <= 255"),
        ("image.pad_value=null", "expected an integer >= 0 and <= 255"),
        ("image.pad_value=grey", "expected an integer >= 0 and <= 255"),
        ("image.pad_value=[1,2]", "or a list of three"),
        ("image.pad_value=[1,2,3,4]", "or a list of three"),
        ("image.pad_value=[1,2,256]", "or a list of three"),
        ("finetune.warmup_epochs=9", "finetune.warmup_epochs: 9 is more than finetune.epochs=6"),
        ("hardware.first_step_minutes=0", "expected a number > 0, or null"),
        ("backbone.weights=no/such.h5", "the file 'no/such.h5' does not exist"),
        ("tracking.uri=https://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("train.epochs=[1", "train.epochs"),
        ("dataset=csv", "dataset.path=<file>.csv"),
        ("dataset=tfds", "expected <name>:<version>"),
        ("dataset.tfds=mnist:3.0.1", "use dataset=tfds"),
        ("dataset.groups='('", "is not a regular expression"),
        ("dataset.near_duplicates.distance=65", "expected an integer >= 0 and <= 64"),
        ("train.class_weight=heavy", "none, balanced, or {<class>: <number > 0>, ...}"),
        ("train.class_weight=null", "none, balanced, or {<class>: <number > 0>, ...}"),
        (
            "finetune.unfreeze=''",
            "finetune.unfreeze: invalid value ''; expected an integer or a text that is not empty",
        ),
        ("finetune.phases=[]", "a list of {unfreeze, epochs, learning_rate, image_size}"),
        ("finetune.phases=[{epocs:3}]", "a list of {unfreeze, epochs, learning_rate, image_size}"),
        (
            "finetune.phases=[{epochs:1},{epochs:3}]",
            "finetune.warmup_epochs: 2 is more than the epochs of a round, 1",
        ),
        ("finetune.optimizer=adamm", "one of adam, adamw, sgd"),
        ("finetune.rate_factors={top:-1}", "{<block, head or stem>: <number >= 0>, ...}"),
        ("finetune.image_size=16", "expected at least 32"),
        ("augment.mixup=0.2", "finetune.batch_size: invalid value 1 with augment.mixup"),
        ("evaluate.tta=flip", "use crops or none"),
        ("find_lr.low=2", "is not below find_lr.high=1.0"),
        ("train.class_weight={a:0}", "none, balanced, or {<class>: <number > 0>, ...}"),
        ("train.head=svm", "expected one of softmax, ridge, logistic"),
        ("train.hidden_units=8", "train.hidden_units: invalid value 8 with train.head=ridge"),
        ("train.balanced_sampling=true", "use train.class_weight=balanced"),
        ("backbone=scratch_cnn", "train.head: invalid value 'ridge' with backbone=scratch_cnn"),
        ("train.ema=1", "train.ema: invalid value 1; expected a number > 0 and < 1, or null"),
    ],
)
def test_a_problem_says_what_is_allowed(override, said):
    # What only is a problem together with something else.
    beside = {
        **{
            key: ["train.head=ridge"]
            for key in ("train.hidden_units=8", "train.balanced_sampling=true", "backbone=scratch_cnn")
        },
        "augment.mixup=0.2": ["finetune.batch_size=1"],
        "finetune.phases=[{epochs:1},{epochs:3}]": ["finetune.warmup_epochs=2"],
    }
    assert said in message_of(override, *beside.get(override, []))


def test_each_value_of_a_sweep_is_checked_before_any_job_runs():
    message = message_of("train.epochs=1,0", "backbone=vgg16,resnet5o", "seed=1,2,-3")
    assert "train.epochs: invalid value 0" in message
    assert "did you mean resnet50" in message
    assert "seed: invalid value -3" in message


def test_the_values_of_a_sweep_are_checked_beside_the_others_first():
    overrides = OverridesParser.create().parse_overrides(
        ["seed=1,2", "backbone=vgg16,resnet5o", "~train.l2", "image_size=64"]
    )
    assert list(sweep_trials(overrides)) == [
        ["seed=1", "backbone=vgg16", "~train.l2", "image_size=64"],
        ["seed=2", "backbone=vgg16", "~train.l2", "image_size=64"],
    ]


def test_the_error_lists_its_problems_and_can_be_sent_to_another_process():
    with pytest.raises(ConfigError) as caught:
        configuration(["seed=-1", "train.epochs=0"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["seed", "train.epochs"]
    received = pickle.loads(pickle.dumps(caught.value))
    assert (received.problems, str(received)) == (caught.value.problems, str(caught.value))


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_renamed_key_is_reported_with_its_present_name(former, present, prefix):
    assert f"{former}: renamed to {present}" in message_of(f"{prefix}{former}=3")
    assert present in known_keys()


def test_a_password_is_not_repeated_in_the_message():
    assert "secret" not in message_of("tracking.uri=https://me:secret@host", "seed=-1")


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("backbone", "dataset", "experiment")])
def test_every_shipped_configuration_is_valid(group):
    for name in GROUPS[group]:
        assert getattr(check(composed([f"{group}={name}"])), group).name == name


def test_every_shipped_backbone_is_valid():
    # In the place of another one: Hydra takes a third of a second to compose a configuration.
    cfg = composed(["image_size=224"])
    for name in BACKBONES:
        cfg.backbone = OmegaConf.load(CONF / "backbone" / f"{name}.yaml")
        assert check(cfg).backbone.name == name


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


def test_xla_in_float16_on_several_devices_is_refused():
    several = ["hardware.jit_compile=true", "hardware.strategy=mirrored"]
    said = message_of(*several, "hardware.precision=mixed_float16")
    assert "hardware.jit_compile: invalid value true with hardware.strategy=mirrored" in said
    configuration([*several, "hardware.precision=mixed_bfloat16"])
