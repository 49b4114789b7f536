"""Generic features, by the kind that the YAML gives each column under `columns:`.

    number      z-score, of skewed numbers that of their logarithm, and a flag for "missing"
    category    one-hot over the most frequent values, and a flag for "missing"
    hashed      one-hot over hash buckets, for strings with many values, and a flag for "missing"
    date        trend, year, season, weekday and hour, and a flag for "missing" or "not a date"
    text        TF-IDF of words and pairs of words
    ignore      no feature

TensorFlow computes all of them inside Transform's graph, so a served model computes the same. A flag for "missing" that
was never set in training stays 0, because the members have learnt nothing about it.

`benison eject` copies the functions of this module into the user's file, so everything they need is at module level.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from benison import category_ids, dense_columns, number_scores, one_hot, term_weights
from benison.pipelines.generic.columns import SIZES
from benison.pipelines.generic.date_forms import date_pattern

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def preprocessing_fn(inputs: dict[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compute the features of all columns that are not ignored; Benison handles the label.

    Args:
        inputs: raw features, Tensor or SparseTensor [batch, 1].
        columns: `kind` of each column, with the optional `format` (date) and `size` (category, hashed, text).

    Returns:
        float32 [batch, n] by feature name: one feature for all columns of a kind together, so that analysis, graph and
        requests have the same few operations, however many columns there are.
    """
    features = {}
    if names := names_of("number", columns):
        features["numbers"] = numbers(inputs, names)
    if sizes := sizes_of("category", columns):
        features["categories"] = categories(inputs, sizes)
    if sizes := sizes_of("hashed", columns):
        features["hashes"] = hashes(inputs, sizes)
    if names := names_of("date", columns):
        features["dates"] = dates(inputs, {name: columns[name].get("format") for name in names})
    if sizes := sizes_of("text", columns):
        features["texts"] = texts(inputs, sizes)
    return features


