"""What the report says: metrics in order, and a sentence about fine-tuning."""

from pipeline.reports.evaluation_page import headline, verdict


def test_the_metrics_of_a_phase_are_listed_in_the_tables_order():
    figures = {
        "top5_accuracy": 1.0,
        "ece": 0.1,
        "ece_by_chance": 0.1,
        "accuracy": 0.9,
        "accuracy_low": 0.8,
        "images": 9,
    }
    assert headline(figures) == [
        ("accuracy", "accuracy"),
        ("calibration (ECE)", "ece"),
        ("top-5 accuracy", "top5_accuracy"),
    ]


def comparison(gained: int, lost: int, p: float, *difference: float) -> dict:
    names = ("accuracy_difference", "accuracy_difference_low", "accuracy_difference_high")
    return {"gained": gained, "lost": lost, "mcnemar_p": p} | dict(zip(names, difference, strict=True))


def test_the_effect_of_fine_tuning_is_a_sentence():
    assert verdict(comparison(21, 0, 1e-6, 0.058, 0.036, 0.088), 0.95) == (
        "Fine-tuning corrected 21 test images and broke none: +5.8 points (95 % interval 3.6 to 8.8; "
        "McNemar's exact test: p below 0.001)."
    )
    assert verdict(comparison(1, 3, 0.625, -0.01, -0.04, 0.02), 0.95) == (
        "Fine-tuning corrected 1 test image and broke 3: -1.0 points (95 % interval -4.0 to 2.0; "
        "McNemar's exact test: p 0.625), which may be chance."
    )
    assert "which may be chance" not in verdict(comparison(0, 0, 1.0, 0, -0.01, 0.01), 0.95)
