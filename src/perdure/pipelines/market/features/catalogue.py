"""The catalogue of features: which 202 there are, in which order, and what each is defined to be."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of catalogue.csv. lookback: how many bars the definition looks at, the present one included."""

    name: str
    group: str
    definition: str
    lookback: int
    source: str

    @property
    def from_events(self) -> bool:
        """Whether it is made of events and the VIX, rather than of bars."""
        return self.group.startswith("event_")


@cache
def features() -> tuple[Feature, ...]:
    """All features, in the order of the columns."""
    return tuple(
        Feature(row["name"], row["group"], row["definition"], int(row["lookback"]), row["source"])
        for row in csv.DictReader(_text().splitlines())
    )


@cache
def names() -> tuple[str, ...]:
    """All names, in the order of the columns."""
    return tuple(feature.name for feature in features())


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """The names of each group, both in the catalogue's order."""
    found: dict[str, list[str]] = {}
    for feature in features():
        found.setdefault(feature.group, []).append(feature.name)
    return {group: tuple(members) for group, members in found.items()}


@cache
def digest() -> str:
    """SHA-256 of the catalogue and of the code that computes it (its syntax, so that comments do not count), by which
    a model knows whether it is given the features it was trained on.
    """
    package = files("perdure.pipelines.market.features")
    code = {
        place.name: ast.dump(ast.parse(place.read_text(encoding="utf-8")))
        for place in package.iterdir()
        if place.name.endswith(".py")
    }
    return hashlib.sha256(json.dumps([_text(), sorted(code.items())]).encode()).hexdigest()


def _text() -> str:
    text = (files("perdure.pipelines.market.features") / "catalogue.csv").read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
