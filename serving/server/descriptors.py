"""The file descriptors of the process, which connections and files share."""

from __future__ import annotations


def raise_limit() -> int | None:
    """Raise the limit of open files to the highest that the system allows; return it, or None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS shows a limit that it does not allow
        hard = soft
    return None if hard == resource.RLIM_INFINITY else hard


def connections_within(wanted: int, limit: int | None) -> int:
    """Return how many HTTP connections to accept: at most half of the descriptors; files and gRPC have the rest.

    Args:
        wanted: the number in the settings.
        limit: of open files; None: no limit.
    """
    return wanted if limit is None else max(1, min(wanted, limit // 2))
