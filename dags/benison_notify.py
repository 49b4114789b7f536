"""Notifications about invalid data, a failure, or a model that was not blessed.

A notification that cannot be sent only logs a warning. BENISON_NOTIFY (separated by spaces) and a manifest's `notify`
name the receivers:

    https://example.org/hook       a webhook, which gets JSON by POST
    mailto:ml@example.org          e-mail, by Airflow's connection smtp_default
    slack:#models                  Slack, by Airflow's connection slack_api_default and its provider
    $NAME                          the value of this environment variable, for addresses that are secrets
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

_TIMEOUT = 10.0  # seconds for a webhook's answer
_log = logging.getLogger(__name__)


class BenisonNotifier(BaseNotifier):
    """Airflow's callback for a task that has failed and is not retried.

    Args:
        receivers: the manifest's receivers; those of BENISON_NOTIFY are added.
    """

    def __init__(self, receivers: Sequence[str] = ()) -> None:
        super().__init__()
        self.receivers = list(receivers)

    def notify(self, context: Any) -> None:
        """Notify the receivers of the failure in the context."""
        error = context.get("exception")
        if type(error).__name__ == "RunFailed":  # the failed task has been reported
            return
        event = "invalid" if type(error).__name__ == "InvalidData" else "failed"
        reason = str(error or "").removeprefix(f"{context['ti'].task_id}: ")  # the notification names the task itself
        send_notifications(self.receivers, event, reason, context)


def send_notifications(receivers: Sequence[str], event: str, reason: str, context: Any) -> None:
    """Notify every receiver.

    Args:
        receivers: see the module; those of BENISON_NOTIFY are added.
        event: invalid, failed or not_blessed.
        reason: the reason as text.
        context: Airflow's context of the task.
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
    for entry in dict.fromkeys([*receivers, *os.environ.get("BENISON_NOTIFY", "").split()]):
        receiver = os.environ.get(entry[1:], "") if entry.startswith("$") else entry
        try:
            _send(receiver, message, context)
        except Exception as error:  # a notification that fails must not change the task's own outcome
            _log.warning("%s was not notified (%s: %s)", _without_secrets(entry), type(error).__name__, error)


def _send(receiver: str, message: dict[str, str], context: Any) -> None:
    text = f"{message['pipeline']}, {message['task']}: {message['event'].replace('_', ' ')}: {message['reason']}"
    scheme, _, address = receiver.partition(":")
    if scheme in ("http", "https"):
        body = json.dumps(message).encode()
        request = urllib.request.Request(receiver, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=_TIMEOUT):
            return
    if scheme == "mailto":
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        content = html.escape(f"{text} {message['log']}")
        SmtpNotifier(to=address, subject=_literal(text[:200]), html_content=_literal(content))(context)
    elif scheme == "slack":
        from airflow.providers.slack.notifications.slack import SlackNotifier

        SlackNotifier(channel=address, text=_literal(f"{text}\n{message['log']}"))(context)
    else:
        raise ValueError("expected https://…, mailto:…, slack:#… or $NAME; see benison_notify")


def _without_secrets(receiver: str) -> str:
    """Return a receiver for the log, without a webhook's path, which is often its password."""
    scheme, _, address = receiver.partition("://")
    return f"{scheme}://{address.partition('/')[0]}/…" if address else receiver


def _literal(text: str) -> str:
    """Escape a text for Jinja, because Airflow's notifiers render theirs as templates."""
    return "{% raw %}" + text.replace("{%", "{ %") + "{% endraw %}"
