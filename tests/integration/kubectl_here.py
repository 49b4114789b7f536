"""Run the commands of `copy-models.sh` that call kubectl, without a cluster: pods run on this machine (containers.py).

The folder in KUBECTL_HERE holds a folder per claim, in `claims/`, and the pods that exist, in `pods/`. What a container
may do, it may do here too: its user, its read-only root and its mounts are those of the pod.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.integration.containers import Container, Mount


def container(
    pod: dict[str, Any], words: dict[str, Any], claims: Path, scratch: Path, configs: Path | None
) -> Container:
    """Return a container of a pod.

    Args:
        pod: the spec of the pod.
        words: the container in it.
        claims: the folder of the claims.
        scratch: a folder for the root, and for the pod's own volumes.
        configs: the files of the ConfigMap.
    """
    sources = {}
    for volume in pod["volumes"]:
        claim = volume.get("persistentVolumeClaim")
        if claim is not None:
            sources[volume["name"]] = (claims / claim["claimName"], claim.get("readOnly", False))
        elif "configMap" in volume:
            assert configs is not None
            sources[volume["name"]] = (configs, True)
        else:
            sources[volume["name"]] = (scratch / "volumes" / volume["name"], False)
            sources[volume["name"]][0].mkdir(parents=True, exist_ok=True)
            sources[volume["name"]][0].chmod(0o777)
    mounts = []
    for mount in words["volumeMounts"]:
        source, read_only = sources[mount["name"]]
        assert source.is_dir(), f"no {source}: the pod would wait for ever"
        mounts.append(Mount(source, mount["mountPath"], read_only or mount.get("readOnly", False)))
    context = pod["securityContext"]
    assert context["runAsNonRoot"]
    assert words["securityContext"]["readOnlyRootFilesystem"]
    variables = {entry["name"]: entry["value"] for entry in words.get("env", [])}
    return Container(scratch / words["name"], f"{context['runAsUser']}:{context['runAsGroup']}", mounts, variables)


def main(words: Sequence[str]) -> int:
    """Run one command."""
    folder = Path(os.environ["KUBECTL_HERE"])
    words = [word for word in words if not word.startswith("--")]
    if words[:2] == ["apply", "-f"]:
        pod = yaml.safe_load(sys.stdin)
        (folder / "pods").mkdir(exist_ok=True)
        (folder / "pods" / pod["metadata"]["name"]).write_text(yaml.safe_dump(pod))
        return 0
    if words[0] == "wait":
        return 0 if (folder / "pods" / words[1].partition("/")[2]).exists() else 1
    if words[:2] == ["delete", "pod"]:
        (folder / "pods" / words[2]).unlink()
        return 0
    assert words[0] == "exec", words
    _, _, name, *command = words
    pod = yaml.safe_load((folder / "pods" / name).read_text())["spec"]
    (only,) = pod["containers"]
    full = container(pod, only, folder / "claims", folder / "scratch", None).command(command)
    os.execvp(full[0], full)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
