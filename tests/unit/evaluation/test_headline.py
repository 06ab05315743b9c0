"""The few numbers that DVC's tables show."""

from pipeline.evaluation.headline import headline

PHASE_1 = {
    "loss": 0.5, "accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.94, "macro_f1": 0.88, "ece": 0.03, "auc": 0.97, "images": 120,
}  # fmt: skip
FINE_TUNED = PHASE_1 | {"accuracy": 2 / 3, "accuracy_low": 0.58, "accuracy_high": 0.75, "loss": 1.23456789}


def test_the_better_phase_comes_first_and_both_accuracies_are_named():
    metrics = {"best": "finetune", "train": PHASE_1, "finetune": FINE_TUNED, "comparison": {"mcnemar_p": 0.2}}
    assert list(headline(metrics).items()) == [
        ("accuracy", 0.666667),
        ("accuracy_low", 0.58),
        ("accuracy_high", 0.75),
        ("macro_f1", 0.88),
        ("log_loss", 1.234568),
        ("ece", 0.03),
        ("accuracy_phase1", 0.9),
        ("accuracy_phase2", 0.666667),
        ("images", 120),
    ]
    assert headline(metrics | {"best": "train"})["log_loss"] == 0.5
