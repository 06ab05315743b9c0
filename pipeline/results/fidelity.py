"""Whether the saved model answers what was evaluated: in training and evaluation the frozen part is folded, and may compute in short floats."""

import numpy as np

from pipeline.results.outcome import Outcome, TestSet

# Each takes the whole network in float32, which with VGG16 would be most of an evaluation if they were many.
_IMAGES = 32


def saved_model_figures(outcome: Outcome, test: TestSet) -> dict[str, float]:
    """The plain float32 model, as it is saved, beside the evaluated probabilities, on test images spread over the whole set.

    Returns:
        images: how many; same_class: the share that gets the same class; largest_difference: between two probabilities of a class.
    """
    count = min(_IMAGES, len(test.labels))
    places = np.linspace(0, len(test.labels) - 1, count).round().astype(np.int64)
    saved = outcome.model.predict(test.pictures.take(places), batch_size=count, verbose=0)
    evaluated = outcome.plain[places]
    return {
        "images": count,
        "same_class": float((saved.argmax(axis=1) == evaluated.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(saved - evaluated).max()),
    }
