"""Sections of the configuration about images."""

from dataclasses import dataclass

from pipeline.config.limits import _at_least, _between, _limited, _one_of, _positive_fraction, _share


@dataclass
class ColumnsConfig:
    """The names of a table's columns."""

    path: str
    """Of the images' files; relative ones are taken from the table's folder."""
    label: str
    split: str | None
    """train, validation or test; a table need not have it. Null: not looked at."""


@dataclass
class NearDuplicatesConfig:
    """When two files show the same image: perceptual hashes of 256 bits that hardly differ."""

    find: bool
    """Whether to look for them; files with the same bytes are duplicates anyway."""
    distance: int = _limited("0 to 64 bits", lambda value: 0 <= value <= 64)
    """Bits that may differ."""
    mirrored: bool
    """Whether a mirrored image is a duplicate as well."""
    min_side: int = _at_least(16)
    """Images with a shorter side in pixels are not hashed: what they show is too little to tell them apart by."""
    min_detail: float = _at_least(0)
    """Nor are images flatter than this: the median amplitude of what the hash looks at, in levels of 255."""


@dataclass
class DriftConfig:
    """When a split differs so much from training that prepare warns."""

    class_mix: float = _between(0, 1)
    """Total variation distance of the class shares: the mix alone can move an accuracy by so much."""
    appearance: float = _between(0, 1)
    """Kolmogorov-Smirnov distance of brightness, contrast, saturation, size or shape."""
    p_value: float = _between(0, 1)
    """And how unlikely chance must be, over all tests together."""


@dataclass
class CurationConfig:
    """What prepare reads of `dataset`: where images come from, which are used, and how they are split."""

    source: str = _one_of("folder", "csv", "tfds", "digits")
    """What `path` is: a folder of class folders, or a table with a row an image; or an image set of TensorFlow Datasets, or scikit-learn's digits."""
    tfds: str | None
    """Name and version of a set of TensorFlow Datasets, such as tf_flowers:3.0.1."""
    columns: ColumnsConfig
    """Of a CSV file."""
    groups: str | None
    """What must not be torn apart by a split (a patient, a product, a burst): a column of the CSV file, or a regular expression on the
    path, whose first group (else all that it matches) names the group."""
    test: str = _one_of("auto", "validation")
    """auto: the given test split, else one is cut off; validation: the given validation split serves as the test set."""
    test_fraction: float = _between(0, 1)
    """Share of all images cut off for testing where no test split is given."""
    validation_fraction: float = _between(0, 1)
    """Share of the training images cut off for validation where no validation split is given."""
    min_images_per_class: int = _at_least(3)
    """A class with fewer readable images for training is an error: each split needs one at least."""
    max_pixels: int = _at_least(1)
    """Width times height of an image at most; larger ones are quarantined before they are decoded."""
    near_duplicates: NearDuplicatesConfig
    on_leak: str = _one_of("fail", "drop", "keep")
    """Where given splits share an image or a group: an error, leave it out of the split that is trained or chosen by, or keep and count it."""
    label_conflicts: str = _one_of("quarantine", "keep")
    """What happens to images that occur under several labels."""
    drift: DriftConfig


@dataclass
class DatasetConfig(CurationConfig):
    """The image set: its name and place, what `prepare` does with it, and what suits its images."""

    name: str
    path: str | None
    """Folder of the images, or the CSV file; a relative one is taken from the checkout. Null for images that come from elsewhere."""
    mirror: bool
    """Whether a mirrored image still belongs to its class; false for signs and digits."""
    image_size: int | None = _at_least(1)
    """Side in pixels that suits these images; null: the backbone's own. `image_size` on the top level has the last word."""


@dataclass
class AugmentConfig:
    """How training images are varied. Strengths of 0 are off; validation, test and what is predicted are never varied."""

    name: str
    views: int = _at_least(0)
    """Of what a frozen network makes of images: seeded versions of each beside the plain one, kept, and taken in turn, one an epoch.
    What learns from pixels themselves needs none kept: it sees a new version each epoch."""
    horizontal_flip: bool
    """Half of the versions are mirrored."""
    rotation_degrees: float = _limited("0 to 180 degrees", lambda value: 0 <= value <= 180)
    """Largest turn to either side, in degrees."""
    zoom_in: float = _share()
    """Most that is lost at each side together: 0.25 shows three quarters of the width."""
    zoom_out: float = _at_least(0)
    """Most that is added, mirrored at the edge: 0.1 shows 1.1 times the width."""
    crop_area: float = _positive_fraction()
    """Random resized crop: the smallest share of the area that is cut out and stretched to the whole, anywhere; 1: none."""
    crop_aspect: float = _at_least(1)
    """Its largest change of the ratio of width to height, either way."""
    brightness: float = _share()
    """Largest change of all pixels, of the whole range."""
    contrast: float = _share()
    """Largest change of the distance to the image's mean, as a share."""
    saturation: float = _share()
    """Largest change of the distance to grey, as a share."""
    hue: float = _share()
    """Largest turn of the hue to either side: 1 is half of the colour circle."""
    random_operations: int = _at_least(0)
    """RandAugment: so many operations an image, drawn from thirteen; 0: none."""
    random_strength: float = _share()
    """Their largest strength."""
    erasing: float = _share()
    """Probability that a rectangle of the image is made grey."""
    erasing_area: float = _between(0, 1)
    """Its largest share of the image."""
    mixup: float = _at_least(0)
    """Parameter of the beta distribution of the share of another image of the batch that is mixed in (MixUp); 0: none."""
    cutmix: float = _at_least(0)
    """The same for the share that a rectangle of another image takes (CutMix); with both, each batch draws one of them."""

    @property
    def varies(self) -> bool:
        """Whether any strength but that of mixing is above 0."""
        return self.horizontal_flip or self.crop_area < 1 or any(
            (
                self.rotation_degrees, self.zoom_in, self.zoom_out, self.brightness, self.contrast, self.saturation, self.hue,
                self.random_operations, self.erasing,
            )
        )  # fmt: skip

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with one another."""
        return self.mixup > 0 or self.cutmix > 0
