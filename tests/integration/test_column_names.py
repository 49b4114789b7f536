"""A real server takes columns by their own names, which TensorFlow does not take for inputs of a signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.model_server import running
from tests.system.penguins_model import push

PLAIN = {"island": "Dream", "bill_length__mm_": 47.5, "body_mass_g": 4000, "sex": "male"}
OWN = {"bill length (mm)" if name == "bill_length__mm_" else name: value for name, value in PLAIN.items()}


def columns(row: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [value] for name, value in row.items()}


def test_rest_takes_columns_by_their_own_names(tmp_path: Path) -> None:
    push(tmp_path / "made", tmp_path / "penguins")
    with running(tmp_path, "--model_name=penguins", f"--model_base_path={tmp_path / 'penguins'}") as server:

        def ask(**asked: Any) -> tuple[int, Any]:
            return server.post("penguins:predict", {"signature_name": "raw", **asked})

        code, by_row = ask(instances=[PLAIN])
        assert code == 200
        assert ask(instances=[OWN]) == (200, by_row)
        assert ask(instances=[PLAIN, OWN]) == (200, {"predictions": by_row["predictions"] * 2})
        assert ask(inputs=columns(OWN)) == ask(inputs=columns(PLAIN))
        # What no column is called is refused in TF Serving's words.
        code, refused = ask(instances=[{**PLAIN, "beak": 1}])
        assert code == 400
        assert "does not have named input: beak" in refused["error"]
