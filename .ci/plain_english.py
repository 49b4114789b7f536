"""Check the English that people read: docstrings, comments, messages and documents.

    python .ci/plain_english.py [FILE …]    default: every file of the repository

No docstring begins with a question word (ruff's D401 demands the imperative), and nothing uses the words and turns of
`WORDS`, each of which stood in this project once.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

# A pattern, and what to write instead.
WORDS = {
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bvain\b": "do not retry",
    r"\banew\b": "again",
    r"\bshall\b": "must, or the present tense",
    r"\bought to\b": "must, should",
    r"\b(?:whither|whence|thence|hence|thereof|therein|whereby|wherein|hitherto|henceforth)\b": "plain words",
    r"\blest\b": "so that … not",
    r"\blegible\b": "readable",
    r"\bnought\b": "nothing",
    r"\blegion\b": "many",
    r"\botherwise than\b": "differently from",
    r"\b(?:it|they) (?:is|are|does|do) not any ?more\b": "no longer",
    r"\bany (?:more|longer)\b": "no longer",
    r"\b(?:one|a) (?:line|row|process|file|folder|function|page|task|model|thread) an? (?!time\b)\w+": "one … per …",
    r"\bgoes? by (?:it|the|what|how|this)\b": "uses, follows",
    r"\bhas (?:a|the) (?:version|model)s? served\b": "serve, promote",
    r"\bwhat is ours\b": "say what it is",
    r"\bof (?:one's|its|their|your) own accord\b": "automatically",
    r"\bthe data are\b": "the data is",
    r"\bbrings? along\b": "contains, includes",
    r"\bgives? back the\b": "return, release",
    r"\bnoted? down\b": "record",
    r"\bsays? of\b": "say about",
    r"\btold of\b": "notified about",
    r"\bcome(?:s)? of (?:it|that)\b": "result",
    r"\bbecame of\b": "the result of",
    r"\bnone is (?:there|told)\b": "there is none",
    r"\bhad in vain\b": "failed",
    r"\b(?:is|are|was|were) (?:told|mended)\b": "reported, repaired",
    r"\b(?:hear|tell|tells) of\b": "notice, report",
    r"\bforestall(?:s|ed)?\b": "come first",
    r"\b(?:passe?s?|passed) over\b": "skip",
    r"\b(?:does|do) without\b": "skip, work without",
    r"\bas by (?:TFX|Airflow|LocalDagRunner)\b": "as with, the same as",
}
_FIRST_WORDS = re.compile(r"(?:What|Whether|How|Which|Why|Where|When|Who|Whose)\b")
_EXEMPT = ("uv.lock", "LICENSE", ".ci/plain_english.py", "serving/deploy/schemas/", "configs/benison.schema.json")


def main(arguments: list[str]) -> int:
    """Print one line per finding; return 1 where there is any."""
    names = (
        arguments
        or subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    )
    findings = [finding for name in names for finding in check(Path(name)) if not name.startswith(_EXEMPT)]
    print("\n".join(findings) or "plain English: nothing found")
    return bool(findings)


def check(path: Path) -> Iterator[str]:
    """Yield what is wrong in a file, as `FILE:LINE: …`."""
    if path.is_symlink() or not path.is_file():
        return
    if path.suffix == ".py":
        source = path.read_text(encoding="utf-8")
        yield from _docstrings(path, ast.parse(source))
        for line, text in _spoken(source):
            yield from _words(path, line, text)
    elif path.suffix in (".md", ".yaml", ".yml", ".toml") or path.name == "Makefile":
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield from _words(path, line, text)
    elif path.suffix == ".ipynb":
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            yield from _words(path, 1, "".join(cell["source"]))


def _docstrings(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            text = ast.get_docstring(node) or ""
            if _FIRST_WORDS.match(text):
                line, name = getattr(node, "lineno", 1), getattr(node, "name", "the module")
                yield f"{path}:{line}: docstring of {name}: begin with a verb, not {text.split()[0]!r}"


def _spoken(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments and texts with their line; names and code are not English."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string


def _words(path: Path, line: int, text: str) -> Iterator[str]:
    for pattern, instead in WORDS.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            number = line + text.count("\n", 0, match.start())
            yield f"{path}:{number}: {match[0]!r}: write {instead!r}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
