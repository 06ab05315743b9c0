"""conf/ < params.yaml < the command line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pipeline.config import compose as composition
from pipeline.config.compose import configuration, is_override, with_params
from pipeline.config.texts import quote_literally
from pipeline.system.errors import PipelineError


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Write this checkout's params.yaml."""
    monkeypatch.setattr(composition, "PARAMS", tmp_path / "params.yaml")

    def write(text: str) -> None:
        (tmp_path / "params.yaml").write_text(text)

    return write


def test_params_win_over_conf_and_the_command_line_over_both(params):
    params("train: {epochs: 7, batch_size: 8}\nseed: 3")
    config = configuration(["train.epochs=9"])
    assert (config.train.epochs, config.train.batch_size, config.seed, config.train.dropout) == (9, 8, 3, 0.1)


def test_null_in_params_means_that_conf_decides(params):
    params("seed: null\nbackbone: {name: null, weights: null}\ntrain: null")
    assert configuration() == configuration(["seed=42", "backbone=efficientnet_lite0", "train=default"])


@pytest.mark.parametrize(
    "text", ["backbone: vgg16", "backbone: {name: vgg16}", "backbone: {name: vgg16, weights: random}"]
)
def test_a_group_is_a_name_or_a_mapping_with_its_name(params, text):
    params(text)
    assert configuration().backbone.constructor == "VGG16"


def test_numbers_of_plain_yaml_loaders_strings_are_numbers(params):
    params("finetune: {learning_rate: 3e-05}")
    assert configuration().finetune.learning_rate == 3e-5


def test_a_group_on_the_command_line_discards_what_params_say_under_it(params):
    params("finetune: {learning_rate: 0.01, epochs: 2}\ntrain: {epochs: 3}")
    config = configuration(["finetune=article"])
    assert (config.finetune.learning_rate, config.finetune.epochs, config.train.epochs) == (1e-5, 5, 3)


@pytest.mark.parametrize("where", ["command line", "params"])
def test_an_experiment_discards_all_of_params_but_the_data_set(params, capsys, where):
    mine = "seed: 9\nbackbone: resnet50\ntrain: {epochs: 2}\ndataset: {name: folder, path: mine}\n"
    params(mine + ("experiment: article_vgg16" if where == "params" else ""))
    config = configuration([] if where == "params" else ["experiment=article_vgg16"])
    assert (config.backbone.name, config.seed, config.train.epochs, config.dataset.path) == ("vgg16", 42, 5, "mine")
    assert (
        "experiment=... replaces these settings of params.yaml: seed=9 backbone=resnet50 train.epochs=2"
        in capsys.readouterr().err
    )


def test_an_experiments_own_values_give_way_to_the_command_line(params):
    params("")
    config = configuration(
        ["experiment=article_vgg16", "dataset=folder", "dataset.path=x", "backbone=resnet50", "finetune.unfreeze=-1"]
    )
    assert (config.backbone.name, config.finetune.unfreeze, config.finetune.learning_rate) == ("resnet50", -1, 1e-5)


@pytest.mark.parametrize(
    "path", ["a b", "it's", "a,b", "a=b", "ends\\", "{x}", "[y]", "", "ünï", "$HOME", "null", "1e3", "x: y", "#"]
)
def test_any_text_in_params_arrives_as_it_is(params, path):
    params(OmegaConf.to_yaml({"dataset": {"name": "folder", "path": path}}))
    assert configuration().dataset.path == path


@pytest.mark.parametrize("text", ["image: {resize: pad, pad_value: [1, 2, 3]}", "image: {resize: pad, pad_value: 7}"])
def test_a_section_without_files_stands_in_params_as_others_do(params, text):
    params(text)
    image = configuration().image
    assert (image.resize, image.pad_value) == ("pad", 7 if "7" in text else [1, 2, 3])
    params("image: null")
    own = configuration().image
    params("")
    assert own == configuration().image


