"""Imports by the names of earlier releases are refused before anything runs; a user's own packages are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.code import code_reference
from benison.serving.errors import UsageError


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("from components.transform import dense\n", "components.transform"),
        ("def f():\n    import serving.client\n", "serving.client"),
        ("import pipelines\n", "pipelines"),
    ],
)
def test_an_import_of_a_former_release_names_file_line_and_remedy(tmp_path: Path, text: str, module: str) -> None:
    file = tmp_path / "features.py"
    file.write_text(f"import os\n{text}")
    line = 2 + text.partition("import")[0].count("\n")
    message = rf"features\.py, line {line}: Benison no longer has a module {module}; write `from benison import"
    with pytest.raises(UsageError, match=message):
        code_reference.names_in(file)


@pytest.mark.parametrize("own", ["components/__init__.py", "components/transform.py", "components.py"])
def test_a_users_own_package_of_that_name_is_imported(tmp_path: Path, own: str) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("")
    file = tmp_path / "features.py"
    file.write_text("from components.transform import mine\n")
    assert code_reference.names_in(file) == {"mine"}


def test_a_module_of_a_former_release_is_named_with_its_new_name() -> None:
    message = (
        "no module 'pipelines.*'; Benison's modules are now below `benison`: write benison.pipelines.penguins.features"
    )
    with pytest.raises(UsageError, match=message):
        code_reference.find("pipelines.penguins.features")