def names_of(kind: str, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns of a kind."""
    return [name for name, column in columns.items() if column["kind"] == kind]


def sizes_of(kind: str, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the size of each column of a kind: its own, or the kind's default."""
    return {name: int(columns[name].get("size") or SIZES[kind]) for name in names_of(kind, columns)}


def numbers(inputs: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return z-scores of numeric columns, 0 (the mean) where missing, and "missing" flags: [batch, 2 x names]."""
    values = dense_columns(inputs, names, math.nan, tf.float64)
    return tf.concat([number_scores(values), if_seen(tf.math.is_nan(values))], axis=1)


def categories(inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    """Encode each column one-hot over its `size` most frequent values; other values are all zero.

    Returns:
        [batch, sum of the sizes + columns]: the columns one after the other, then a flag for "missing" of each column.
    """
    words = strings(inputs, sizes)
    return tf.concat([one_hot(category_ids(words, [*sizes.values()]), [*sizes.values()]), if_missing(words)], axis=1)


def hashes(inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    """Encode each column one-hot over `size` hash buckets, all zero where missing.

    Returns:
        [batch, sum of the sizes + columns]: the columns one after the other, then a flag for "missing" of each column.
    """
    words = strings(inputs, sizes)
    widths = tf.constant([*sizes.values()])
    buckets = tf.fill(tf.shape(words), tf.constant(-1, tf.int64))
    for size in sorted(set(sizes.values())):
        hashed = tf.strings.to_hash_bucket_fast(words, size)
        buckets = tf.where(tf.not_equal(words, "") & tf.equal(widths, size), hashed, buckets)
    return tf.concat([one_hot(buckets, [*sizes.values()]), if_missing(words)], axis=1)


def dates(inputs: Mapping[str, Any], forms: Mapping[str, str | None]) -> Any:
    """Encode dates: trend (days), year, season and hour as points on a circle, weekday, "missing" of each column.

    If the value is missing or not a date, all features of a column but "missing" are zero.

    Args:
        inputs: raw features.
        forms: the format of each column as for strptime, of %Y %y %m %b %d %H %I %M %S %p; None for ISO 8601 with or
            without a time.

    Returns:
        [batch, 14 x columns]: days of all columns, then years of all columns, and so on. Columns of the same format
        come one after the other.
    """
    parts, valid = [], []
    for form in dict.fromkeys(forms.values()):
        part, known = date_columns(inputs, [name for name, other in forms.items() if other == form], form)
        parts.append(part)
        valid.append(known)
    days, *numbers = (tf.concat([part[letter] for part in parts], axis=1) for letter in ("days", *"YmdHM"))
    year, month, day, hour, minute = numbers
    known = tf.concat(valid, axis=1)
    season = 2 * math.pi * (tf.cast(month - 1, tf.float32) + tf.cast(day - 1, tf.float32) / 31) / 12
    daytime = 2 * math.pi * (tf.cast(hour, tf.float32) + tf.cast(minute, tf.float32) / 60) / 24
    scores = number_scores(
        tf.concat([tf.where(known, tf.cast(value, tf.float64), math.nan) for value in (days, year)], 1)
    )
    circles = [tf.sin(season), tf.cos(season), tf.sin(daytime), tf.cos(daytime)]
    weekday = tf.where(known, (days + 3) % 7, -1)  # Monday is first; 1970 began on a Thursday
    return tf.concat(
        [
            scores,
            *(tf.where(known, values, 0.0) for values in circles),
            one_hot(weekday, [7] * len(forms)),
            if_seen(tf.math.logical_not(known)),
        ],
        axis=1,
    )


def texts(inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    """Compute TF-IDF of the `size` most frequent words and pairs of words of each column, normalised per cell.

    Returns:
        [batch, sum of the sizes]: the columns one after the other.
    """
    cells = tf.reshape(strings(inputs, sizes), [-1])
    valid = tf.strings.unicode_transcode(cells, "UTF-8", "UTF-8", errors="replace")
    plain = tf.strings.regex_replace(tf.strings.lower(valid, encoding="utf-8"), r"[^\p{L}\p{N}]+", " ")
    words = tf.strings.split(tf.strings.strip(plain)).to_sparse()
    return term_weights(tft.ngrams(words, (1, 2), " "), [*sizes.values()], "texts")


def strings(inputs: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Convert raw columns to text [batch, columns], '' where missing."""
    return dense_columns(inputs, names, "", tf.string)


def if_seen(flags: Any) -> Any:
    """Convert flags, bool [batch, n], to float32; a flag that is never set in `train` is always 0."""
    values = tf.cast(flags, tf.float32)
    return values * tft.max(values, reduce_instance_dims=False)


def if_missing(words: Any) -> Any:
    """Return flags for missing text [batch, n]; see `if_seen`."""
    return if_seen(tf.equal(words, ""))


def date_columns(inputs: Mapping[str, Any], names: Sequence[str], form: str | None) -> tuple[dict[str, Any], Any]:
    """Parse columns of dates, once in a graph for all features that are made of them; see `date_parts`."""
    first, key = inputs[names[0]], (tf.compat.v1.get_default_graph(), tuple(names), form)
    parsed = first.__dict__.setdefault("benison_dates", {})
    if key not in parsed:
        parsed[key] = date_parts(strings(inputs, names), form)
    return parsed[key]


def date_parts(words: Any, form: str | None) -> tuple[dict[str, Any], Any]:
    """Parse dates [batch, n] into parts, int64 by strptime's letter (Y, m, d, H, M), and flags for valid dates.

    The part `days` is the number of days since 1970-01-01.

    A date that no calendar has, such as 2023-02-30, is not valid, nor is 24:00.
    """
    letters, pattern = date_pattern(form)
    matches = tf.strings.regex_full_match(words, pattern)

    def part(letter: str, default: int) -> Any:
        if letter not in letters:
            return tf.fill(tf.shape(words), tf.constant(default, tf.int64))
        value = tf.strings.regex_replace(words, f"^{pattern}$", rf"\{letters.index(letter) + 1}")
        value = tf.where(matches, value, "")
        if letter == "b":
            months = [tf.cast(tf.equal(tf.strings.lower(value), name), tf.int64) for name in MONTHS]
            return tf.add_n([number * month for number, month in enumerate(months, start=1)])
        if letter == "p":
            return tf.cast(tf.equal(tf.strings.lower(value), "pm"), tf.int64)
        return tf.strings.to_number(tf.where(tf.equal(value, ""), str(default), value), tf.int64)

    short = part("y", 0)
    year = part("Y", 1970) if "Y" in letters else short + tf.where(short < 69, tf.constant(2000, tf.int64), 1900)
    month = part("b", 1) if "b" in letters else part("m", 1)
    half_day_hour = part("I", 12)
    hour = half_day_hour % 12 + 12 * part("p", 0) if "I" in letters else part("H", 0)
    day, this_month = part("d", 1), days_since_1970(year, month, 1)
    next_month = days_since_1970(year + month // 12, month % 12 + 1, 1)
    parts = {"Y": year, "m": month, "d": day, "H": hour, "M": part("M", 0), "days": this_month + day - 1}
    limits = {
        "Y": (1, 9999),
        "m": (1, 12),
        "d": (1, next_month - this_month),
        "H": (0, 23),
        "M": (0, 59),
    }
    known = matches & (part("S", 0) <= 59) & (half_day_hour >= 1) & (half_day_hour <= 12)
    for letter, (first, last) in limits.items():
        known &= (parts[letter] >= first) & (parts[letter] <= last)
    return parts, known


def days_since_1970(year: Any, month: Any, day: Any) -> Any:
    """Count the days from 1970-01-01, as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"."""
    year = year - tf.cast(month <= 2, tf.int64)
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
