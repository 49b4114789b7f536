"""Cache keys contain everything that a node uses, and as little else as parsing can tell."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import pytest

from benison.pipelines.code import fingerprint, packages
from benison.serving.errors import DataError, UsageError

MAIN = '''
"""The user's file."""
import functools
import tensorflow as tf
from tensorflow import keras

RATE = 0.1
UNITS, DEPTH = 8, 2
UNUSED = 1
LAYERS = {}


class Base:
    """The base."""

    def build(self):
        return 1


class Member(Base):
    scale = 3

    def call(self, x):
        return x * self.scale


def helper(x):
    # doubles
    return x * 2


def deco(f):
    return f


def lonely(x):
    return x - 1


def inner_used(x):
    return x + 7


def size(n=DEPTH):
    return n


@deco
def run(x, rate=RATE):
    """Runs."""
    def nested(y):
        return [inner_used(z) for z in (lambda q: size(q))(y)]
    return helper(nested(x)), Member(), rate
'''


def key(folder: Path, files: dict[str, str] | None = None, name: str = "run") -> str:
    """Write `files`, then hash `name` in pkg/main.py, or in main.py if there is no package."""
    for label, text in (files or {}).items():
        path = folder / label
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    inner = folder / "pkg" / "main.py"
    return fingerprint.code(inner if inner.exists() else folder / "main.py", name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# doubles", "# twice"),
        ('"""Runs."""', '"""Runs it,\n    at length."""'),
        ('"""Runs."""\n    def', "def"),
        ('"""The base."""', '"""Another."""'),
        ('"""The user\'s file."""', ""),
        ("\n\n\ndef helper", "\ndef helper"),
        ("return x - 1", "return x - 2"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("import functools\n", ""),
        ("def helper(x):\n    # doubles\n    return x * 2\n\n\ndef deco(f):\n    return f\n",
         "def deco(f):\n    return f\n\n\ndef helper(x):\n    # doubles\n    return x * 2\n"),
        ("    return x - 1\n", "    return x - 1\n\n\nif __name__ == '__main__':\n    print(run(1))\n"),
    ],
)  # fmt: skip
def test_what_run_does_not_use_leaves_its_hash(tmp_path, old, new):
    assert old in MAIN
    assert key(tmp_path, {"main.py": MAIN}) == key(tmp_path, {"main.py": MAIN.replace(old, new)})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return helper(nested(x))", "return helper(nested(x + 1))"),
        ("return x * 2", "return x * 3"),
        ("RATE = 0.1", "RATE = 0.2"),
        ("rate=RATE", "rate=0.1"),
        ("UNITS, DEPTH = 8, 2", "UNITS, DEPTH = 8, 3"),
        ("return f\n", "return lambda *a: f(*a)\n"),
        ("@deco\n", ""),
        ("return 1\n", "return 2\n"),
        ("return x * self.scale", "return x + self.scale"),
        ("scale = 3", "scale = 4"),
        ("x + 7", "x + 8"),
        ("return n\n", "return n + 1\n"),
        ("UNUSED = 1", "RATE += 1"),
        ("UNUSED = 1", "keras.utils.set_random_seed(1)"),
        ("UNUSED = 1", "tf.config.x = 1"),
        ("UNUSED = 1", "LAYERS['a'] = 1"),
        ("UNUSED = 1", "del UNITS"),
        ("UNUSED = 1", "from tensorflow.keras.layers import *"),
        ("UNUSED = 1", "if tf:\n    RATE = 5"),
        ("UNUSED = 1", "try:\n    helper = tf.helper\nexcept AttributeError:\n    pass"),
        ("UNUSED = 1", "with tf.device('cpu') as RATE:\n    pass"),
        ("UNUSED = 1", "for RATE in range(3):\n    pass"),
        ("UNUSED = 1", "def set_rate():\n    global RATE\n    RATE = 3"),
    ],
)
def test_what_run_uses_changes_its_hash(tmp_path, old, new):
    assert old in MAIN
    assert key(tmp_path, {"main.py": MAIN}) != key(tmp_path, {"main.py": MAIN.replace(old, new, 1)})


@pytest.mark.parametrize(
    "body",
    [
        "def run(x: 'Config'): return x",
        "def run(x) -> 'list[Config]': return x",
        "def run(x): y: Config = x; return y",
        "async def run(x): return await Config",
        "run = lambda x: Config",
        "run = Config",
        "def run(x):\n match x:\n  case Config(): return 1",
        "def run(x): return f'{Config}'",
        "def run(x, *, kind=Config): return kind",
        "def run(x): return globals()['Con' + 'fig']",
        "def run(x): return eval('Con' + 'fig')",
        "def run(x): return vars()['Con' + 'fig']",
        "def run(x):\n import sys\n return getattr(sys.modules[__name__], 'Con' + 'fig')",
        "def run(x): return functools.reduce(eval, x)",
        "from importlib import import_module as load\ndef run(x): return load(x)",
    ],
)
def test_every_way_to_reach_a_class_counts_it(tmp_path, body):
    text = "import functools\n" + body + "\nclass Config:\n    a = {}\n"
    assert key(tmp_path, {"main.py": text.replace("{}", "1")}) != key(tmp_path, {"main.py": text.replace("{}", "2")})


LAYERS = """
from .sizes import WIDTH
UNUSED = 3
def block(x): return part(x) + WIDTH
def part(x): return x
def other(): pass
"""
USES_OF_LAYERS = [
    "from .layers import block\ndef run(x): return block(x)",
    "from .layers import block as b\ndef run(x): return b(x)",
    "from pkg.layers import block as b\ndef run(x): return b(x)",
    "from . import layers\ndef run(x): return layers.block(x)",
    "from pkg import layers as l\ndef run(x): return l.block(x)",
    "import pkg.layers\ndef run(x): return pkg.layers.block(x)",
    "import pkg.layers as l\ndef run(x): return getattr(l, 'block')(x)",
    "def run(x):\n from .layers import block\n return block(x)",
    "def run(x):\n import pkg.layers as l\n return l.block(x)",
    "import layers\ndef run(x): return layers.block(x)",
    "try:\n from fast import block\nexcept ImportError:\n from .layers import block\ndef run(x): return block(x)",
    "try:\n import layers\nexcept ImportError:\n layers = None\ndef run(x): return layers.block(x)",
    "from .again import block\ndef run(x): return block(x)",
    "import pkg.again\ndef run(x): return pkg.again.layers.block(x)",
]
PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/again.py": "from . import layers\nfrom .layers import block\n",
    "pkg/sizes.py": "WIDTH = 4\nHEIGHT = 5\n",
    "pkg/layers.py": LAYERS,
}


@pytest.mark.parametrize("text", USES_OF_LAYERS)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pkg/layers.py", "part(x) + WIDTH", "part(x) - WIDTH"),
        ("pkg/layers.py", "part(x): return x", "part(x): return -x"),
        ("pkg/layers.py", "UNUSED = 3", "print('imported')"),
        ("pkg/sizes.py", "WIDTH = 4", "WIDTH = 6"),
        ("pkg/__init__.py", "", "import os"),
    ],
)
def test_used_code_of_another_file_counts(tmp_path, text, file, old, new):
    before = key(tmp_path, {"pkg/main.py": text, **PACKAGE})
    assert before != key(tmp_path, {file: PACKAGE[file].replace(old, new)})


@pytest.mark.parametrize("text", USES_OF_LAYERS)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pkg/layers.py", "other(): pass", "other(): return 1"),
        ("pkg/layers.py", "UNUSED = 3", "UNUSED = 4"),
        ("pkg/sizes.py", "HEIGHT = 5", "HEIGHT = 6"),
    ],
)
def test_unused_code_of_another_file_does_not_count(tmp_path, text, file, old, new):
    before = key(tmp_path, {"pkg/main.py": text, **PACKAGE})
    assert before == key(tmp_path, {file: PACKAGE[file].replace(old, new)})


@pytest.mark.parametrize(
    "text",
    [
        "from .layers import *\ndef run(x): return block(x)",
        "from . import layers\ndef run(x): return getattr(layers, x)",
        "from . import layers\ndef run(x): return vars(layers)",
        "from . import layers\ndef run(x): return x(layers)",
        "from . import layers\ndef run(x): return layers.__dict__[x]",
        "from . import layers\nhandle = layers\ndef run(x): return getattr(handle, x)",
        "import pkg.layers\ndef run(x): return getattr(pkg.layers, x)",
        "import pkg.layers\ndef run(x): return x(pkg)",
        "from . import layers\ndef run(x): return eval(x)",
        "from .layers import made_elsewhere\ndef run(x): return made_elsewhere(x)",
        "import importlib\ndef run(x): return importlib.import_module('pkg.layers')",
        "import importlib\ndef run(x): return importlib.import_module('.layers', __package__)",
    ],
)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pkg/layers.py", "other(): pass", "other(): return 1"),
        ("pkg/layers.py", "UNUSED = 3", "UNUSED = 4"),
        ("pkg/sizes.py", "WIDTH = 4", "WIDTH = 6"),
    ],
)
def test_the_whole_file_counts_where_parsing_cannot_tell(tmp_path, text, file, old, new):
    before = key(tmp_path, {"pkg/main.py": text, **PACKAGE})
    assert before != key(tmp_path, {file: PACKAGE[file].replace(old, new)})


@pytest.mark.parametrize(
    "registry",
    [
        "MEMBERS = {}\ndef member(f):\n MEMBERS[f.__name__] = f\n return f\n",
        "MEMBERS = []\ndef member(f):\n MEMBERS.append(f)\n return f\n",
        "MEMBERS = []\ndef member(f):\n def note(to): to.append(f)\n note(MEMBERS)\n return f\n",
        "LAST = None\ndef member(f):\n global LAST\n LAST = f\n return f\n",
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        "from .registry import member\n@member\ndef deep(): return {}\n",
        "from . import registry\n@registry.member\ndef deep(): return {}\n",
        "from .registry import member\ndef deep(): return {}\nmade = member(deep)\n",
    ],
)
def test_a_member_that_registers_itself_counts_for_who_reads_the_registry(tmp_path, registry, use):
    main = "from . import members, registry\ndef run(x): return registry.MEMBERS\n"
    files = {"pkg/__init__.py": "", "pkg/main.py": main, "pkg/registry.py": registry}
    before = key(tmp_path, {**files, "pkg/members.py": use.replace("{}", "1")})
    assert before != key(tmp_path, {"pkg/members.py": use.replace("{}", "2")})


@pytest.mark.parametrize(
    "use",
    [
        "class Registry:\n def add(self, f): self.all = f\nR = Registry()\n@R.add\ndef deep(): return {}\n",
        "class Base:\n all = []\n def __init_subclass__(cls): Base.all.append(cls)\nclass Deep(Base):\n size = {}\n",
        "class Meta(type):\n pass\nclass Base(metaclass=Meta): pass\nclass Deep(Base):\n size = {}\n",
    ],
)
def test_classes_that_act_on_definitions_make_these_count(tmp_path, use):
    text = use + "def run(x): return x"
    assert key(tmp_path, {"main.py": text.replace("{}", "1")}) != key(tmp_path, {"main.py": text.replace("{}", "2")})


def test_a_decorator_that_only_marks_its_function_does_not_tie_functions_together(tmp_path):
    text = "def metric(f):\n f.metric = 1\n return f\n@metric\ndef wide(): return {}\n@metric\ndef run(): return 1\n"
    assert key(tmp_path, {"main.py": text.replace("{}", "1")}) == key(tmp_path, {"main.py": text.replace("{}", "2")})


def test_the_order_of_two_values_of_one_name_counts(tmp_path):
    tail = "def run(): return X"
    assert key(tmp_path, {"main.py": "X = 1\nX = 2\n" + tail}) != key(tmp_path, {"main.py": "X = 2\nX = 1\n" + tail})


def test_recursion_and_import_cycles_end(tmp_path):
    main = "from .other import pong\nfrom . import other\ndef run(n): return pong(n) or run(n) or other\n"
    other = "from . import main\nfrom .main import run\nfrom .other import pong as p\ndef pong(n): return run(n + {})\n"
    files = {"pkg/__init__.py": "from .main import run", "pkg/main.py": main}
    before = key(tmp_path, {**files, "pkg/other.py": other.replace("{}", "1")})
    assert before != key(tmp_path, {"pkg/other.py": other.replace("{}", "2")})


def test_a_name_that_two_files_pass_to_each_other_ends(tmp_path):
    assert key(tmp_path, {"main.py": "from other import run", "other.py": "from main import run"})


def test_a_long_chain_of_calls_does_not_exhaust_the_stack(tmp_path):
    chain = "".join(f"def f{i}(): return f{i + 1}()\n" for i in range(3000)) + "def f3000(): return 1\n"
    assert key(tmp_path, {"main.py": chain + "def run(): return f0()"})


def test_a_package_init_on_the_way_counts_but_what_it_merely_re_exports_does_not(tmp_path):
    files = {**PACKAGE, "pkg/__init__.py": "from .layers import other\n"}
    before = key(tmp_path, {"pkg/main.py": "from .sizes import WIDTH\ndef run(): return WIDTH", **files})
    assert before == key(tmp_path, {"pkg/layers.py": LAYERS.replace("other(): pass", "other(): return 1")})


def test_a_namespace_package_is_followed(tmp_path):
    main = "import space.inner\ndef run(): return space.inner.a"
    before = key(tmp_path, {"main.py": main, "space/inner.py": "a = 1\nb = 1"})
    assert before == key(tmp_path, {"space/inner.py": "a = 1\nb = 2"})
    assert before != key(tmp_path, {"space/inner.py": "a = 2\nb = 2"})


def test_a_module_on_sys_path_is_followed_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    main = "from faraway import f\ndef run(): return f()"
    before = key(tmp_path, {"main.py": main, "lib/faraway.py": "raise SystemExit\ndef f(): return 1"})
    assert before != key(tmp_path, {"lib/faraway.py": "raise SystemExit\ndef f(): return 2"})
    assert "faraway" not in sys.modules


def test_installed_packages_count_by_name_only(tmp_path, monkeypatch):
    site = tmp_path / "lib" / "site-packages"
    monkeypatch.syspath_prepend(str(site))
    main = "from farther import f\ndef run(): return f()"
    site.mkdir(parents=True)
    (site / "farther.py").write_text("def f(): return 1")
    before = key(tmp_path, {"main.py": main})
    (site / "farther.py").write_text("def f(): return 2")
    assert before == key(tmp_path)
    assert before != key(tmp_path, {"main.py": main.replace("import f", "import g as f")})


@pytest.mark.parametrize(
    ("upgraded", "counts"), [("cool-layers", True), ("cool-helpers", True), ("cool-others", False)]
)
def test_an_upgrade_of_a_package_counts_where_the_users_files_import_it(tmp_path, monkeypatch, upgraded, counts):
    site = tmp_path / "lib" / "site-packages"

    def install(name: str, version: str) -> None:
        module = name.replace("-", "_")
        (site / module).mkdir(parents=True, exist_ok=True)
        (site / module / "__init__.py").write_text("import cool_others")  # what packages import does not count
        info = site / f"{module}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(module)

    def hashed() -> str:
        for cached in (packages.distributions, packages._version):  # as in a new process
            cached.cache_clear()
        return key(tmp_path, {"main.py": "import helper\ndef run(): from cool_layers import f", "helper.py": helper})

    helper = "try: import cool_helpers.inner\nexcept ImportError: pass"
    monkeypatch.syspath_prepend(str(site))
    for name in ("cool-layers", "cool-helpers", "cool-others"):
        install(name, "1.0")
    before = hashed()
    assert hashed() == before
    install(upgraded, "1.1")
    assert (hashed() != before) == counts


def test_the_same_code_in_another_folder_has_the_same_hash(tmp_path):
    keys = {key(tmp_path / name, {"pkg/main.py": USES_OF_LAYERS[0], **PACKAGE}) for name in ("here", "there")}
    assert len(keys) == 1


def test_a_syntax_error_names_file_and_line(tmp_path):
    with pytest.raises(UsageError, match=r"broken\.py:2: not valid Python"):
        key(tmp_path, {"main.py": "from broken import f\ndef run(): return f()", "broken.py": "x = 1\ndef f(:\n"})


def test_an_expression_too_deep_to_follow_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"main\.py: it holds an expression that is nested too deeply"):
        key(tmp_path, {"main.py": "def run(x): return " + "+".join("x" * 3000)})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"main\.py: cannot read"):
        key(tmp_path)


@pytest.mark.parametrize(("asked", "hint"), [("rum", "did you mean 'run'"), ("zzz", "it has helper, run")])
def test_a_missing_name_is_named_with_what_there_is(tmp_path, asked, hint):
    with pytest.raises(UsageError, match=rf"main\.py:1: .* does not define '{asked}' at its top level; {hint}"):
        key(tmp_path, {"main.py": "def run(): pass\ndef helper(): pass\n"}, asked)


def test_a_name_that_comes_through_a_star_import_is_found(tmp_path):
    files = {"main.py": "from other import *", "other.py": "def run(): return 1"}
    assert key(tmp_path, files) != key(tmp_path, {"other.py": "def run(): return 2"})


# ----------------------------------------------------------------------------------------------- names loaded lazily

ROOT = Path(__file__).parents[4]
USES_OF_DENSE = (
    "from benison import dense\ndef run(x): return dense(x, 0)",
    "import benison\ndef run(x): return benison.dense(x, 0)",
    "def run(x):\n from benison import dense as fill\n return fill(x, 0)",
    "from benison.components.raw_columns import dense\ndef run(x): return dense(x, 0)",
)


@pytest.fixture(scope="module")
def benison_copy(tmp_path_factory) -> Path:
    """A folder with a copy of the real package `benison`, as a clone has it."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "benison", folder / "benison", ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    return folder


@pytest.fixture
def edited(benison_copy, monkeypatch):
    """Call it with a file, a text in it and another one; the file is restored after the test."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "benison"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(benison_copy))
    before: dict[Path, str] = {}

    def edit(file: str, old: str, new: str) -> None:
        path = benison_copy / "benison" / file
        text = path.read_text()
        before.setdefault(path, text)
        assert old in text
        path.write_text(text.replace(old, new, 1))

    yield edit
    for path, text in before.items():
        path.write_text(text)


@pytest.mark.parametrize("use", USES_OF_DENSE)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("components/raw_columns.py", "tf.reshape(values, [-1, 1])", "tf.reshape(values, [-1, 1]) + 0"),
        ("components/raw_columns.py", "default: float | str", "default: float | int"),
        ("components/raw_columns.py", "_LIST =", "print('imported')\n_LIST ="),
        ("components/__init__.py", 'if __name__ == "components":', "if True:"),
    ],
)
def test_a_function_of_the_front_door_counts_with_the_code_that_it_uses(benison_copy, edited, use, file, old, new):
    before = key(benison_copy, {"main.py": use})
    edited(file, old, new)
    assert before != key(benison_copy)


UNRELATED_EDITS = [
    ("components/raw_columns.py", "benison_column_", "benison_col_"),
    ("components/evaluate/metrics.py", "import ", "print('imported')\nimport "),
    ("pipelines/graph.py", "import hashlib", "print('imported')\nimport hashlib"),
    ("pipelines/runner.py", "import ", "print('imported')\nimport "),
    ("serving/client/rest_client.py", "import ", "print('imported')\nimport "),
    ("serving/versions/local.py", "import ", "print('imported')\nimport "),
    ("__init__.py", '"build": "pipelines.graph"', '"build": "pipelines.other"'),
]


@pytest.mark.parametrize("use", USES_OF_DENSE)
def test_a_function_of_the_front_door_counts_without_the_rest_of_the_package(benison_copy, edited, use):
    before = key(benison_copy, {"main.py": use})
    for file, old, new in UNRELATED_EDITS:
        edited(file, old, new)
    assert before == key(benison_copy)


@pytest.mark.parametrize(
    ("old", "new"),
    [("import build", "import build, other"), ('    "build",\n', '    "build",\n    "other",\n')],
)
def test_another_name_at_the_front_door_does_not_count(benison_copy, edited, old, new):
    before = key(benison_copy, {"main.py": USES_OF_DENSE[0]})
    edited("__init__.py", old, new)
    assert before == key(benison_copy)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"dense": "components.raw_columns"', '"dense": "components.user_code"'),
        (
            "from benison.components.raw_columns import dense, dense_columns",
            "from benison.components.user_code import load as dense",
        ),
        ("        globals()[name] = value\n", ""),
    ],
)
def test_the_way_to_a_lazily_loaded_name_counts(benison_copy, edited, old, new):
    before = key(benison_copy, {"main.py": USES_OF_DENSE[0]})
    edited("__init__.py", old, new)
    assert before != key(benison_copy)


def test_an_executor_does_not_count_what_the_front_door_offers(benison_copy, edited):
    file = benison_copy / "benison" / "components" / "raw_columns.py"
    before = fingerprint.code(file, "dense")
    for edit in UNRELATED_EDITS:
        edited(*edit)
    assert before == fingerprint.code(file, "dense")


LAZY_PACKAGES = {
    "declared": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from .layers import block\n{loader}",
    "declared by another name": "import typing as t\nif t.TYPE_CHECKING:\n from .layers import block\n{loader}",
    "undeclared": "{loader}",
    "a dynamic table": "NAMES = dict(block='layers', other='layers')\n{loader}",
}
LOADER = """
def __getattr__(name):
    from importlib import import_module
    return wrapped(getattr(import_module("pkg.layers"), name))
def wrapped(f): return f
"""


@pytest.mark.parametrize("package", LAZY_PACKAGES)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pkg/layers.py", "part(x) + WIDTH", "part(x) - WIDTH"),
        ("pkg/__init__.py", "wrapped(f): return f", "wrapped(f): return 1"),
        ("pkg/__init__.py", "wrapped(getattr", "(getattr"),
    ],
)
def test_a_users_package_that_loads_its_names_lazily_is_followed(tmp_path, package, file, old, new):
    init = LAZY_PACKAGES[package].replace("{loader}", LOADER)
    files = {**PACKAGE, "pkg/__init__.py": init, "pkg/main.py": "from pkg import block\ndef run(x): return block(x)"}
    before = key(tmp_path, files)
    assert before != key(tmp_path, {file: files[file].replace(old, new)})


def test_a_package_that_computes_its_names_counts_whole(tmp_path):
    init = "from . import sizes\ndef __getattr__(name): return getattr(sizes, name)\nUNRELATED = 1\n"
    files = {**PACKAGE, "pkg/__init__.py": init, "pkg/main.py": "from pkg import WIDTH\ndef run(): return WIDTH"}
    before = key(tmp_path, files)
    assert before != key(tmp_path, {"pkg/sizes.py": "WIDTH = 5\nHEIGHT = 5\n"})
    assert before != key(tmp_path, {**files, "pkg/__init__.py": init.replace("UNRELATED = 1", "UNRELATED = 2")})


def test_an_import_for_type_checkers_counts_where_its_name_is_used(tmp_path):
    main = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from other import Config, Unused\n"
    main += "def run(x: Config): return x"
    other = "print('{}')\nclass Config:\n size = {}\nclass Unused:\n size = 1\n"
    before = key(tmp_path, {"main.py": main, "other.py": other.replace("{}", "1")})
    assert before == key(tmp_path, {"other.py": other.replace("{}", "1").replace("Unused:\n size = 1", "Unused: pass")})
    assert before != key(tmp_path, {"other.py": other.replace("{}", "2")})


# ------------------------------------------------------------------------------------------------------------ executor


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """A module `nodes_of_user` outside every package; call it with its text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> None:
        (tmp_path / "nodes_of_user.py").write_text(text)

    return write


@pytest.mark.parametrize(
    ("path", "text", "unrelated"),
    [
        ("nodes_of_user.Executor", "class Executor:\n def Do(self): return {}\n", "x = []\n"),
        ("nodes_of_user.Outer.Executor", "class Outer:\n class Executor:\n  size = {}\n", "x = []\n"),
        ("nodes_of_user.count_Executor", "@component\ndef count(): return {}\n", "x = []\n"),
        ("nodes_of_user.Made", "Made = type('Made', (), dict(size={}))\n", "x = []\n"),
    ],
)
def test_a_first_party_executor_counts_with_what_it_uses(nodes, path, text, unrelated):
    def hashed(used: str, unused: str) -> str:
        nodes(text.replace("{}", used) + unrelated.replace("[]", unused))
        return fingerprint.executor(path)

    assert hashed("1", "1") != hashed("2", "1")
    assert hashed("1", "1") == hashed("1", "2")


def test_an_import_of_an_executor_is_what_python_finds_on_its_path(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    key(
        tmp_path,
        {"nodes_of_user/parts.py": "from sizes_of_user import x\nclass Executor:\n size = x\n", "main.py": "run=1"},
    )
    sizes = [tmp_path / "sizes_of_user.py", tmp_path / "nodes_of_user" / "sizes_of_user.py"]
    hashes = []
    for on_path, beside in [(1, 1), (1, 2), (2, 2)]:
        sizes[0].write_text(f"x = {on_path}\n")
        sizes[1].write_text(f"x = {beside}\n")
        hashes.append(fingerprint.executor("nodes_of_user.parts.Executor"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_executor_that_no_statement_defines_counts_its_whole_file(nodes):
    nodes("for n in 'ab': globals()[n] = type(n, (), {})\nx = 1\n")
    before = fingerprint.executor("nodes_of_user.a")
    nodes("for n in 'ab': globals()[n] = type(n, (), {})\nx = 2\n")
    assert before != fingerprint.executor("nodes_of_user.a")


@pytest.mark.parametrize("path", ["pytest.Item", "json.decoder.JSONDecoder", "pytest.NoSuchThing"])
def test_an_installed_executor_is_left_to_the_version_of_its_package(path):
    assert fingerprint.executor(path) == fingerprint.INSTALLED


def test_an_executor_of_the_main_script_is_found(tmp_path, monkeypatch):
    script = types.ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, "__main__", script)
    (tmp_path / "script.py").write_text("def count(): return 1")
    before = fingerprint.executor("__main__.count_Executor")
    (tmp_path / "script.py").write_text("def count(): return 2")
    assert before != fingerprint.executor("__main__.count_Executor")


@pytest.mark.parametrize("path", ["__main__.cell_Executor", "no_such_module.Thing"])
def test_an_executor_that_is_in_no_file_never_has_the_same_hash(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert fingerprint.executor(path) != fingerprint.executor(path)


# ---------------------------------------------------------------------------------------------------------------- data


def test_files_count_by_name_and_content_in_any_order(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("1")
    b.write_text("2")
    before = fingerprint.files([a, b])
    assert before == fingerprint.files([b, a])
    assert before != fingerprint.files([a])
    b.write_text("3")
    assert before != fingerprint.files([a, b])
    b.write_text("2")
    assert before == fingerprint.files([a, b])
    assert before != fingerprint.files([a, b.rename(tmp_path / "c.csv")])


def test_a_missing_data_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: cannot read this file: No such file"):
        fingerprint.files([tmp_path / "gone.csv"])


def test_a_folder_counts_by_relative_names_and_contents(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / name / "variables" / "data").write_bytes(b"weights")
    one, two = tmp_path / "one", tmp_path / "two"
    assert fingerprint.folder(one) == fingerprint.folder(two)
    (two / "variables" / "data").rename(two / "data")
    assert fingerprint.folder(one) != fingerprint.folder(two)


def test_the_content_of_a_linked_folder_counts(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "assets").symlink_to(tmp_path / "real")
    before = fingerprint.folder(tmp_path / "model")
    (tmp_path / "real" / "vocabulary").write_text("a")
    assert before != fingerprint.folder(tmp_path / "model")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone: no such folder"):
        fingerprint.folder(tmp_path / "gone")
