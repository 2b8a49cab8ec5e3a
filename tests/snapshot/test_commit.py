"""A staged state is digested piece by piece: the pieces are its bytes, the digests those of each part as a whole."""

from __future__ import annotations

import blake3
import numpy as np
import pytest

from perdure import files
from perdure.snapshot.commit import Staged
from perdure.snapshot.parts import canonical
from perdure.snapshot.staging import Staging

ARRAYS = {
    "net/none": np.zeros((0, 3), np.float64),
    "net/wide": np.arange(9, dtype=np.float64),
    "net/exact": np.arange(4, dtype=np.float64),
    "net/byte": np.array(7, np.uint8),
    "other/odd": np.arange(13, dtype=np.uint8),
    "other/void": np.zeros(0, np.uint8),
}


def staged(arrays: dict[str, np.ndarray]) -> Staged:
    staging = Staging()
    layout = staging.copy(arrays)
    return Staged({"net": "n", "other": "o", "bare": "b"}, layout, staging.bytes_of(layout))


def whole(state: Staged, part: str) -> str:
    hasher = blake3.blake3(state.documents[part].encode())
    for tensor in state.layout:
        if tensor.name.startswith(part + "/"):
            hasher.update(canonical([tensor.name, tensor.dtype, tensor.shape]).encode())
            hasher.update(state.content[tensor.start : tensor.start + tensor.size])
    return hasher.hexdigest()


@pytest.mark.parametrize("chunk", [1, 3, 8, 16, 32, 72, 104, 117, 118, 119, 4096])
@pytest.mark.parametrize("names", [list(ARRAYS), ["net/none", "other/void"], []])
def test_pieces_of_any_size_give_the_digests_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, chunk: int, names: list[str]
) -> None:
    monkeypatch.setattr(files, "CHUNK", chunk)
    state = staged({name: ARRAYS[name] for name in names})
    digests: dict[str, str] = {}
    pieces = [bytes(piece) for piece in state.pieces(digests)]
    assert b"".join(pieces) == bytes(state.content)
    assert digests == {part: whole(state, part) for part in state.documents}
    assert all(len(piece) <= chunk for piece in pieces)
