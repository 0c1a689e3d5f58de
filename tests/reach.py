"""What the code of a kind of unit reaches, read from the source without running it."""

import ast
import functools
import hashlib
import io
import tokenize
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
# They take the command line, show, and keep; none of them decides what is in a unit.
FLOOR = {"interrupts", "cli", "records", "home", "locks", "drafts", "units"}
# What a library computes with, though our code does not import it.
COMPANIONS = {
    "transformers": {"tokenizers", "safetensors"},
    "sentence-transformers": {"transformers"},
}
# Who is given one of these computes as it was made.
MAKERS = {
    ("encoder", "Encoder"): [("encoder_opening", "open_encoder")],
    ("pricer", "Pricer"): [("pricer", "load")],
}
FETCH = {"huggingface_hub"}  # brings files, and computes nothing
PACKAGES = metadata.packages_distributions()


# Modules by their last name, which is unique (tests/test_layers.py).
FILES = {path.stem: path for path in (ROOT / "bat").rglob("[!_]*.py")}


@functools.cache
def source(module):
    return FILES[module].read_text()


@functools.cache
def tree(module):
    return ast.parse(source(module))


@functools.cache
def definitions(module):
    """Nodes at the top of a module, by the name that they define."""
    found = {}
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                found |= {each.id: node for each in ast.walk(target) if isinstance(each, ast.Name)}
    return found


def imports(nodes):
    """What the names are that imports bring: the dotted name of each."""
    found = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


@functools.cache
def uses(module, name):
    """What a definition names: other definitions, and the libraries by import."""
    nodes = list(ast.walk(definitions(module)[name]))
    inside = imports(nodes)
    known = imports(tree(module).body) | inside
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    within = [each for function in functions for each in ast.walk(function)]
    own = {node.arg for node in within if isinstance(node, ast.arg)}
    own |= {n.id for n in within if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    named = {node.id for node in nodes if isinstance(node, ast.Name)} - own | set(inside)
    attributes = {
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    found, libraries = set(), set()
    for each in named:
        *above, last = known.get(each, "").split(".")
        package = above[0] if above else last
        if each in definitions(module) and each not in inside:
            found.add((module, each))
        elif package == "bat" and last in FILES:
            found |= {(last, attribute) for owner, attribute in attributes if owner == each}
        elif package == "bat":
            found.add((above[-1], last))
        elif package:
            libraries.add(package)
    return found, libraries


def resolve(module, name):
    """Follow a name to the module that defines it, where another has imported it from there."""
    while name not in definitions(module):
        *_, module, name = imports(tree(module).body)[name].split(".")
    return module, name


def reach(starts):
    """All definitions that some reach, and the distributions of the libraries they use."""
    todo, seen, libraries = [tuple(start.split(".")) for start in starts], set(), set()
    while todo:
        module, name = todo.pop()
        if module in FLOOR or (module, name) in seen:
            continue
        module, name = resolve(module, name)
        seen.add((module, name))
        found, named = uses(module, name)
        todo += [*found, *MAKERS.get((module, name), ())]
        libraries |= named
    names = {PACKAGES[each][0] for each in libraries & set(PACKAGES) - FETCH}
    while more := {b for a in names for b in COMPANIONS.get(a, ())} - names:
        names |= more
    return seen, names


@functools.cache
def plain(text):
    """Source without comments, docstrings and empty lines: what changes nothing when it changes."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body:
            continue
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            for number in range(first.lineno - 1, first.end_lineno):
                lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def fingerprint(found):
    """Digest of the source of some definitions."""
    total = hashlib.sha256()
    for module, name in sorted(found):
        node = definitions(module)[name]
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        text = "\n".join(source(module).splitlines()[first - 1 : node.end_lineno])
        total.update(f"{module}.{name}\n{plain(text)}\n".encode())
    return total.hexdigest()