def test_an_unknown_key_in_params_is_named(params):
    params("train: {epoch: 3}\nlearningrate: 1")
    with pytest.raises(PipelineError) as caught:
        configuration()
    assert "train.epoch: unknown key; did you mean train.epochs?" in str(caught.value)
    assert "learningrate: unknown key; did you mean train.learning_rate?" in str(caught.value)


@pytest.mark.parametrize("value", ["3", "null"])
def test_a_renamed_key_in_params_is_reported_with_its_present_name(params, value):
    params(f"hardware: {{picture_cache_gib: {value}}}")
    with pytest.raises(PipelineError, match=r"hardware\.picture_cache_gib: renamed to hardware\.image_cache_gib"):
        configuration()


@pytest.mark.parametrize("text", ["- a list", "a: [1", "just text"])
def test_params_that_are_no_mapping_are_refused(params, text):
    params(text)
    with pytest.raises(PipelineError, match=r"params\.yaml"):
        configuration()


def test_a_groups_name_may_be_given_like_a_key(params):
    params("")
    assert with_params(["backbone.name=vgg16,resnet50"]) == ["backbone=vgg16,resnet50"]


def test_no_experiment_on_the_command_line_means_none(params):
    params("experiment: article_vgg16")
    assert configuration(["experiment=null"]).backbone.name == "efficientnet_lite0"


def test_keys_that_are_no_names_are_refused(params):
    params("train: {learning rate: 1}")
    with pytest.raises(PipelineError, match=r"params\.yaml: 'train\.learning rate' is not a valid key"):
        configuration()


def test_weights_by_class_may_stand_in_params(params):
    params("train: {class_weight: {a b: 2, 'c, d': 1.5}}\ndataset: {near_duplicates: {distance: 20}}")
    config = configuration()
    assert config.train.class_weight == {"a b": 2, "c, d": 1.5}
    assert config.finetune.class_weight == config.train.class_weight
    assert (config.dataset.near_duplicates.distance, config.dataset.near_duplicates.find) == (20, True)


def test_what_is_an_override():
    assert all(map(is_override, ["a=1", "a.b=1", "+a=1", "++a.b=x", "~a", "hydra/launcher=joblib", "a@b=c"]))
    assert not any(map(is_override, ["-m", "--multirun", "--config-dir=conf", "job", "--help"]))


def test_a_data_set_says_whether_its_pictures_may_be_mirrored(params):
    params("")
    assert not configuration(["augment=light"]).augment.horizontal_flip
    assert configuration(["augment=light", "dataset=folder", "dataset.path=x"]).augment.horizontal_flip
    assert configuration(["dataset=folder", "dataset.path=x", "backbone=xception"]).image_size == 299


def test_the_shipped_params_name_the_keys_that_people_change():
    shipped = OmegaConf.load(composition.CODE / "params.yaml")
    for key in (
        "seed",
        "dataset.path",
        "backbone.weights",
        "augment.views",
        "train.epochs",
        "finetune.learning_rate",
        "tracking.uri",
    ):
        assert OmegaConf.select(shipped, key, default="absent") is None


@pytest.mark.parametrize("text", ["unfreeze=${backbone.unfreeze}", r"a='\${b}'", r"\\${b} it's {c: 1} \ ", "plain"])
def test_a_text_that_is_taken_as_it_stands_reaches_a_job_so(text):
    override = OverridesParser.create().parse_override(f"+x={quote_literally(text)}")
    assert OmegaConf.create({"x": override.value()}).x == text


def test_params_may_have_a_rectangle(params):
    params("image_size: [64, 128]\nfinetune:\n  image_size: [96, 96]\n")
    config = configuration([])
    assert (config.image_size, config.finetune.image_size) == ([64, 128], 96)
    assert configuration(["image_size=32"]).image_size == 32


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        (["dataset=folder", "dataset.path=images"], 224),
        (["dataset.image_size=64"], 64),
        (["dataset.image_size=64", "backbone=xception"], 71),
        (["dataset.image_size=64", "image_size=96"], 96),
    ],
)
def test_a_data_sets_own_size_is_one_that_the_backbone_can_take(params, overrides, size):
    params("")
    assert configuration(overrides).image_size == size
