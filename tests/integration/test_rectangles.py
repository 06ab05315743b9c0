"""Experiments with images of another height than width, through all stages and into what uses their models."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.api import open_run
from pipeline.comparison.experiments import find
from pipeline.config.compose import composed
from pipeline.config.image import Decoding
from pipeline.config.validate import check
from pipeline.deployment.embedder import Embedder
from pipeline.deployment.model_card import write_card
from pipeline.deployment.serving import ServedClassifier
from pipeline.inputs.decoding import pixels
from pipeline.inputs.images import KIND
from pipeline.inputs.manifest import read_manifest
from pipeline.jobs.disk import Prepared, cache_needs
from pipeline.jobs.networks import check_networks
from pipeline.jobs.stage import places_of
from pipeline.jobs.work import read_counts
from pipeline.models.description import read_decoding
from pipeline.probing.measurement import measure
from pipeline.probing.output import print_ranking
from pipeline.probing.ranking import rank
from tests.support.experiments import FinishedExperiment, run_stages
from tests.support.hub import PATCH, SIZE, preset_folder, small_network

SHAPE = (48, 64, 3)


def settings(folder: Path, empty_store: Path) -> list[str]:
    """Overrides of an experiment in a folder, with a store of its own."""
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    return [
        "image_size=[48,64]", "finetune=light", "hardware.intra_op_threads=2", "hardware.inter_op_threads=2",
        f"tracking.uri=sqlite:///{folder}/mlflow.db", f"cache_folder={folder}/cache", "tracking.system_metrics_interval=null",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory, images, empty_store) -> FinishedExperiment:
    """Images padded to more width than height, augmented in most ways, with a round at a third shape."""
    folder = tmp_path_factory.mktemp("wide")
    rounds = "finetune.phases=[{epochs: 1, image_size: [64, 40]}, {epochs: 1}]"
    own = [
        "dataset=folder", f"dataset.path={images}", "image.resize=pad", "train.epochs=8", "train.learning_rate=0.02",
        "augment=light", "augment.views=1", "augment.erasing=0.3", "augment.cutmix=0.5", rounds, "finetune.warmup_epochs=0",
        "evaluate.tta=crops", "evaluate.corruptions=all", "evaluate.corruption_images=2", "evaluate.gallery=3",
    ]  # fmt: skip
    config = check(composed([*settings(folder, empty_store), *own]))
    return FinishedExperiment(config, folder / "job", run_stages(config, folder / "job").key)


def test_all_of_an_experiment_is_in_the_rectangle(wide):
    root, metrics = wide.root, wide.json("evaluate", "metrics.json")
    assert metrics[metrics["best"]]["accuracy"] > 0.5
    assert metrics["corrupted"]["images"] == 2
    for phase in ("train", "finetune"):
        assert read_decoding(root / phase / "model.keras") == Decoding([48, 64], 16, "pad", [128] * 3)
        with np.load(root / phase / "augmentation.npz") as preview:
            assert preview["images"].shape[2:] == SHAPE
    with np.load(root / "evaluate" / "gallery.npz") as gallery:
        assert gallery["images"].shape[1:] == SHAPE
        assert gallery["heatmaps"].shape[1:] == SHAPE[:2]
        rows, columns = gallery["cells"].tolist()
    assert rows < columns
    page = (root / "report" / "report.html").read_text()
    assert re.search(f"{rows} . {columns} cells", page)
    assert "image_size=[48,64]" in page


def test_the_cache_has_what_the_estimate_says(wide):
    entries = places_of(wide.config).cache.listing()
    sizes = [each.holds["image_size"] for each in entries if each.holds["kind"] == KIND]
    assert sorted(sizes) == [[48, 64], [48, 64], [64, 40]]
    prepared = Prepared("any", read_counts(wide.root / "prepare"), wide.root / "prepare")
    stages = {"train", "finetune", "evaluate"}
    needed = cache_needs(wide.config, prepared, stages, [])
    expected = sum(each for key, each in needed.items() if key[0] == "images" and each)
    stored = sum(each.size for each in entries if each.holds["kind"] == KIND)
    assert expected == pytest.approx(stored, rel=0.02)
    assert cache_needs(wide.config, prepared, {"evaluate"}, entries) == {}


def test_predictions_and_serving_take_files_and_arrays_of_any_shape(wide):
    tested = pd.read_parquet(wide.root / "evaluate" / "predictions.parquet").head(5)
    folder = places_of(wide.config).images
    files = [folder / path for path in tested["path"]]
    run = open_run(wide.root)
    decoded = [pixels(file.read_bytes(), run.classifier.decoding) for file in files]
    assert decoded[0].shape == SHAPE
    served = ServedClassifier(run.classifier)
    answers = served.predict([*map(str, files)])
    assert answers["class"].tolist() == run.predict(files)["class"].tolist()
    # An image in the network's size is taken as it is; one of the transposed size is resized.
    np.testing.assert_allclose(served.predict(np.stack(decoded))["probability"], answers["probability"], atol=1e-5)
    turned = [image.transpose(1, 0, 2) for image in decoded]
    by_file = [resized_by_file(image, run.classifier.decoding) for image in turned]
    expected = run.classifier.probabilities(np.stack(by_file)).max(axis=1)
    np.testing.assert_allclose(served.predict(turned)["probability"], expected, atol=1e-5)


def resized_by_file(image: np.ndarray, decoding: Decoding) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return pixels(file.getvalue(), decoding)


def test_vectors_and_the_probe_are_of_the_same_images(wide, capsys):
    config, places = wide.config, places_of(wide.config)
    manifest = read_manifest(wide.root / "prepare")
    embedder = Embedder.of_classifier(wide.root / "train" / "model.keras", config)
    rows = manifest.split("test")
    decoded = [pixels((places.images / path).read_bytes(), embedder.decoding) for path in rows["path"][:5]]
    vectors = embedder.of_pixels(np.stack(decoded))
    near = embedder.of_rows(rows, places)[:5]
    assert (np.linalg.norm(near - vectors, axis=1) < 0.05 * np.linalg.norm(vectors, axis=1)).all()
    measured = measure(config, manifest, places)
    assert measured.hits.mean() > 0.5
    print_ranking(rank([measured], 0.95))
    assert "48 x 64" in capsys.readouterr().out


def test_the_run_and_its_card_state_height_and_width(wide, tmp_path):
    run = wide.client.get_run(wide.run_id)
    assert run.data.params["image_size"] == "[48, 64]"
    assert "image_size [48, 64]" in run.info.run_name
    [experiment] = find(wide.config.tracking)
    card, _ = write_card(experiment, tmp_path)
    assert " at 48 x 64 px (image.resize=pad)" in card.read_text()


def test_a_vision_transformer_sees_rows_and_columns(configure, images, tmp_path):
    pytest.importorskip("keras_hub")
    folder = preset_folder(small_network("dinov3"), tmp_path / "preset")
    config = configure(
        f"image_size=[{SIZE},{2 * SIZE}]", "backbone=hub", f"backbone.preset='{folder}'", "backbone.min_image_size=8",
        "backbone.unfreeze=block2", "backbone.pooling=token_average", "finetune=light", "evaluate.gallery=2",
    )  # fmt: skip
    check_networks([config])
    root = run_stages(config, tmp_path / "job").root
    with np.load(root / "evaluate" / "gallery.npz") as gallery:
        assert gallery["images"].shape[1:] == (SIZE, 2 * SIZE, 3)
        assert gallery["cells"].tolist() == [SIZE // PATCH, 2 * SIZE // PATCH]
    metrics = json.loads((root / "evaluate" / "metrics.json").read_text())
    assert metrics["saved_model"]["same_class"] >= 0.9
    files = [*map(Path, sorted(images.rglob("*.png"))[:4])]
    assert open_run(root).predict(files)["class"].notna().all()


@pytest.mark.slow
def test_the_digits_are_recognised_in_a_rectangle(tmp_path, empty_store):
    config = check(composed([*settings(tmp_path, empty_store), "train.epochs=3", "finetune.epochs=2"]))
    root = run_stages(config, tmp_path / "job").root
    metrics = json.loads((root / "evaluate" / "metrics.json").read_text())
    assert metrics[metrics["best"]]["accuracy"] > 0.85
