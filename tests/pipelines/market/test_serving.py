"""The champion behind HTTP: it follows the alias, checks what it is asked, and answers errors as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import made_champion
from made_champion import DAY, Linear
from perdure.errors import UsageError
from perdure.pipelines.market.data.provider import RateLimitedError
from perdure.pipelines.market.deployment import serving
from perdure.pipelines.market.deployment.latest import Rows
from perdure.pipelines.market.deployment.registry import Registry

ASOF = {"asof": "2025-06-13"}


class Served:
    """A server on a registry, whose rows are made here; `asked` holds the days for which they were."""

    def __init__(self, folder: Path) -> None:
        self.registry = folder / "registry.db"
        self.asked: list[str] = []
        self.failure: Exception | None = None
        web = serving.app(self.registry, features=self.features, read=Linear.read)
        self.client = TestClient(web, raise_server_exceptions=False)

    def features(self, day: np.datetime64, _: Any) -> Rows:
        if self.failure is not None:
            raise self.failure
        self.asked.append(str(day))
        return made_champion.rows()

    def promote(self, **changes: Any) -> None:
        made_champion.promoted(self.registry, made_champion.content(**changes))

    def get(self, path: str, *, status: int = 200, **parameters: str) -> Any:
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.promote()
    return made


def test_all_symbols_are_forecast_as_of_a_day(served: Served) -> None:
    found = served.get("/predict", **ASOF)
    assert [one["symbol"] for one in found["forecasts"]] == list(made_champion.SYMBOLS)
    assert (found["version"], found["day"]) == (1, "2025-06-13")
    assert found["skipped"] == {"TSLA": "only 12 of 12 bars can be used"}


def test_one_symbol_is_forecast_with_its_decile_among_all(served: Served) -> None:
    found = served.get("/predict", symbol="KO", **ASOF)
    assert [(one["symbol"], one["decile"]) for one in found["forecasts"]] == [("KO", 1)]
    assert served.get("/predict", symbol="AAPL", **ASOF)["forecasts"][0]["decile"] == 9


def test_rows_of_a_day_are_made_once(served: Served) -> None:
    for symbol in ("KO", "JPM"):
        served.get("/predict", symbol=symbol, **ASOF)
    served.get("/predict", asof="2025-06-16")
    assert served.asked == ["2025-06-13", "2025-06-16"]


def test_rows_of_only_a_few_days_are_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [str(DAY + np.timedelta64(k, "D")) for k in range(4)]
    monkeypatch.setattr(serving, "_KEPT", 2)
    for day in [*days[:2], days[1], days[2], days[1], days[0]]:
        served.get("/predict", asof=day)
    assert served.asked == [*days[:3], days[0]]


def test_a_promotion_and_a_rollback_count_from_the_next_request_on(served: Served) -> None:
    before = served.get("/predict", **ASOF)["forecasts"][0]["probability"]
    served.promote(lean=1.0)
    after = served.get("/predict", **ASOF)
    assert after["version"] == 2 and after["forecasts"][0]["probability"] > before
    with Registry(served.registry) as registry:
        registry.rollback("market", who="a test")
    assert served.get("/predict", **ASOF)["forecasts"][0]["probability"] == before


def test_the_model_shows_its_metrics_manifest_and_gate(served: Served) -> None:
    found = served.get("/model")
    assert (found["version"], found["metrics"], found["trained_until"]) == (1, {"auc": 0.55}, "2025-05-30")
    assert found["gate"][0]["check"] == "AUC" and found["gate"][0]["value"] == 0.55
    assert len(found["manifest"]["features"]) == 202
    assert found["deployed"]["who"] == "a test" and found["challenger"] is None


def test_health_is_good_only_with_a_champion_that_can_be_read(served: Served) -> None:
    assert served.get("/health") == {"status": "ok", "version": 1}
    with Registry(served.registry) as registry:
        registry.version("market", 1).path.write_bytes(b"damaged")
    other = Served(served.registry.parent)
    assert other.get("/health", status=503)["kind"] == "DamagedError"


def test_without_a_champion_or_a_registry_the_answer_says_what_to_do(tmp_path: Path) -> None:
    empty = Served(tmp_path)
    assert "perdure run market" in empty.get("/health", status=503)["error"]
    assert not empty.registry.exists()
    with Registry(empty.registry):
        pass
    assert "perdure promote" in empty.get("/predict", status=503)["error"]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"symbol": "aapl"}, "symbol"),
        ({"symbol": "A" * 33}, "symbol"),
        ({"symbol": "../../etc"}, "symbol"),
        ({"symbol": ""}, "symbol"),
        ({"asof": "yesterday"}, "asof"),
        ({"asof": "2025-02-30"}, "asof"),
    ],
)
def test_what_is_no_symbol_or_no_day_is_refused(
    served: Served, parameters: dict[str, str], named: str
) -> None:
    found = served.get("/predict", status=422, **parameters)
    assert found["kind"] == "ValidationError" and found["error"].startswith(f"{named}: ")
    assert served.asked == []


def test_a_symbol_without_a_forecast_is_not_found_and_the_reason_is_told(served: Served) -> None:
    assert "12 bars" in served.get("/predict", symbol="TSLA", status=404, **ASOF)["error"]
    assert "none of" in served.get("/predict", symbol="ZZZ", status=404, **ASOF)["error"]


def test_stale_data_and_changed_features_are_the_servers_trouble(served: Served) -> None:
    assert served.get("/predict", asof="2025-07-13", status=503)["kind"] == "StaleError"
    served.promote(feature_digest="0" * 64)
    assert served.get("/predict", status=503, **ASOF)["kind"] == "ChangedError"


def test_a_source_that_fails_is_a_bad_gateway_and_a_bad_day_the_clients_mistake(served: Served) -> None:
    served.failure = RateLimitedError("come back tomorrow")
    assert served.get("/predict", status=502, **ASOF)["error"] == "come back tomorrow"
    served.failure = UsageError("there was no market in 1850")
    assert served.get("/predict", status=422, asof="1850-01-01")["kind"] == "UsageError"


def test_no_error_shows_its_trace(served: Served) -> None:
    served.failure = RuntimeError("secret detail")
    found = served.get("/predict", status=500, **ASOF)
    assert found == {"error": "an error inside the server; its log has it", "kind": "RuntimeError"}
    assert served.get("/nothing", status=404)["error"] == "Not Found"
    assert served.client.post("/predict").status_code == 405


def test_the_answers_are_described_and_no_page_needs_the_net(served: Served) -> None:
    described = served.get("/openapi.json")
    assert set(described["paths"]) == {"/predict", "/model", "/health"}
    served.get("/docs", status=404)
