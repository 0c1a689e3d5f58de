"""README and docs/ name what is there: pages, parameters, targets, modules, and what they need."""

import dataclasses
import functools
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from markdown_it import MarkdownIt

from bat import cli

ROOT = Path(__file__).parent.parent
PARSER = MarkdownIt("commonmark").enable("table")
MOST_WORDS = 1200  # of README, its commands included
HISTORY = ("CHANGELOG.md", "docs/LOG.md")  # what was true on their day
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("[A-Z]*.md"), *ROOT.glob("docs/*.md")]
)
TODAY = [page for page in PAGES if page not in HISTORY]
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
DATA = {field.name for field in dataclasses.fields(cli.DataConfig)}
MAKEFILE = (ROOT / "Makefile").read_text()
# Commands that a lone machine without network cannot carry out, and the words that say so.
ELSEWHERE = re.compile(
    r"^ray start|^ray get|RAY_ADDRESS=\S+ mlflow|torchrun |accelerate launch|pip install|data=hf:|"
    r"build-docker|make constraints|--env-manager (?:uv|virtualenv)|--extra-index-url",
    re.MULTILINE,
)
WARNED = re.compile(r"\bneeds?\b[^.:]*\b(network|cluster|devices|machines)\b")


class Block(NamedTuple):
    """A part of a page between blank lines: prose, one table, or the text of a code fence."""

    kind: str  # prose or code
    text: str


def text_of(page):
    return (ROOT / page).read_text()


@functools.cache
def blocks(page):
    lines, found = text_of(page).splitlines(), []
    for token in PARSER.parse(text_of(page)):
        if token.type == "fence":
            found.append(Block("code", token.content))
        elif token.level == 0 and token.map and token.nesting >= 0:
            found.append(Block("prose", "\n".join(lines[slice(*token.map)])))
    return found


@functools.cache
def code(page):
    """What stands in fences and between backticks, a line each."""
    found = [block.text for block in blocks(page) if block.kind == "code"]
    for token in PARSER.parse(text_of(page)):
        found += [each.content for each in token.children or () if each.type == "code_inline"]
    return "\n".join(found).replace("\\\n", " ")


def slug(heading):
    """Name the anchor of a heading, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@functools.cache
def anchors(page):
    tokens = PARSER.parse(text_of(page))
    opened = [at for at, token in enumerate(tokens) if token.type == "heading_open"]
    return {slug(tokens[at + 1].content) for at in opened}


def links(page):
    for token in PARSER.parse(text_of(page)):
        for each in token.children or ():
            target = each.attrGet("href") or each.attrGet("src")
            if target and not re.match(r"\w+:", target):
                yield target


def table(page, heading):
    """Read the first table under a heading: the cells of each line, without backticks."""
    lines = text_of(page).split(f"\n{heading}\n", 1)[1].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows[2:]


def test_readme_is_short():
    assert len(text_of("README.md").split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(str(there.resolve().relative_to(ROOT))), target


def test_readme_leads_to_every_page():
    named = {target.partition("#")[0] for target in links("README.md")}
    assert {page for page in PAGES if page != "README.md"} <= named


@pytest.mark.parametrize("page", [p for p in TODAY if p.startswith("docs/") and "answer" not in p])
def test_a_page_begins_with_its_question(page):
    first, second = text_of(page).splitlines()[:2]
    assert re.fullmatch(r"# .+\?", first)
    assert not second


def test_commands_name_entry_points_and_parameters_that_are_there():
    seen = 0
    for page in TODAY:
        for command in re.findall(r"mlflow run \. -e .*", code(page)):
            name = re.match(r"mlflow run \. -e (\w+)", command)[1]
            assert name in ENTRY_POINTS, (page, command)
            for parameter in re.findall(r"-P (\w+)=", command):
                assert parameter in ENTRY_POINTS[name]["parameters"], (page, command)
            seen += 1
    assert seen >= len(ENTRY_POINTS)


def test_parameters_outside_of_commands_are_there():
    known = {name for entry in ENTRY_POINTS.values() for name in entry["parameters"]}
    for page in TODAY:
        assert set(re.findall(r"-P (\w+)=", text_of(page))) <= known, page


def test_modules_and_their_flags_are_there():
    seen = 0
    for page in TODAY:
        for command in re.findall(r"(?:python|launch|torchrun)\b.* -m .*", code(page)) + re.findall(
            r"python -m [\w.]+.*", code(page)
        ):
            module = re.search(r" -m ([\w.]+)", command)[1]
            if module.partition(".")[0] in ("entrypoints", "benchmarks", "tests"):
                assert importlib.util.find_spec(module), (page, command)
                source = text_of(module.replace(".", "/") + ".py")
                for flag in re.findall(r"--(\w+)", command.partition(module)[2]):
                    own = re.search(rf"^    {flag}: ", source, re.MULTILINE)
                    assert own or flag in DATA or flag == "help", (page, command)
                seen += 1
    assert seen > 5


def test_make_has_the_targets_and_variables_that_are_named():
    seen = 0
    for page in TODAY:
        for target, rest in re.findall(r"(?:^|\| )make ([\w-]+)(.*)", code(page), re.MULTILINE):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), (page, target)
            for variable in re.findall(r"\b([A-Z_]+)=", rest):
                assert f"$({variable})" in MAKEFILE, (page, rest)
            seen += 1
    assert seen > 5


TABLES = {
    "scaling_study": ("docs/recipes.md", "## Parameters of `scaling_study`"),
    "finetune": ("docs/recipes.md", "### Parameters of `finetune`"),
    "evaluate": ("docs/recipes.md", "### Parameters of `evaluate`"),
    "report": ("docs/results.md", "### Parameters of `report`"),
    "promote": ("docs/serving.md", "### Parameters of `promote`"),
    "score": ("docs/serving.md", "### Parameters of `score`"),
}


@pytest.mark.parametrize("name", [name for name in ENTRY_POINTS if name != "main"])
def test_every_parameter_stands_in_a_table_with_its_default(name):
    listed = [(row[0], row[1]) for row in table(*TABLES[name])]
    if name in ("finetune", "evaluate"):
        rows = table("docs/data.md", "## Parameters of the data")
        listed = [*((row[0], row[1]) for row in rows), *listed]
    wanted = ENTRY_POINTS[name]["parameters"]
    assert listed == [(each, str(wanted[each]["default"])) for each in wanted]


def test_the_table_of_baselines_is_that_of_the_code():
    from bat.models import predictors

    listed = {row[0]: row[2] == "yes" for row in table("docs/recipes.md", "## Baselines")}
    assert listed == {each: predictors.named(each).candidate for each in predictors.baselines()}


@pytest.mark.parametrize("page", TODAY)
def test_what_needs_network_or_a_cluster_says_so(page):
    found = blocks(page)
    for at, block in enumerate(found):
        if ELSEWHERE.search(block.text):
            said = block.text + "\n" + (found[at - 1].text if block.kind == "code" else "")
            if block.text.startswith("|"):  # a table, and the sentence behind it
                said += "\n" + found[at + 1].text
            assert WARNED.search(said.replace("\n", " ")), (page, block.text)


def test_some_commands_need_network_or_a_cluster():
    assert sum(len(ELSEWHERE.findall(text_of(page))) for page in TODAY) > 10
