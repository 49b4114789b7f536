"""The flights' CSVs contain only data known before departure, and histories only of earlier days."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benison.pipelines.flights import source
from benison.pipelines.flights.features import CATEGORIES, CROSSES, NUMBERS
from benison.pipelines.flights.source import COLUMNS, HISTORIES, KNOWN_TOO_LATE, with_histories

EXAMPLES = Path(__file__).parents[4] / "configs/examples/flights.csv"
HISTORY_COLUMNS = ["tail_flights_30d", *(history.column for history in HISTORIES)]


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """Return all flights of the year, including those that never arrived."""
    return source._flights(source._data())


@pytest.fixture(scope="module")
def invented() -> pd.DataFrame:
    """Return a hundred days of flights of few planes; some land on the next day or never."""
    rng = np.random.default_rng(0)
    rows = 1500
    days = pd.Timestamp("2013-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 100, rows)), unit="D")
    never = rng.random(rows) < 0.05
    return pd.DataFrame(
        {
            "month": days.month,
            "day": days.day,
            "tailnum": rng.choice(["N1", "N2", "N3", None], rows),
            "carrier": rng.choice(["AA", "UA"], rows),
            "flight": rng.integers(1, 4, rows),
            "origin": rng.choice(["EWR", "JFK"], rows),
            "dest": rng.choice(["IAH", "ORD", "SEA"], rows),
            "hour": rng.integers(5, 9, rows),
            "late": np.where(never, None, rng.choice(["yes", "no"], rows)),
            "landed_day": np.where(never, np.nan, days.dayofyear - 1 + (rng.random(rows) < 0.2)),
        }
    )


def by_hand(flights: pd.DataFrame, row: dict[str, Any], history: source.History) -> tuple[float, int]:
    """Compute a flight's history from all other flights: the late share, and the number of flights."""
    today = pd.Timestamp(2013, row["month"], row["day"]).dayofyear - 1
    alike = flights
    for key in history.keys:
        alike = alike[alike[key] == row[key]]
    landed = alike[(alike["landed_day"] < today) & (alike["landed_day"] >= today - history.days)]
    return round((landed["late"] == "yes").mean(), 4) if len(landed) else np.nan, len(landed)


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)
def test_a_history_counts_flights_that_landed_on_the_days_before(invented, flights, history):
    for frame in (with_histories(invented), flights):
        for row in frame.sample(15, random_state=1).to_dict("records"):
            share, count = by_hand(frame, row, history)
            assert row[history.column] == pytest.approx(share, abs=1e-4, nan_ok=True)
            if history.name == "tail":
                assert row["tail_flights_30d"] == count


@pytest.mark.parametrize("outcome", ["yes", "no", None])
def test_todays_outcomes_change_nothing_before_tomorrow(invented, outcome):
    today = (invented["month"] == 2) & (invented["day"] == 10)
    later = (invented["month"] > 2) | ((invented["month"] == 2) & (invented["day"] > 10))
    changed = invented.assign(late=invented["late"].where(~today | invented["late"].isna(), outcome))
    before, after = with_histories(invented)[HISTORY_COLUMNS], with_histories(changed)[HISTORY_COLUMNS]
    pd.testing.assert_frame_equal(before[~later], after[~later])
    assert not before[later].equals(after[later])


def test_a_flight_in_the_air_at_midnight_is_not_known_on_the_next_day():
    keys = {"month": 1, "tailnum": "N1", "carrier": "AA", "flight": 1, "origin": "JFK", "dest": "HNL", "hour": 18}
    days = pd.DataFrame([{**keys, "day": day, "late": "yes", "landed_day": day} for day in (1, 2, 3)])
    assert with_histories(days)["tail_flights_30d"].tolist() == [0, 0, 1]


def test_no_column_is_known_too_late():
    assert not set(COLUMNS) & set(KNOWN_TOO_LATE)
    read = {*NUMBERS, *CATEGORIES, *(name for cross in CROSSES for name in cross)}
    assert read <= set(COLUMNS) - {"late"}


def test_the_example_rows_have_every_column_but_the_label():
    header, *rows = list(csv.reader(EXAMPLES.read_text().splitlines()))
    assert header == [name for name in COLUMNS if name != "late"]
    assert len(rows) == 5
    assert any("NA" in row for row in rows), "one with missing values"


def test_late_is_15_minutes_or_more(flights):
    arrived = flights[flights["arr_delay"].notna()]
    assert (arrived["late"] == np.where(arrived["arr_delay"] >= 15, "yes", "no")).all()


def test_the_schedule_agrees_with_the_clock_at_the_destination(flights):
    on_time = flights[(flights["arr_delay"] == 0) & (flights["dep_delay"] == 0)]
    minutes = on_time["sched_minutes"] - on_time["air_time"]
    assert minutes.between(5, 240).all()  # taxiing; an extra hour would be a wrong time zone


def test_one_file_per_month_in_order_and_left_out_flights_are_counted(flights, tmp_path, monkeypatch):
    few = flights.groupby("month").head(800)
    monkeypatch.setattr(source, "_flights", lambda data: few)
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        source.write(folder)
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    left_out = json.loads(written[0].pop(source.LEFT_OUT))
    assert set(written[0]) == {f"{month}.csv" for month in range(1, 13)}
    for month in range(1, 13):
        rows = pd.read_csv(tmp_path / "one" / f"{month}.csv", keep_default_na=False)
        counts = left_out[str(month)]
        assert tuple(rows.columns) == COLUMNS
        assert (rows["month"] == month).all()
        assert rows["day"].is_monotonic_increasing
        assert set(rows["late"]) == {"yes", "no"}
        assert len(rows) == 800 - counts["left_out"]
        assert counts["left_out"] == counts["cancelled"] + counts["diverted"]


def test_all_flights_of_the_year_are_there(flights):
    assert len(flights) == 336_776
    assert flights["arr_delay"].isna().sum() == 9_430
