"""The output of the processes that a scheduler starts: one JSON line, the last one on stdout, and an exit code.

    0  complete, cached, skipped, not blessed or not pushed
    1  failed: a retry may succeed
    2  wrong usage or a wrong value: do not retry
    4  invalid data: do not retry

All other output goes to stderr as it is printed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from benison.pipelines.running import termination
from benison.pipelines.running.node_result import Result, failed_result
from benison.pipelines.visible_streams import show_control_characters
from benison.serving.errors import BenisonError, UsageError


def answer_and_exit(work: Callable[[], tuple[Result, Mapping[str, Any]]]) -> NoReturn:
    """Call `work`, print its answer and end the process.

    Args:
        work: returns a result, and further fields of the answer.
    """
    # The output of a node or of C++ code, now or at exit, must not follow the result on stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    show_control_characters()
    termination.install_handlers()
    more: Mapping[str, Any] = {}
    terminated = False
    try:
        result, more = work()
        code = result.exit_code
    except termination.Terminated as end:
        end.end_children()
        result, code, terminated = failed_result(end), 1, True
    except Exception as error:
        if not isinstance(error, BenisonError):
            traceback.print_exc()
        result = failed_result(error)
        code = UsageError.exit_code if isinstance(error, UsageError) else result.exit_code
    if code:
        print(result.reason, file=sys.stderr)
    print(json.dumps({**result.to_json(), **more}), file=answers, flush=True)
    if terminated or termination.was_signalled():
        # Busy threads of Beam or TensorFlow must not delay the exit.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
