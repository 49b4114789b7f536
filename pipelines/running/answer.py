"""How the processes that a scheduler starts answer: one JSON line, the last on stdout, and an exit code.

    0  complete, cached, skipped or not blessed
    1  failed: another attempt may succeed
    2  wrong usage or a wrong value: another attempt is vain
    4  invalid data: another attempt is vain

Everything else that they print goes to stderr, as it comes.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from benison.pipelines.running import termination
from benison.pipelines.running.node_result import Result, broken
from benison.serving.errors import BenisonError, UsageError


def answer(work: Callable[[], tuple[Result, Mapping[str, Any]]]) -> NoReturn:
    """Does the work, answers and ends the process.

    Args:
        work: gives a result, and what the answer holds besides.
    """
    # What a node or its C++ prints, now or at exit, must not come between the result and the end of stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    termination.listen()
    more: Mapping[str, Any] = {}
    told_to_end = False
    try:
        result, more = work()
        code = result.exit_code
    except termination.Ended as end:
        end.end_children()
        result, code, told_to_end = broken(end), 1, True
    except Exception as error:
        if not isinstance(error, BenisonError):
            traceback.print_exc()
        result = broken(error)
        code = UsageError.exit_code if isinstance(error, UsageError) else result.exit_code
    if code:
        print(result.reason, file=sys.stderr)
    print(json.dumps({**result.to_json(), **more}), file=answers, flush=True)
    if told_to_end or termination.told():
        # Threads of Beam or TensorFlow that are in the middle of something must not hold up the end.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
