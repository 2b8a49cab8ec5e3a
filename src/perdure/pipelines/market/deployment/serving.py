"""The champion behind HTTP, for programs of this machine: GET /predict, /model, /health, /openapi.json.

Answers and errors are JSON. There is no page for browsers: FastAPI's would load its scripts from the net.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from perdure.errors import PerdureError, UsageError
from perdure.pipelines.market.data.provider import SourceError
from perdure.pipelines.market.deployment import prediction
from perdure.pipelines.market.deployment.latest import Rows, default_day, rows_as_of
from perdure.pipelines.market.deployment.prediction import Champion, Trained
from perdure.pipelines.market.deployment.records import ModelVersion
from perdure.pipelines.market.deployment.registry import CHALLENGER, Registry

_KEPT = 8  # days whose rows are kept in memory
Features = Callable[[np.datetime64, Trained], Rows]
Symbol = Annotated[
    str | None, Query(pattern=r"^[A-Z0-9][A-Z0-9._\-]{0,31}$", description="All symbols without it.")
]
Day = Annotated[
    date | None, Query(description="As of the close of this day, YYYY-MM-DD; the newest without it.")
]


@dataclass(slots=True)
class Desk:
    """The loaded champion and the rows of a few days. Requests come in many threads; of each, one may load."""

    registry: Path
    features: Features
    read: Callable[[bytes], Trained] | None
    _champion: Champion | None = None
    _rows: OrderedDict[tuple[int, np.datetime64, date], Rows] = field(default_factory=OrderedDict)
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _computing: threading.Lock = field(default_factory=threading.Lock)

    def champion(self) -> Champion:
        """The version that the alias stands for now: a promotion or rollback counts from the next request on."""
        with self._loading:
            try:
                with Registry.existing(self.registry) as registry:
                    now = prediction.current(registry)
                    if self._champion is None or self._champion.version != now:
                        self._champion = prediction.load(registry, now.version, read=self.read)
            except UsageError as error:  # not the client's mistake
                raise HTTPException(503, str(error)) from error
            return self._champion

    def rows(self, champion: Champion, day: np.datetime64) -> Rows:
        """The features as of a day, computed once a calendar day."""
        key = (champion.version.version, day, date.today())
        with self._computing:
            if key not in self._rows:
                self._rows[key] = self.features(day, champion.ensemble)
                while len(self._rows) > _KEPT:
                    self._rows.popitem(last=False)
            self._rows.move_to_end(key)
            return self._rows[key]


def app(
    registry: Path, *, source: str | None = None, features: Features | None = None,
    read: Callable[[bytes], Trained] | None = None,
) -> FastAPI:  # fmt: skip
    """The application. source: of the data, if not the one that the model was trained from.

    features, read: how rows of a day are made and a stored ensemble is read; tests have their own.
    """

    def made(day: np.datetime64, ensemble: Trained) -> Rows:
        return rows_as_of(day, config=ensemble.manifest["config"], source=source, beside=registry)

    desk = Desk(registry, features or made, read)
    web = FastAPI(title="perdure market", version="1", docs_url=None, redoc_url=None)
    _answer_errors(web)

    @web.get("/predict")
    def predict(symbol: Symbol = None, asof: Day = None) -> dict[str, Any]:
        """Probabilities of a rise, highest first."""
        champion = desk.champion()
        text = source or champion.ensemble.manifest["config"]["source"]
        day = default_day(text) if asof is None else np.datetime64(asof, "D")
        found = prediction.document(champion, desk.rows(champion, day), asof=day)
        return found if symbol is None else _only(found, symbol)

    @web.get("/model")
    def model() -> dict[str, Any]:
        """The champion: what it is, how good it was, and what the gate said."""
        champion = desk.champion()
        with Registry.existing(registry) as opened:
            waiting = opened.alias(prediction.NAME, CHALLENGER)
            log = opened.deployments(prediction.NAME)
        return {
            **_facts(champion.version),
            "gate": [asdict(verdict) for verdict in champion.gate],
            "manifest": dict(champion.ensemble.manifest),
            "challenger": None if waiting is None else waiting.version,
            "deployed": asdict(log[-1]),
        }

    @web.get("/health")
    def health() -> dict[str, Any]:
        """Whether there is a champion that can be read."""
        return {"status": "ok", "version": desk.champion().version.version}

    return web


def _facts(version: ModelVersion) -> dict[str, Any]:
    facts = asdict(version)
    return {name: value for name, value in facts.items() if name != "path"}


def _only(found: dict[str, Any], symbol: str) -> dict[str, Any]:
    """The document with one symbol's forecast; its decile is that among all."""
    own = [one for one in found["forecasts"] if one["symbol"] == symbol]
    if not own:
        raise HTTPException(404, found["skipped"].get(symbol, f"{symbol} is none of the model's symbols"))
    return found | {"forecasts": own, "skipped": {}}


def _answer_errors(web: FastAPI) -> None:
    """Every error as {"error", "kind"}, without a trace."""

    @web.exception_handler(PerdureError)
    def ours(_: Request, error: PerdureError) -> JSONResponse:
        return _problem(_status(error), str(error), type(error).__name__)

    @web.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), "HTTPException")

    @web.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return _problem(422, told, "ValidationError")

    @web.exception_handler(Exception)
    def unexpected(_: Request, error: Exception) -> JSONResponse:
        return _problem(500, "an error inside the server; its log has it", type(error).__name__)


def _status(error: PerdureError) -> int:
    """422: the question cannot be answered; 502: the source of the data failed; 503: what is deployed cannot serve."""
    if isinstance(error, SourceError):
        return 502
    return 422 if isinstance(error, UsageError) else 503


def _problem(status: int, text: str, kind: str) -> JSONResponse:
    return JSONResponse({"error": text, "kind": kind}, status_code=status)
