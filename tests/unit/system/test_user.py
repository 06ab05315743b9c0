"""Users of containers, whose number has no entry in the user database."""

import os
import subprocess
import sys

import pytest

from pipeline.system.paths import CODE

WITHOUT = ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME")
ASK = "import pipeline.system.paths, getpass, pathlib; print(getpass.getuser(), pathlib.Path.home())"


def asked(number: int, folder, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    environment |= {"PYTHONPATH": str(CODE), "TMPDIR": str(folder)} | variables
    # A process that becomes another user in Python keeps its rights to read the environment below /root.
    code = f"import os; os.setreuid({number}, -1); {ASK}"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_number_without_a_name_gets_a_name_and_a_home(tmp_path):
    assert asked(12345, tmp_path) == f"12345 {tmp_path}/home-12345"
    assert asked(12345, tmp_path, HOME="/", LOGNAME="me") == "me /"


def test_known_users_keep_what_they_have(tmp_path):
    assert asked(os.getuid(), tmp_path, HOME="/somewhere").endswith(" /somewhere")
    assert list(tmp_path.iterdir()) == []
