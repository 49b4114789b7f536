"""The interval of a regression's answers, a part of a version's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benison.serving.versions.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AnswerInterval(Record):
    """An interval around each answer that holds a given share of the labels.

    Attributes:
        level: The share, between 0 and 1.
        half_width: Half of its width, in the unit of the label; with `scale_width`, that of the middle row.
        rows: The number of rows that it comes from.
        source: These rows: `of blend`, or `out of fold`.
        scale_width: The w of asinh(y / w), on which the interval is symmetric; None: it is symmetric as it is.
        scaled_half_width: Half of its width on that scale.
        coverage: The share of the labels of `test` that it holds; None if it was not measured.
        low: Lower end of the 95 % interval of that share.
        high: Upper end of it.
        caveat: Why the share is not guaranteed; '' if it is.
    """

    level: float
    half_width: float
    rows: int
    source: str = "of blend"
    scale_width: float | None = None
    scaled_half_width: float | None = None
    coverage: float | None = None
    low: float | None = None
    high: float | None = None
    caveat: str = ""

    @property
    def text(self) -> str:
        """The interval and its coverage, in one sentence."""
        growing = "" if self.scale_width is None else " in the middle row, growing with the answer"
        text = f"{self.level:.0%} interval of an answer: ± {self.half_width:.4g}{growing}, from {self.rows} rows"
        text = f"{text} {self.source}"
        if self.coverage is not None and self.low is not None and self.high is not None:
            text += f"; it holds {self.coverage:.1%} of the labels of test ({self.low:.1%} to {self.high:.1%})"
        return f"{text}; {self.caveat}" if self.caveat else text

    def scaled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return numbers on the scale of the interval."""
        import numpy as np

        return values if self.scale_width is None else np.asarray(np.arcsinh(values / self.scale_width))

    def bounds(self, answers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lower and the upper end for each answer [rows], in the unit of the label."""
        import numpy as np

        if self.scale_width is None or self.scaled_half_width is None:
            return answers - self.half_width, answers + self.half_width
        middle, half, width = self.scaled(answers), self.scaled_half_width, self.scale_width
        return np.asarray(width * np.sinh(middle - half)), np.asarray(width * np.sinh(middle + half))
