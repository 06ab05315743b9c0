"""Reading of PyTorch checkpoints from before 2020, without PyTorch and without running code in them."""

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.storage.files import file_sha256
from pipeline.system.errors import PipelineError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {("torch", "FloatStorage"): np.float32, ("torch", "LongStorage"): np.int64}


def read_checkpoint(file: Path, sha256: str) -> dict[str, np.ndarray]:
    """Read the named tensors of a checkpoint in torch's legacy format (pickles, then raw storages, little-endian).

    Args:
        file: Checkpoint file.
        sha256: Expected digest of the file, hexadecimal.

    Returns:
        Arrays in torch's layout, float32 or int64, by name.

    Raises:
        PipelineError: The digest of the file is not the expected one.
        pickle.UnpicklingError: The file contains other objects than tensors, or is not in this format.
    """
    digest = file_sha256(file)
    if digest != sha256:
        raise PipelineError(
            f"{file} is not the expected checkpoint: its sha256 is {digest}, expected {sha256}; install its package again"
        )
    with file.open("rb") as stream:
        if _TensorUnpickler(stream).load() != _MAGIC or _TensorUnpickler(stream).load() != _PROTOCOL:
            raise pickle.UnpicklingError("not a checkpoint in torch's legacy format")
        if not _TensorUnpickler(stream).load()["little_endian"]:
            raise pickle.UnpicklingError("big-endian checkpoints are not supported")
        tensors = _TensorUnpickler(stream)
        named = tensors.load()
        for key in _TensorUnpickler(stream).load():
            storage = tensors.storages[key]
            size = int.from_bytes(stream.read(8), "little")
            if size != storage.size:
                raise pickle.UnpicklingError(f"storage {key} has {size} elements, expected {storage.size}")
            data = stream.read(storage.nbytes)
            if len(data) != storage.nbytes:
                raise pickle.UnpicklingError("the file ends early")
            storage[:] = np.frombuffer(data, storage.dtype)
    return dict(named)


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that accepts only ordered dictionaries and CPU tensors."""

    def __init__(self, stream: BinaryIO):
        super().__init__(stream)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the object with this name if it is needed to build tensors; raise an error for any other name."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) in _STORAGES:
            return np.dtype(_STORAGES[module, name])
        raise pickle.UnpicklingError(f"the checkpoint refers to {module}.{name}, which is not needed for tensors")

    def persistent_load(self, reference: Any) -> np.ndarray:
        """Return the storage of a tensor, whose values are read later."""
        kind, dtype, key, _device, size, _view = reference
        if kind != "storage":
            raise pickle.UnpicklingError(f"the checkpoint refers to {kind!r}; only storages are supported")
        return self.storages.setdefault(key, np.empty(size, dtype))


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """Return a strided view of a storage, whose values are read later; raise an error if it exceeds the storage."""
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if min(offset, *stride, *(length - 1 for length in shape), 0) < 0 or last >= storage.size:
        raise pickle.UnpicklingError(
            f"a tensor of shape {shape} and stride {stride} at {offset} exceeds its storage of {storage.size} elements"
        )
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [step * storage.itemsize for step in stride])
