"""Tensors come out of a checkpoint; nothing else does, and nothing is run."""

import collections
import io
import pickle

import numpy as np
import pytest

from pipeline.models.efficientnet_lite import LITE
from pipeline.models.torch_checkpoint import read_checkpoint
from pipeline.storage.files import file_sha256
from pipeline.system.errors import PipelineError


def written(tmp_path, *parts, tail: bytes = b""):
    file = tmp_path / "made.pth"
    file.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts) + tail)
    return file


def load(file):
    return read_checkpoint(file, file_sha256(file))


HEAD = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})


@pytest.mark.parametrize(("lite", "count"), [*zip(LITE.values(), (296, 386, 386), strict=True)])
def test_the_pinned_checkpoints(lite, count):
    tensors = read_checkpoint(lite.checkpoint, lite.sha256)
    assert len(tensors) == count
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert tensors["_conv_stem.weight"].dtype == np.float32
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_another_digest_is_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"sha256 is .*, expected 0000"):
        read_checkpoint(written(tmp_path, *HEAD), "0000")


class _Runs:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("payload", [_Runs(), np.zeros(3), io.BytesIO(), collections.Counter("a")])
def test_whatever_is_no_tensor_is_refused(tmp_path, payload, capsys):
    with pytest.raises(pickle.UnpicklingError, match="which is not needed for tensors"):
        load(written(tmp_path, *HEAD, {"weight": payload}, []))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", range(5))
def test_code_is_refused_in_every_part_of_the_file(tmp_path, place):
    parts = [*HEAD, {}, []]
    parts[place] = _Runs()
    with pytest.raises(pickle.UnpicklingError):
        load(written(tmp_path, *parts))


def test_files_that_are_cut_off_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(pickle.UnpicklingError, match="legacy format"):
        load(written(tmp_path, 7, 1001, {}, {}, []))
    cut = tmp_path / "cut.pth"
    cut.write_bytes(LITE["efficientnet_lite0"].checkpoint.read_bytes()[:-1000])
    with pytest.raises(pickle.UnpicklingError, match="ends early"):
        load(cut)
