"""Sections of the configuration about images."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.limits import (
    SIZE_OR_NULL,
    at_least,
    between,
    bounded,
    fraction,
    limited,
    one_of,
    positive_fraction,
)


@dataclass(kw_only=True)
class ColumnsConfig:
    """Names of a CSV file's columns."""

    path: str
    """Column with the path of each image; a relative path is relative to the folder of the CSV file."""
    label: str
    """Column with the class of each image."""
    split: str | None
    """Optional column with the split of each image: train, validation or test. Null: no column is read."""


@dataclass(kw_only=True)
class SplitFoldersConfig:
    """Folders of the splits, relative to `dataset.path`, if they are not recognized; other folders are left out."""

    train: str | None
    """Folder of the training split, which contains class folders. `.` is the folder itself: then its folders are
    classes, and not splits. Null: recognized by names, such as `train` or `seg_train`, and content."""
    validation: str | None
    """Folder of the validation split."""
    test: str | None
    """Folder of the test split."""


@dataclass(kw_only=True)
class NearDuplicatesConfig:
    """Detection of near duplicates: files that show the same image, by perceptual hashes of 256 bits."""

    find: bool
    """Search for near duplicates, which then stay in one split. Files with the same bytes are always treated as
    duplicates. false suits series of images that look alike and are not copies."""
    distance: int = bounded(minimum=0, maximum=64)
    """Largest number of differing bits (out of 256) between two near duplicates. Higher finds more cropped copies, and
    joins more images that only look alike. Useful: 8 to 40."""
    mirrored: bool
    """Treat a mirrored image as a duplicate as well. It matters if the data set was augmented by mirroring."""
    min_side: int = at_least(16)
    """Smallest side in pixels of an image that is hashed; smaller images have too little detail, so that different ones
    would look alike. Useful: 32 to 64."""
    min_detail: float = at_least(0)
    """Smallest detail of an image that is hashed: median amplitude of the hashed frequencies, in grey levels of 255.
    Higher leaves out more plain images, which would look alike."""


@dataclass(kw_only=True)
class DriftConfig:
    """Limits above which prepare warns that a split differs from training."""

    class_mix: float = between(0, 1)
    """Total variation distance between class proportions, 0 to 1: the largest change of accuracy due to them alone.
    Higher warns less. Useful: 0.02 to 0.2."""
    appearance: float = between(0, 1)
    """Kolmogorov-Smirnov distance, 0 to 1, of brightness, contrast, saturation, size or aspect ratio. Higher warns
    less. Useful: 0.1 to 0.4."""
    p_value: float = between(0, 1)
    """Significance level of the warnings, Bonferroni-corrected for the number of tests: a warning needs this and a
    distance above its limit. Useful: 0.001 to 0.05."""


@dataclass(kw_only=True)
class CurationConfig:
    """Settings of `dataset` that stage prepare uses: source, selection and splits of the images."""

    source: str = one_of("folder", "csv", "tfds", "digits")
    """Source of the images: a folder of class folders, a CSV file, TensorFlow Datasets, or scikit-learn's digits."""
    tfds: str | None
    """Name and version of a data set of TensorFlow Datasets, such as `tf_flowers:3.0.1`. Null: for other sources."""
    columns: ColumnsConfig
    """Columns of the CSV file."""
    images: str | None
    """Pattern of the images' paths, if the CSV file has ids or partial paths: `images/*.jpg` with a star for the id, or
    `images/*.*` for any ending. It is relative to the folder of the CSV file. Null: the column has paths."""
    splits: SplitFoldersConfig
    """Folders of the splits."""
    class_level: str | None = limited("top, leaf, or null", {"enum": ["top", "leaf", None]})
    """Level of the class folders. top: the folders of each split. leaf: the innermost folders, which contain the
    images. Null: top, with an error or a warning where this may not be meant."""
    groups: str | None
    """Groups of images that are not divided between splits, such as those of a patient or a product. With a CSV file:
    name of a column. With folders: regular expression on the path, whose first group, or else whole match, names the
    group. Null: no groups."""
    test: str = one_of("auto", "validation")
    """Source of the test images. auto: the data set's own test split, or else a part of the training images, which the
    seed chooses. validation: the data set's own validation split."""
    test_fraction: float = between(0, 1)
    """Fraction of all images that becomes the test split, if the data set has none. More make intervals narrower and
    leave fewer to train. Useful: 0.1 to 0.3."""
    validation_fraction: float = between(0, 1)
    """Fraction of the training images that becomes the validation split, if the data set has none. It chooses epochs
    and the better phase. Useful: 0.1 to 0.2."""
    min_images_per_class: int = at_least(3)
    """Smallest number of readable training images per class. Stage prepare fails if a class has fewer. Useful: 5, or
    more where each class matters."""
    max_pixels: int = at_least(1)
    """Largest number of pixels of an image (width times height). Larger images are quarantined without decoding, which
    protects memory; raise it for scans and satellite images."""
    near_duplicates: NearDuplicatesConfig
    """Detection of near duplicates."""
    on_leak: str = one_of("fail", "drop", "keep")
    """Action if the data set's own splits share an image or a group. fail: stop with an error. keep: only count them.
    drop: remove the images from all but one split; test has priority, then validation."""
    label_conflicts: str = one_of("quarantine", "keep")
    """Action for duplicate images that have different labels. quarantine: train on none of them. keep: train on all,
    with labels that contradict each other."""
    drift: DriftConfig
    """Limits above which prepare warns that a split differs from training."""


