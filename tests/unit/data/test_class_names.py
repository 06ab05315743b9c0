"""One class has one name: spellings that are certain are joined, others are an error with code points."""

import pytest

from pipeline.data.listing import list_folder
from pipeline.data.sources import list_images
from pipeline.system.errors import PipelineError
from tests.support.datasets import table_dataset
from tests.support.images import touch

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def listed(kind, folder, first, second):
    """List two spellings of a class: in two splits, in two folders, or in two rows."""
    if kind == "rows":
        rows = ["path,label", f'1.png,"{first}"', f'2.png,"{second}"', "3.png,other"]
        return list_images(table_dataset(folder, "\n".join(rows) + "\n"))
    homes = ("train/", "test/") if kind == "splits" else ("", "")
    touch(*(folder / f"{home}{name}" / "a.png" for home, name in zip(homes, (first, second), strict=True)))
    touch(*(folder / f"{home}other" / "b.png" for home in homes))
    return list_folder(folder)


kinds = pytest.mark.parametrize("kind", ["splits", "folders", "rows"])


@kinds
@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (COMPOSED, DECOMPOSED, COMPOSED),
        ("cat", "cat ", "cat"),
        (" cat", "cat\u00a0", "cat"),
        ("\u1112\u1161\u11ab", "\ud55c", "\ud55c"),
    ],
)
def test_certain_spellings_are_one_class(tmp_path, kind, first, second, name):
    listing = listed(kind, tmp_path, first, second)
    assert listing.classes == sorted([name, "other"])
    [remark] = listing.remarks
    assert remark.endswith("are read as one class")
    assert f"U+{ord(first[-1]):04X}" in remark


@kinds
@pytest.mark.parametrize(
    ("first", "second", "points"),
    [
        ("cat", "cat\u200b", "U+0063 U+0061 U+0074 U+200B"),
        ("cat", "\ufeffcat", "U+FEFF U+0063 U+0061 U+0074"),
        ("zebra", "ze\u00adbra", "U+007A U+0065 U+00AD"),
        ("red cat", "red\u00a0cat", "U+00A0"),
        ("red cat", "red  cat", "U+0020 U+0020"),
        ("cat", "c\u0430t", "U+0430"),
        ("T-shirt", "T\u2011shirt", "U+2011"),
        ("women's", "women\u2019s", "U+2019"),
        ("\u2764", "\u2764\ufe0f", "U+FE0F"),
        ("ab\u200ec", "abc", "U+200E"),
    ],
)
def test_names_that_look_alike_are_an_error_with_code_points(tmp_path, kind, first, second, points):
    with pytest.raises(PipelineError) as caught:
        listed(kind, tmp_path, first, second)
    message = str(caught.value)
    assert "look alike; rename or merge these classes" in message
    assert points in message
    assert message.count("(U+") == 2
    assert ("row 2" in message and "row 3" in message) == (kind == "rows")
    assert len(message.split()) < 60


@kinds
def test_names_that_differ_in_case_are_an_error(tmp_path, kind):
    with pytest.raises(PipelineError, match=r"'Cat' in .* and 'cat' in .* differ only in case"):
        listed(kind, tmp_path, "Cat", "cat")


# ruff: noqa: RUF001 (other scripts are what is tested)
NAMES = ["猫", "東京\u3000タワー", "قطة", "می\u200cخواهم", "👨\u200d👩\u200d👧", "❤️", "кот", "Ünï", "a (b)", "C++", "it's", "1", "１",
         "true", "null", "a,b", "ß", "ſ", "²", "2", "e\u0301\u0323"]  # fmt: skip


def test_names_of_all_scripts_are_classes(tmp_path):
    touch(*(tmp_path / name / "a.png" for name in NAMES))
    listing = list_folder(tmp_path)
    assert len(listing.classes) == len(NAMES)
    assert {*NAMES[:-1]} <= {*listing.classes}


@pytest.mark.parametrize("name", ["cat\u200b", "\ufeff", "red\u00a0cat", "a\nb", "a\x1bb", "\udcff"], ids=ascii)
def test_names_that_can_not_be_seen_are_an_error(tmp_path, name):
    touch(tmp_path / name / "a.png", tmp_path / "dog" / "a.png")
    with pytest.raises(PipelineError, match=r"characters that can't be printed: .*\(U\+.*; rename them"):
        list_folder(tmp_path)


def test_a_name_of_blanks_is_an_error(tmp_path):
    touch(tmp_path / " " / "a.png", tmp_path / "dog" / "a.png")
    with pytest.raises(PipelineError, match="consists of blanks"):
        list_folder(tmp_path)


def test_many_twins_and_many_spellings_are_counted(tmp_path):
    touch(*(tmp_path / f"class {number}{end}" / "a.png" for number in range(100) for end in ("", "\u200b")))
    with pytest.raises(PipelineError, match=r"\(and 99 more such pairs\)") as caught:
        list_folder(tmp_path)
    assert len(str(caught.value)) < 500
    rows = "path,label\n" + "".join(f"{number}{end}.png,c{number}{end}\n" for number in range(100) for end in ("", " "))
    remarks = list_images(table_dataset(tmp_path, rows)).remarks
    assert len(remarks) == 4
    assert remarks[-1].startswith("97 more classes")
