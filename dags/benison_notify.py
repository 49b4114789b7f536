"""Whom to tell of invalid data, a failure, or a model that was not blessed. A message that fails only warns.

BENISON_NOTIFY (separated by spaces) and a manifest's `notify` name the receivers:

    https://example.org/hook       a webhook: gets JSON by POST
    mailto:ml@example.org          e-mail, by Airflow's connection smtp_default
    slack:#models                  Slack, by Airflow's connection slack_api_default and its provider
    $NAME                          what this environment variable holds: for addresses that are secrets
"""

from __future__ import annotations

import html
import json
import logging
import os
import urllib.request
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseNotifier

_TIMEOUT = 10.0  # seconds that a webhook has
_log = logging.getLogger(__name__)


class BenisonNotifier(BaseNotifier):
    """Airflow's callback for a task that has failed for good.

    Args:
        receivers: those of the manifest; BENISON_NOTIFY's are told as well.
    """

    def __init__(self, receivers: Sequence[str] = ()) -> None:
        super().__init__()
        self.receivers = list(receivers)

    def notify(self, context: Any) -> None:
        """Tells of the failure in the context."""
        error = context.get("exception")
        event = "invalid" if type(error).__name__ == "InvalidData" else "failed"
        reason = str(error or "").removeprefix(f"{context['ti'].task_id}: ")  # the message names the task by itself
        send_notifications(self.receivers, event, reason, context)


def send_notifications(receivers: Sequence[str], event: str, reason: str, context: Any) -> None:
    """Tells every receiver.

    Args:
        receivers: see the module; BENISON_NOTIFY's are told as well.
        event: invalid, failed or not_blessed.
        reason: in words.
        context: Airflow's, of the task.
    """
    task = context["ti"]
    message = {
        "event": event,
        "pipeline": task.dag_id,
        "run": task.run_id,
        "task": task.task_id,
        "reason": reason,
        "log": str(getattr(task, "log_url", "") or ""),
    }
    for given in dict.fromkeys([*receivers, *os.environ.get("BENISON_NOTIFY", "").split()]):
        receiver = os.environ.get(given[1:], "") if given.startswith("$") else given
        try:
            _send(receiver, message, context)
        except Exception as error:  # whatever goes wrong with a message, the task's own outcome counts
            _log.warning("%s was not told (%s: %s)", _shown(given), type(error).__name__, error)


def _send(receiver: str, message: dict[str, str], context: Any) -> None:
    text = f"{message['pipeline']}, {message['task']}: {message['event'].replace('_', ' ')}: {message['reason']}"
    kind, _, address = receiver.partition(":")
    if kind in ("http", "https"):
        body = json.dumps(message).encode()
        request = urllib.request.Request(receiver, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=_TIMEOUT):
            return
    if kind == "mailto":
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        content = html.escape(f"{text} {message['log']}")
        SmtpNotifier(to=address, subject=_literal(text[:200]), html_content=_literal(content))(context)
    elif kind == "slack":
        from airflow.providers.slack.notifications.slack import SlackNotifier

        SlackNotifier(channel=address, text=_literal(f"{text}\n{message['log']}"))(context)
    else:
        raise ValueError("expected https://…, mailto:…, slack:#… or $NAME; see benison_notify")


def _shown(receiver: str) -> str:
    """A receiver in a log: a webhook's path is often its password."""
    kind, _, address = receiver.partition("://")
    return f"{kind}://{address.partition('/')[0]}/…" if address else receiver


def _literal(text: str) -> str:
    """A text as Jinja's template of itself: Airflow's notifiers take theirs for templates."""
    return "{% raw %}" + text.replace("{%", "{ %") + "{% endraw %}"