@dataclass(kw_only=True)
class DatasetConfig(CurationConfig):
    """Data set: name, location, splits, checks, and properties of its images."""

    name: str
    """Name of the data set's file in `conf/dataset/`."""
    path: str | None
    """Folder of the images, or CSV file. A relative path is relative to the checkout. Null: for tfds and digits."""
    mirror: bool
    """Whether a mirrored image belongs to the same class, so that augmentation may mirror; false for digits, text,
    signs, and left and right."""
    image_size: Any = SIZE_OR_NULL
    """Recommended image size in pixels, for data sets of small images or of one shape. Null: that of the backbone. The
    top-level `image_size` has priority."""


@dataclass(kw_only=True)
class AugmentConfig:
    """Augmentation of training images. A strength of 0 is off; validation and test images are never augmented."""

    name: str
    """Name of the chosen file in `conf/augment/`."""
    views: int = at_least(0)
    """Number of augmented variants per image whose features are cached, besides the original; each epoch uses one.
    Layers that are trained on pixels get a new variant in every epoch, without caching. More are slower at first, and
    need more disk. Useful: 0 to 8."""
    horizontal_flip: bool
    """Mirror each variant with probability 0.5, as `dataset.mirror` allows."""
    rotation_degrees: float = bounded(minimum=0, maximum=180)
    """Largest rotation in either direction, in degrees. Useful: 0 to 30; 180 if there is no up, as under a
    microscope."""
    zoom_in: float = fraction()
    """Largest fraction of the width and height that zooming in cuts off: 0.25 shows three quarters of them. Useful: 0
    to 0.5, less if the object may be at the border."""
    zoom_out: float = at_least(0)
    """Largest fraction of the width and height that zooming out adds, by reflection: 0.1 shows 1.1 times the width.
    Useful: 0 to 0.3."""
    crop_area: float = positive_fraction()
    """Random resized crop: smallest fraction of the area that is cut out and resized. Lower regularizes more, and may
    miss small objects. 1: no crops. Useful: 0.3 to 1."""
    crop_aspect: float = at_least(1)
    """Random resized crop: largest factor by which the aspect ratio changes, either way. Useful: 1 to 1.5."""
    brightness: float = fraction()
    """Largest change of brightness, as a fraction of the range of pixel values. Useful: 0 to 0.3, if light varies."""
    contrast: float = fraction()
    """Largest change of contrast, as a fraction of each pixel's distance to the image's mean. Useful: 0 to 0.4."""
    saturation: float = fraction()
    """Largest change of saturation, as a fraction of each pixel's distance to its grey. Useful: 0 to 0.4."""
    hue: float = fraction()
    """Largest rotation of the hue in either direction, as a fraction of half the colour circle. Useful: 0 to 0.1, and 0
    where colour tells the class."""
    random_operations: int = at_least(0)
    """RandAugment: number of operations per image, chosen at random from thirteen. It suits long trainings of the whole
    backbone. 0: off. Useful: 1 to 3."""
    random_strength: float = fraction()
    """RandAugment: largest strength of an operation. Useful: 0.1 to 0.5."""
    erasing: float = fraction()
    """Random erasing: probability that a rectangle of the image is filled with grey, against relying on one detail.
    Useful: 0 to 0.5."""
    erasing_area: float = between(0, 1)
    """Random erasing: largest fraction of the image's area that the rectangle covers. Useful: 0.1 to 0.4."""
    mixup: float = at_least(0)
    """MixUp: parameter of the beta distribution from which the weight of a second image is drawn. It needs long
    trainings, and acts on fine-tuning from pixels only. 0: off. Useful: 0.1 to 0.4."""
    cutmix: float = at_least(0)
    """CutMix: parameter of the beta distribution from which the area of a rectangle of a second image is drawn. 0: off.
    If MixUp is on too, each batch uses one of both. Useful: 0.5 to 1."""
