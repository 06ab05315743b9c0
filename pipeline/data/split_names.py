"""Names of splits in folders and tables."""

import re

_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "test": "test", "testing": "test", "tst": "test",
    "validation": "validation", "val": "validation", "valid": "validation", "validate": "validation", "dev": "validation",
}  # fmt: skip
_UNLABELLED = {
    "pred", "preds", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "unlabel", "unlab", "unknown",
    "unsup", "unsupervised", "submission", "inference",
}  # fmt: skip
_CONTAINERS = {"image", "images", "img", "imgs", "jpg", "jpeg", "png", "photos", "pictures", "files", "data", "all"}
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NUMBERING = re.compile(r"[\d\W_]+[A-Za-z]?$|(?<=[a-z])[A-Z]$|[\d\W_]+")
_AFFIX = re.compile(r"(?<=...)(?:set|data|dataset|split|images|imgs|folder|dir)$")


def split_of(name: str) -> str | None:
    """Return the split that a name denotes: train, validation or test.

    Names have affixes, such as `seg_train`, `TestSet` or `val2017`. A name that has words of several splits denotes
    none.
    """
    found = {_WORDS[word] for word in _words(name) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def is_unlabelled(name: str) -> bool:
    """Return whether a name denotes images without labels."""
    return any(word in _UNLABELLED for word in _words(name))


def is_container(name: str) -> bool:
    """Return whether a name says nothing but that there are files, such as `images`."""
    words = _words(name)
    return bool(words) and all(word in _CONTAINERS | _UNLABELLED for word in words)


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(_CAMEL_CASE.sub(" ", name))]
    return [_AFFIX.sub("", word) if _AFFIX.sub("", word) in _WORDS else word for word in words]


def is_series(names: list[str]) -> bool:
    """Return whether names differ only in their numbers or in a letter at the end, such as years, patients or parts."""
    return len({_NUMBERING.sub("", name).lower() for name in names}) == 1
