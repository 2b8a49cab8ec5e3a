"""Numbers out of delimited text at the speed of memory: a numba kernel over the bytes of a file.

Every flux is exactly float32(float(text)). The kernel computes a double that is within 2e-15 of the number
written; when all doubles that near round to one float32, that is the answer, and else (about one cell in ten
million, and whatever is not a plain decimal number) Python's own `float` decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from perdure.pipelines.exoplanet.reading.result import UnreadableError

SKIP = -1  # role of a column that nobody needs
_TEXT = -2  # roles from here down: text columns
_POWERS = np.array([float(f"1e{k}") for k in range(-300, 301)])
_MARGIN = 2e-15  # relative; the sum of all rounding errors below is under 5e-16
_BLANK, _CELL, _COUNT = -1, 1, 2  # what is wrong with a row; 0 is nothing
_MISSING = frozenset((b"", b"na", b"n/a", b"nan", b"null", b"none", b"-nan", b"+nan"))


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a delimited file that could be read.

    numbers:  (n, k) float32, the columns with a role >= 0, NaN where a cell is empty.
    texts:    one list of n strings per text column.
    line:     (n,) the line of the file, counted from 1, that each row stands in.
    rejected: (line, reason) of every row that could not be read.
    """

    numbers: np.ndarray
    texts: list[list[str]]
    line: np.ndarray
    rejected: list[tuple[int, str]]


def header(path: Path, *, limit: int = 1 << 20) -> tuple[list[str], str]:
    """The column names of a delimited file, and its delimiter; UnreadableError if the first line is no text."""
    with path.open("rb") as file:
        first = file.read(limit).split(b"\n", 1)[0]
    try:
        line = first.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path}: the first line is not UTF-8 text: {error.reason}") from None
    if len(first) == limit or any(ord(character) < 32 and character != "\t" for character in line):
        raise UnreadableError(f"{path}: the first line is no header of column names")
    delimiter = max(",;\t", key=line.count)
    return [name.strip().strip('"') for name in line.split(delimiter)], delimiter


def text_role(position: int) -> int:
    """The role of a column whose cells are wanted as text, as element `position` of `Table.texts`."""
    return _TEXT - position


def read_table(path: Path, roles: np.ndarray, *, delimiter: str) -> Table:
    """Read a delimited file that starts with a header line.

    roles: (columns,) int32 per column of the file: the column in `numbers`, `SKIP`, or `text_role(k)`.
    A row with the wrong number of cells, or with a flux that is no number, is rejected with its line and
    reason. Blank lines are passed over. A cell may be quoted, but may not hold the delimiter.
    """
    if not path.stat().st_size:
        raise UnreadableError(f"{path}: the file is empty")
    buffer = np.asarray(np.memmap(path, np.uint8, mode="r"))
    return _parse(buffer, np.asarray(roles, np.int32), delimiter)


def _parse(buffer: np.ndarray, roles: np.ndarray, delimiter: str) -> Table:
    starts = _line_starts(buffer)
    wanted = int(max(roles.max(initial=-1) + 1, 0))
    texts = int(max(_TEXT - roles.min(initial=0) + 1, 0))
    rows = len(starts) - 1
    numbers = np.empty((rows, wanted), np.float32)
    spans = np.zeros((rows, texts, 2), np.int64)
    faults = np.zeros((rows, 4), np.int64)  # kind, column, start and end of the cell
    odd = np.empty((max(1024, len(roles)), 4), np.int64)
    row = 0
    while row < rows:  # the kernel comes back whenever its room for odd cells is used up
        row, found = _read_rows(
            buffer, starts, row, roles, ord(delimiter), _POWERS, numbers, spans, faults, odd
        )
        for r, column, start, stop in odd[:found].tolist():
            value = _odd_number(bytes(buffer[start:stop]))
            if value is None:
                if not faults[r, 0]:
                    faults[r] = (_CELL, column, start, stop)
            else:
                numbers[r, roles[column]] = value
    return _collect(buffer, numbers, spans, faults, len(roles))


def _odd_number(cell: bytes) -> np.float32 | None:
    """What Python makes of a cell; NaN for the usual words for "missing"; None if it is no number."""
    word = cell.strip().strip(b'"').strip()
    if word.lower() in _MISSING:
        return np.float32("nan")
    try:
        if b"_" in word:  # Python takes 1_000 for a number; files do not
            return None
        with np.errstate(over="ignore"):
            return np.float32(float(word))
    except ValueError:
        return None


