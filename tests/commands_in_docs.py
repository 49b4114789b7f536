"""The commands in the documentation: the blocks that show them, and those within sentences.

A block is one of commands if its first line begins with a program that is known here. A comment in front of it says why
a block cannot run in a test: `<!-- not run: it needs Airflow -->`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).parents[1]
DOCS = CLONE / "docs"
# docs/cli.md is made from the code.
PAGES = [CLONE / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if page.name != "cli.md")]
OURS = ("benison", "benison-model-server", "make")
OTHERS = ("airflow", "cd", "curl", "docker", "git", "jq", "pip", "python", "second-track", "source", ".")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)    \S.*\n(?:\n*    .*\n)*")
_NOT_RUN = re.compile(r"<!-- not run: (.*?) -->\n*\Z")
_IN_A_SENTENCE = re.compile(rf"`((?:[\w./]*/)?(?:{'|'.join(OURS)})(?: [^`]*)?)`")
_SETTING = re.compile(r"[A-Z_]+=\S*")
_SHELLS = ("sh", "bash", "shell", "console")


@dataclass(frozen=True)
class Command:
    """A command in a page.

    Attributes:
        page: its path in the clone.
        line: its line, from 1.
        text: the command as a shell takes it, without its comment.
        why_not: why a test cannot run it; '' if one can.
    """

    page: str
    line: int
    text: str
    why_not: str = ""

    @property
    def calls(self) -> list[list[str]]:
        """The words of each program that it starts; settings and `sudo` in front of them are left out."""
        calls: list[list[str]] = [[]]
        text = re.sub(r"^\w+=\$\((.*)\)$", r"\1", self.text.replace("\\\n", " "))  # TOKEN=$(…)
        lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split, lexer.commenters = True, ""
        for word in lexer:
            if set(word) <= set("&|;"):
                calls.append([])
            elif calls[-1] or not (word == "sudo" or _SETTING.fullmatch(word)):
                calls[-1].append(word)
        return [[words[0].rpartition("/")[2] or words[0], *words[1:]] for words in calls if words]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def in_blocks(page: Path) -> list[Command]:
    """Return the commands in the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = [(m.start(), text.count("\n", 0, m.start(2)) + 1, m[2]) for m in _FENCE.finditer(text) if m[1] in _SHELLS]
    without = _FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)  # the fences do not hide the lines after them
    for m in _INDENTED.finditer(without):
        block = re.sub("^    ", "", m[0], flags=re.MULTILINE)
        blocks.append((m.start(), text.count("\n", 0, m.start()) + 1, block))
    commands: list[Command] = []
    for start, line, block in sorted(blocks):
        reason = _NOT_RUN.search(text[:start])
        commands += _commands(page.relative_to(CLONE).as_posix(), line, block, reason[1] if reason else "")
    return commands


def files(page: Path, line: int) -> dict[str, str]:
    """The files that a page shows before a line: the blocks after a paragraph that begins with, or ends in, a name."""
    text = "".join(page.read_text(encoding="utf-8").splitlines(keepends=True)[: line - 1])
    named: dict[str, str] = {}
    for block in _FENCE.finditer(text):
        paragraph = text[: block.start()].rstrip().rpartition("\n\n")[2]
        if name := re.search(r"^`([\w.]+\.(?:py|yaml))`|`([\w.]+\.(?:py|yaml))`:$", paragraph):
            named[name[1] or name[2]] = block[2]
    return named


def in_sentences(page: Path) -> list[Command]:
    """Return the commands within sentences of a page; they may be parts of commands, such as `benison span`."""
    text = _FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), page.read_text(encoding="utf-8"))
    return [
        Command(page.relative_to(CLONE).as_posix(), text.count("\n", 0, m.start()) + 1, " ".join(m[1].split()))
        for m in _IN_A_SENTENCE.finditer(text)
    ]


def _commands(page: str, first_line: int, block: str, why_not: str) -> Iterator[Command]:
    whole, has_outputs = "", block.startswith("$ ")
    for number, line in enumerate(block.splitlines(), first_line):
        if has_outputs and not whole and not line.startswith("$ "):
            continue
        whole = f"{whole}\n{line}" if whole else line.removeprefix("$ ")
        try:
            words = shlex.split(whole, comments=True)
        except ValueError:  # an open quote: the command continues
            continue
        if whole.endswith("\\"):
            continue
        if words:
            begin = number - whole.count("\n")
            command = Command(page, begin, _without_comment(whole), why_not)
            if begin == first_line and not (command.calls and command.calls[0][0] in (*OURS, *OTHERS)):
                return  # an output, or a text in another language
            yield command
        whole = ""


def _without_comment(command: str) -> str:
    """Remove `# …` from the end of a command; a # in quotes or within a word is none."""
    for match in re.finditer(r"(?:^|\s+)#", command):
        try:
            shlex.split(command[: match.start()])
        except ValueError:
            continue
        return command[: match.start()]
    return command
