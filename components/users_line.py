"""Finds the user's own file and line in an error, and the part of its message that says what is wrong.

An error in a user's function often arrives wrapped: Keras adds a line of its own, AutoGraph and TensorFlow's graphs
name the place only in the text of the message, and Beam wraps the text once more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from benison.components import modules, user_code

_WRITTEN_PLACE = re.compile(r'File "([^"\n]+\.py)", line (\d+)')
# Lines of a message that say nothing about the fault.
_EMPTY_WORDS = re.compile(
    r"^(Graph execution error|Detected at node .*|<stack traces unavailable>|in user code|File \".*|"
    r"Traceback \(most recent call last\)|Exception encountered when calling .*|Original stack trace .*|=*)[:.]*$"
)
_DEVICE = re.compile(r"^\{\{function_node .*?\}\}\s*")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_HOME = Path(__file__).resolve().parents[1]
_OF_BENISON = tuple(_HOME / folder for folder in ("benison", "components", "pipelines", "serving"))
_AUTOGRAPH = "__autograph_generated_file"


def place_of(error: BaseException) -> str:
    """Return the last line of the user's files that an error went through, such as `models.py, line 12`; '' if none.

    The first cause of the error counts most; in one error, the text of its message, which knows what the frames of a
    graph do not.
    """
    for cause in reversed(list(_chain(error))):
        frames = [(frame.f_code.co_filename, line) for frame, line in _frames(cause) if _is_users(frame)]
        if place := place_in(str(cause)) or (written(*frames[-1]) if frames else ""):
            return place
    return ""


def place_in(traceback: str) -> str:
    """Return the last line of the user's files that a traceback, given as text, names; '' if there is none."""
    places = [(path, int(line)) for path, line in _WRITTEN_PLACE.findall(traceback) if _is_users_file(path)]
    return written(*places[-1]) if places else ""


def fault_of(error: BaseException) -> str:
    """Return the first line of an error's message that says what is wrong; '' if there is none."""
    text = _STYLE.sub("", str(error))
    prefix, _, quoted = text.partition(': "')
    if quoted.startswith("Graph execution error"):  # as TFT repeats it
        text = f"{quoted}\n{prefix}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not _EMPTY_WORDS.match(line)]
    if "in user code:" in lines and telling:  # AutoGraph repeats the source, and ends with the error
        telling = [re.sub(r"^\w+Error: ", "", telling[-1])]
    return _DEVICE.sub("", (telling or lines or [""])[0])


def written(path: str, line: int) -> str:
    """Return a file and a line as text, such as `models.py, line 12`."""
    return f"{short(path)}, line {line}"


def short(path: str) -> str:
    """Return a path relative to the current folder if it is below it; what is no absolute path stays as it is."""
    below = os.path.relpath(path) if os.path.isabs(path) else path
    return path if below.startswith("..") else below


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_users(frame: FrameType) -> bool:
    return user_code.is_users(frame.f_globals) or _is_users_file(frame.f_code.co_filename)


def _is_users_file(path: str) -> bool:
    """Return whether a file is the user's: not of a library, of Benison or of AutoGraph."""
    file = Path(path)
    if file.name.startswith(_AUTOGRAPH) or not file.is_file() or not modules.is_first_party(file):
        return False
    return not any(file.resolve().is_relative_to(folder) for folder in _OF_BENISON)
