"""Take the README's image: `python -m tools.page_image outputs/report/report.html docs/images/report.png`.

The page is opened in chromium, which has to be installed. Its upper part becomes a PNG file with few colours.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image


def take(page: Path, file: Path, width: int, height: int) -> None:
    """Write the upper part of a page to a PNG file.

    Args:
        page: HTML file.
        file: Output file.
        width: Width of the window in pixels.
        height: Height of the window in pixels.

    Raises:
        subprocess.CalledProcessError: The browser failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "shot.png")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}"]
        window = [f"--window-size={width},{height}", f"--screenshot={shot}", page.absolute().as_uri()]
        subprocess.run(["chromium", *options, *window], check=True, capture_output=True, timeout=120)
        # A page has few colours, and the file is a quarter as large.
        Image.open(shot).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Take an image of the upper part of a page."""
    parser = argparse.ArgumentParser(prog="python -m tools.page_image", description=main.__doc__)
    parser.add_argument("page", type=Path, help="HTML file, such as outputs/report/report.html")
    parser.add_argument("file", type=Path, help="output PNG file")
    parser.add_argument("--width", type=int, default=1000, help="width in pixels (default: 1000)")
    parser.add_argument("--height", type=int, default=700, help="height in pixels (default: 700)")
    args = parser.parse_args()
    if not args.page.is_file():
        sys.exit(f"{args.page} does not exist; run make repro, which writes outputs/report/report.html")
    if shutil.which("chromium") is None:
        sys.exit("chromium is not installed; install it, as with apt install chromium")
    take(args.page, args.file, args.width, args.height)


if __name__ == "__main__":
    main()
