"""Find out in a few seconds whether a tracker answers at all."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request

from benison.serving.addresses import without_secrets

_ANSWER_S, _LONGEST_S = 4.0, 4.5  # a request; with the search for its address, which has no limit of its own


def fault(uri: str) -> str:
    """Return why a server does not answer, in one line; '' if it does, or is none on the network."""
    if not uri.startswith(("http://", "https://")):
        return ""
    shown = without_secrets(uri)
    reasons: list[str] = []
    asking = threading.Thread(target=lambda: reasons.append(_ask(shown)), daemon=True)
    asking.start()
    asking.join(_LONGEST_S)
    reason = reasons[0] if reasons else "no answer"
    return f"{shown}: {reason}" if reason else ""


def _ask(uri: str) -> str:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_ANSWER_S):
            return ""
    except urllib.error.HTTPError:  # such as for a server that wants a password: it answers
        return ""
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return "no answer"
        # A certificate that only MLflow's own settings accept is an answer, too.
        return "" if "CERTIFICATE" in str(error.reason) else str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return "no answer" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
