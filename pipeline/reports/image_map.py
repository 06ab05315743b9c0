"""Map of the test images in the report, on which similar images are close."""

import numpy as np
import pandas as pd
from sklearn.manifold import TSNE

from pipeline.storage.files import Json
from pipeline.visuals.style import SERIES

# Fewer images have no neighbourhoods.
_MIN_IMAGES = 10
_PERPLEXITY = 30
# Half of scikit-learn's: after these, groups hardly move.
_STEPS = 500
WIDTH, HEIGHT = 1000, 560
"""Size of the map in its own units."""
_MARGIN = 20
_OTHER = "#9aa1a8"


def image_map(images: pd.DataFrame, vectors: np.ndarray, classes: list[str]) -> Json | None:
    """Arrange images in a plane by t-SNE, and colour them by their class, for the template.

    Args:
        images: One row per image, with the columns path, label and prediction.
        vectors: Their vectors, float32 [n, d].
        classes: Class names.

    Returns:
        Dictionary with `points`, mistakes last, and the `legend`: name and colour of up to ten classes, those with the
        most mistakes if there are more. None if there are too few images.

    Source:
        L. van der Maaten, G. Hinton, Visualizing Data using t-SNE, 2008.
    """
    if len(images) < _MIN_IMAGES:
        return None
    colours = _colours(images, classes)
    places = _places(vectors)
    points = [
        {
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "title": f"{path}: {label}" + f", predicted {prediction}" * (label != prediction),
            "colour": colours.get(label, _OTHER),
            "ring": colours.get(prediction, _OTHER) if label != prediction else None,
        }
        for (x, y), path, label, prediction in zip(
            places, images["path"], images["label"], images["prediction"], strict=True
        )
    ]
    legend = [*colours.items()] + [("other classes", _OTHER)] * (len(classes) > len(colours))
    return {
        "points": sorted(points, key=lambda point: point["ring"] is not None),
        "legend": legend,
        "width": WIDTH,
        "height": HEIGHT,
    }


def _colours(images: pd.DataFrame, classes: list[str]) -> dict[str, str]:
    """Return the colour of each of up to ten classes, those that are confused most often."""
    wrong = images[images["label"] != images["prediction"]]
    mistakes = pd.concat([wrong["label"], wrong["prediction"]]).value_counts()
    confused = sorted(classes, key=lambda name: -mistakes.get(name, 0))[: len(SERIES)]
    return dict(zip([name for name in classes if name in confused], SERIES, strict=False))


def _places(vectors: np.ndarray) -> np.ndarray:
    """Return the place of each image on the map, float64 [n, 2], in its units."""
    # Similar directions count, as for the head's linear layer. Equal images would have no direction.
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found = TSNE(
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        init="pca" if vectors.shape[1] > 1 else "random",
        random_state=0,
        max_iter=_STEPS,
    ).fit_transform(vectors / np.maximum(lengths, 1e-12))
    found = np.asarray(found, np.float64)
    low, high = found.min(axis=0), found.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    return _MARGIN + (found - low) / np.maximum(high - low, 1e-12) * room
