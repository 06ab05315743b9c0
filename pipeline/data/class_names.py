"""Names of classes: one spelling for each, and errors for names that look alike or can't be seen."""

import unicodedata
from collections.abc import Iterable, Mapping

from pipeline.system.errors import PipelineError
from pipeline.system.wording import short, some

# Characters without a glyph that are not of the category "format".
_FILLERS = set("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
# Joiners and variation selectors form letters of some scripts and emoji; tags form flags.
_FORMING = set("\u200c\u200d") | {chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0020, 0xE0080))}
_INVISIBLE_KINDS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Cyrillic and Greek letters, dashes and quotation marks that look like characters of ASCII.
_LOOKALIKES = str.maketrans(
    "\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405\u0422\u0425\u0430"
    "\u0441\u0435\u0456\u0458\u043e\u0440\u0455\u0445\u0443\u0391\u0392\u0395\u0396\u0397\u0399"
    "\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u2010\u2011\u2012\u2013\u2014\u2212"
    "\u2018\u2019\u2032\u201c\u201d",
    "ABCEHIJKMOPSTXaceijopsxyABEZHIKMNOPTYXo------'''\"\"",
)
_MOST_POINTS = 12


def canonical(name: str) -> str:
    """Return the spelling of a class name that is used: accents composed (NFC), and no blanks at the ends."""
    return unicodedata.normalize("NFC", name).strip()


def check_class_names(where: str, places: Mapping[str, str], home: str) -> None:
    """Check that there are at least two classes, with names that can be printed and distinguished.

    Args:
        where: Name of the data set for error messages.
        places: Canonical class names, each with a place where it occurs.
        home: Source of the class names for error messages, sub-folder or row.

    Raises:
        PipelineError: There are fewer than two classes, or names that look alike or can't be printed.
    """
    blank = [name for name in places if not name]
    if blank:
        raise PipelineError(f"{where}: the class name in {places['']} consists of blanks; rename the class")
    unreadable = [name for name in places if any(map(_is_invisible, name))]
    twins = _twins(places)
    if twins:
        first, second = twins[0]
        in_case = first.casefold() == second.casefold()
        one, other = (short(each) if in_case else _with_points(each) for each in (first, second))
        more = f" (and {len(twins) - 1} more such pairs)" if len(twins) > 1 else ""
        raise PipelineError(
            f"{where}: the classes {one} in {places[first]} and {other} in {places[second]} "
            f"{'differ only in case' if in_case else 'look alike'}{more}; rename or merge these classes"
        )
    if unreadable:
        listed = some(map(_with_points, unreadable), 3)
        raise PipelineError(f"{where}: these class names have characters that can't be printed: {listed}; rename them")
    if len(places) < 2:
        raise PipelineError(
            f"{where} has only one class ({some(map(short, places))}); a classifier needs {home}s of at least two classes"
        )


def alike(name: str, others: Iterable[str]) -> str | None:
    """Return the other name that looks like `name`, or differs from it in case, if there is one."""
    return next((other for other in others if other != name and _skeleton(other) == _skeleton(name)), None)


def spellings(names: Iterable[str]) -> list[str]:
    """Return a remark for each class whose name is spelled in several ways, which are read as one."""
    found: dict[str, list[str]] = {}
    for name in names:
        known = found.setdefault(canonical(name), [])
        if name not in known:
            known.append(name)
    several = [each for each in found.values() if len(each) > 1]
    return [f"{' and '.join(map(_with_points, each))} are read as one class" for each in several[:3]] + (
        [f"{len(several) - 3} more classes are spelled in several ways, and are read as one each"] * (len(several) > 3)
    )


def _twins(names: Iterable[str]) -> list[tuple[str, str]]:
    seen: dict[str, str] = {}
    pairs = [(seen.setdefault(_skeleton(name), name), name) for name in sorted(names)]
    return [(first, second) for first, second in pairs if first != second]


def _skeleton(name: str) -> str:
    """Return what is left of a name without case, invisible characters, kinds of blanks, and lookalikes."""
    if len(name) > 1:
        # Single characters are classes in data sets of alphabets.
        name = name.translate(_LOOKALIKES)
    visible = "".join(each for each in name if each.isspace() or not (_is_invisible(each) or each in _FORMING))
    return unicodedata.normalize("NFC", " ".join(visible.split()).casefold()) or name


def _is_invisible(character: str) -> bool:
    kind = unicodedata.category(character)
    if kind == "Zs":
        return character not in " \u3000"
    return character in _FILLERS or (kind in _INVISIBLE_KINDS and character not in _FORMING)


def _with_points(name: str) -> str:
    """Return a name in quotes with its code points."""
    points = " ".join(f"U+{ord(each):04X}" for each in name[:_MOST_POINTS]) + " ..." * (len(name) > _MOST_POINTS)
    return f"{short(name)} ({points})"
