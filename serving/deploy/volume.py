"""The served versions in a volume of a cluster: what the pods wait for or fetch, and the script that copies them there.

A new claim is empty, and a cluster does not see ROOT. Either each pod fetches the versions from the object store before
the server starts (`serving.kubernetes.fetch_image`), or a claim holds them: `copy-models.sh` copies them there, and
each pod waits for them.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from benison.serving.deploy.tf_serving import CONFIG_FOLDER, MODELS_FOLDER, Deployment

SCRIPT = "copy-models.sh"
WANTED = "versions"  # the file of the ConfigMap that lists them
FETCH_FOLDER = "/benison/serving"  # ROOT/serving of the container that fetches
USER = 65534  # the user nobody: neither the server nor a copy needs rights

# It reads the list again and again, because a promotion may change it while the pod waits.
_WAIT = f"""trap 'exit 143' TERM
missing() {{
  while read -r version; do
    [ -d "{MODELS_FOLDER}/$version" ] || {{ echo "$version"; return; }}
  done < {CONFIG_FOLDER}/{WANTED}
}}
told=
while version=$(missing); [ -n "$version" ]; do
  [ "$version" = "$told" ] || echo "waiting for {MODELS_FOLDER}/$version; {SCRIPT} copies it there"
  told=$version
  sleep 2
done
"""

_COPY = """# It copies the served versions to the claim {claim}, through a pod that mounts it.
# It does not copy a version that is there.
set -euo pipefail
root={root}
versions=({versions})
pod={pod}
kubectl=(kubectl{namespace})

"${{kubectl[@]}}" apply -f - <<'POD'
{document}POD
trap '"${{kubectl[@]}}" delete pod "$pod"' EXIT
"${{kubectl[@]}}" wait --for=condition=Ready "pod/$pod" --timeout=300s
inside() {{ "${{kubectl[@]}}" exec -i "$pod" -- sh -euc "$@"; }}
for version in "${{versions[@]}}"; do
  hidden="{folder}/${{version%/*}}/.${{version##*/}}"
  if inside '[ -d "$1" ]' sh "{folder}/$version"; then
    echo "$version is there"
    continue
  fi
  # The server loads a folder as soon as its name is a number, so it gets that name when it is complete.
  tar -C "$root/$version" -cf - . | inside 'rm -rf "$1"; mkdir -p "$1"; tar -xf - -C "$1"; sync' sh "$hidden"
  inside 'mv -T "$1" "$2"' sh "$hidden" "{folder}/$version"
  echo "$version is copied"
done
"""


def wanted_file(deployment: Deployment) -> dict[str, str]:
    """Return the list of the versions that the pods wait for, by file name."""
    return {WANTED: "".join(f"{version}\n" for version in deployment.wanted_versions)}


def wait_command() -> list[str]:
    """Return the command of the container that ends when the volume has all the versions."""
    return ["sh", "-c", _WAIT]


def fetch_command(deployment: Deployment) -> list[str]:
    """Return the command of the container that fetches the model's versions, with their members, from the store."""
    folders = (version.split("/") for version in deployment.wanted_versions)
    numbers = [number for name, number in folders if name == deployment.name]
    root = str(Path(FETCH_FOLDER).parent)
    return ["benison", "fetch", deployment.name, *numbers, "--store", str(deployment.settings.place), "--root", root]


def copy_script(deployment: Deployment, claim: str, pod: dict[str, Any]) -> str:
    """Return the text of `copy-models.sh`, without the heading.

    Args:
        deployment: The model; its versions are on this machine.
        claim: The name of the claim.
        pod: The pod that mounts the claim and does nothing.
    """
    from benison.serving.deploy.folder import yaml_text

    namespace = deployment.settings.kubernetes.namespace
    return _COPY.format(
        claim=claim,
        root=shlex.quote(str(Path(deployment.model.base_path).parent)),
        versions=" ".join(map(shlex.quote, deployment.wanted_versions)),
        pod=pod["metadata"]["name"],
        namespace=f" --namespace={namespace}" if namespace else "",
        document=yaml_text(pod),
        folder=MODELS_FOLDER,
    )
