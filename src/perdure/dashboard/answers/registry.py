"""The registry of models beside the runs, as far as a run has put models into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perdure.errors import PerdureError, UsageError

NAME = "market"  # the one built-in pipeline whose models are deployed
_FILE = "registry.db"


@dataclass(frozen=True, slots=True)
class Deployments:
    """Versions of the model, which is champion, and why. `own` are the versions that the run trained."""

    versions: tuple[dict[str, Any], ...]
    champion: int | None
    challenger: int | None
    own: tuple[int, ...]
    log: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, place: Path) -> Deployments | None:
        """What the registry says; None where there is none, or none of this run."""
        path = place.parent / _FILE
        if not path.is_file():
            return None
        try:
            from perdure.pipelines.market.deployment.registry import CHALLENGER, CHAMPION, Registry

            with Registry.existing(path) as registry:
                versions = registry.versions(NAME)
                own = tuple(one.version for one in versions if one.run == place.name)
                if not own:
                    return None
                champion, challenger = registry.alias(NAME, CHAMPION), registry.alias(NAME, CHALLENGER)
                described = tuple(
                    {
                        "version": one.version, "run": one.run, "digest": one.digest, "at": one.created_at,
                        "trained_until": one.trained_until, "metrics": one.metrics,
                        "gate": [asdict(verdict) for verdict in registry.gate(NAME, one.version)],
                    }
                    for one in versions
                )  # fmt: skip
                log = tuple(asdict(one) for one in registry.deployments(NAME))
        except (PerdureError, ImportError, OSError, ValueError):
            return None
        return cls(
            described,
            champion.version if champion else None,
            challenger.version if challenger else None,
            own,
            log,
        )

    @staticmethod
    def change(place: Path, act: Callable[[Any, str], str]) -> str:
        """Do something with the registry and the model's name. Raises UsageError where the run has no model there."""
        if Deployments.of(place) is None:
            raise UsageError(f"{place.name} has no model in a registry beside it")
        from perdure.pipelines.market.deployment.registry import Registry

        with Registry.existing(place.parent / _FILE) as registry:
            return act(registry, NAME)

    @property
    def can_promote(self) -> bool:
        return any(version != self.champion for version in self.own)

    @property
    def can_roll_back(self) -> bool:
        """Whether a champion stands on another one: each promotion lies on those before, a rollback takes one off."""
        height = 0
        for one in self.log:
            height += 1 if one["action"] == "promote" else -1
        return height > 1

    def as_document(self) -> dict[str, Any]:
        return {
            "name": NAME, "champion": self.champion, "challenger": self.challenger, "own": list(self.own),
            "versions": list(self.versions), "deployments": list(self.log),
        }  # fmt: skip