def _collect(
    buffer: np.ndarray, numbers: np.ndarray, spans: np.ndarray, faults: np.ndarray, columns: int
) -> Table:
    blank = faults[:, 0] == _BLANK
    broken = faults[:, 0] > 0
    rejected = []
    for row in np.flatnonzero(broken).tolist():
        kind, column, start, stop = faults[row].tolist()
        if kind == _COUNT:
            reason = f"it has {column} cells, the header has {columns}"
        else:
            shown = bytes(buffer[start : min(stop, start + 40)]).decode("utf-8", "backslashreplace")
            reason = f"column {column + 1} holds {shown!r}, which is no number"
        rejected.append((row + 2, reason))
    good = np.flatnonzero(~(blank | broken))
    texts = [
        [
            bytes(buffer[a:b]).decode("utf-8", "backslashreplace").strip().strip('"').strip()
            for a, b in spans[good, k].tolist()
        ]
        for k in range(spans.shape[1])
    ]
    kept = numbers if len(good) == len(numbers) else numbers[good]
    return Table(kept, texts, good + 2, rejected)


def _line_starts(buffer: np.ndarray) -> np.ndarray:
    """Where each line after the header starts, and the end of the last: (rows + 1,)."""
    ends = [np.flatnonzero(buffer[a : a + (1 << 22)] == 10) + a for a in range(0, len(buffer), 1 << 22)]
    starts = np.concatenate(ends) + 1
    if not len(starts):
        return np.array([len(buffer)])
    return starts if starts[-1] == len(buffer) else np.append(starts, len(buffer) + 1)


@njit(nogil=True, cache=True)
def _read_rows(
    buffer: np.ndarray,
    starts: np.ndarray,
    first: int,
    roles: np.ndarray,
    delimiter: int,
    powers: np.ndarray,
    numbers: np.ndarray,
    spans: np.ndarray,
    faults: np.ndarray,
    odd: np.ndarray,
) -> tuple[int, int]:
    """Parse rows from `first` on; returns the next row to parse, and how many cells were put into `odd`.

    Elements are assigned one by one: for whole rows numba compiles 3 s more, for the text of an error.
    """
    found = 0
    columns = roles.size
    for row in range(first, starts.size - 1):
        if found + columns > len(odd):
            return row, found
        position = starts[row]
        end = starts[row + 1] - 1
        if end > position and buffer[end - 1] == 13:
            end -= 1
        if end <= position:
            faults[row, 0] = _BLANK
            continue
        column = 0
        while position <= end:
            role = roles[column] if column < columns else SKIP
            start = position
            sure = False
            if role >= 0:
                position, value, sure = _number(buffer, position, end, delimiter, powers)
            if sure:
                numbers[row, role] = value
            else:
                position = start
                while position < end and buffer[position] != delimiter:
                    position += 1
                if role <= _TEXT:
                    spans[row, _TEXT - role, 0], spans[row, _TEXT - role, 1] = start, position
                elif role >= 0:
                    odd[found, 0], odd[found, 1], odd[found, 2], odd[found, 3] = row, column, start, position
                    found += 1
            column += 1
            position += 1
        if column != columns:
            faults[row, 0], faults[row, 1] = _COUNT, column
    return starts.size - 1, found


@njit(nogil=True, cache=True)
def _number(
    buffer: np.ndarray, position: int, end: int, delimiter: int, powers: np.ndarray
) -> tuple[int, np.float32, bool]:
    """Parse one plain decimal number; returns where its cell ends, the value, and whether it is certain."""
    negative, nothing = False, np.float32(0)
    if position == end or buffer[position] == delimiter:
        return position, np.float32(np.nan), True
    if position < end and (buffer[position] == 45 or buffer[position] == 43):
        negative = buffer[position] == 45
        position += 1
    mantissa = np.uint64(0)
    digits = 0  # that count towards the mantissa
    seen = 0
    exponent = 0
    point = False
    while position < end:
        byte = buffer[position]
        digit = np.uint64(byte) - np.uint64(48)
        if digit < np.uint64(10):
            seen += 1
            if digits < 18:
                mantissa = mantissa * np.uint64(10) + digit
                if mantissa > np.uint64(0):
                    digits += 1
                exponent -= point
            else:
                exponent += not point  # a digit after the 18th moves nothing but the exponent
        elif byte == 46 and not point:
            point = True
        else:
            break
        position += 1
    if seen == 0:
        return position, nothing, False
    if position < end and (buffer[position] | 32) == 101:
        position += 1
        down = False
        if position < end and (buffer[position] == 45 or buffer[position] == 43):
            down = buffer[position] == 45
            position += 1
        power = 0
        seen = 0
        while position < end and seen < 6 and buffer[position] >= 48 and buffer[position] <= 57:
            power = power * 10 + (buffer[position] - 48)
            position += 1
            seen += 1
        if seen == 0:
            return position, nothing, False
        exponent += -power if down else power
    if position < end and buffer[position] != delimiter:
        return position, nothing, False
    if mantissa == np.uint64(0):
        return position, np.float32(-0.0) if negative else nothing, True
    if exponent < -300 or exponent > 300:
        return position, nothing, False
    near = float(mantissa) * powers[exponent + 300]
    low = np.float32(near * (1 - _MARGIN))
    high = np.float32(near * (1 + _MARGIN))
    value = -low if negative else low
    return position, value, low == high and not math.isinf(high)
