"""Units of work, keyed by their inputs: done once, checked when opened, shared between runs.

A finished unit is a folder under ``home.folder()`` that also holds the digests of its files. What
does not match them is set aside and made again, so that a damaged disk costs time and never a wrong
number.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bat import drafts, home, locks

APART: ContextVar[str] = ContextVar("apart", default="")  # what the names of units begin with
SEAL = "unit.digest"  # in the folder of a unit: its name, and the digest of each of its files


@dataclass(frozen=True)
class Kind:
    """One kind of work, and what decides its results besides the inputs of each unit.

    Attributes:
        name: of the folder below ``home.folder()`` that holds the units.
        version: raised when the code of ``fills`` makes something else of equal inputs.
        fills: the functions that compute what is kept, as ``module.function``.
        modules: those of this package that ``fills`` reach; tests/test_kinds.py compares.
        libraries: what computes, as packages are called; their versions are part of each key.
    """

    name: str
    version: int
    fills: tuple[str, ...]
    modules: tuple[str, ...]
    libraries: tuple[str, ...]

    def identity(self) -> list[object]:
        """List what is alike in the keys of all units of this kind, on this machine."""
        versions = {name: _version(name) for name in sorted(self.libraries)}
        return [self.name, self.version, versions]


_BERT = ("numpy", "safetensors", "sentence-transformers", "tokenizers", "torch", "transformers")
_TREES = ("numpy", "optuna", "xgboost")
_PRICES = (  # modules
    "corpus",
    "findings",
    "preparation",
    "regressor",
    "ridge_column",
    "rows",
    "search",
    "stages",
)
_ENCODER = ("encoder", "encoder_files", "encoder_opening")  # modules
_LOOP = ("loop", "objective", "precision")  # modules
_STACK = ("numbers", "quantities", "stack", "texts", "words")  # modules
_BASELINES = (  # modules
    "baselines",
    "embedding",
    *_ENCODER,
    *_LOOP,
    "explanation",
    "prediction",
    "predictors",
    "supervised",
    *_STACK,
    *_PRICES,
)
BLOCKS = Kind("blocks", 1, ("packing._pack",), (*_ENCODER, "packing"), _BERT)
TRUNKS = Kind(
    "trunks",
    1,
    ("loop.start", "loop.trunk_state"),
    (*_ENCODER, *_LOOP),
    ("accelerate", *_BERT),
)
ENCODERS = Kind(
    "encoders",
    1,
    ("loop.finetune", "stages._save_tuned"),
    ("embedding", *_ENCODER, *_LOOP, "model_card", "stages"),
    ("accelerate", *_BERT),
)
EMBEDDINGS = Kind(
    "embeddings",
    1,
    ("embedding.encode_batches",),
    ("embedding", *_ENCODER),
    _BERT,
)
EVALUATIONS = Kind(
    "evaluations",
    3,
    ("stages.evaluate", "stages.diagnose", "stages.joined"),
    _PRICES,
    _TREES,
)
STACKS = Kind(
    "stacks",
    2,
    ("stacks._fill", "baselines.training_data"),
    ("stacks", *_BASELINES),
    ("accelerate", "scikit-learn", *_BERT, *_TREES),
)
REFITS = Kind(
    "refits",
    4,
    ("refit._fill", "refit._fit_anew", "refit._keep"),
    ("interval", "refit", "stacks", *_BASELINES),
    ("accelerate", "scikit-learn", *_BERT, *_TREES),
)
BASELINES = Kind(
    "baselines",
    4,
    ("baselines._fill",),
    _BASELINES,
    ("accelerate", "scikit-learn", *_BERT, *_TREES),
)
SCORES = Kind(
    "scores",
    1,
    ("chunks.stream", "score._fill"),
    (
        "arrow_tables",
        "cars",
        "chunks",
        "csv_files",
        "embedding",
        *_ENCODER,
        "facts",
        "fields",
        "generator",
        "explanation",
        "interval",
        "numbers",
        "quantities",
        "search",
        "stack",
        "json_lines",
        "prediction",
        "predictors",
        "pricer",
        "regressor",
        "ridge_column",
        "rows",
        "score",
        "scored_file",
        "sources",
        "text_lines",
        "texts",
        "words",
    ),
    ("datasets", "pyarrow", "scikit-learn", "xgboost", *_BERT),
)
FRAMES = Kind("frames", 1, ("results._written",), ("results",), ())
RECEIVED = Kind("received", 2, ("cluster._unpack",), ("cluster",), ())
KINDS = (
    BLOCKS,
    TRUNKS,
    ENCODERS,
    EMBEDDINGS,
    EVALUATIONS,
    STACKS,
    REFITS,
    BASELINES,
    SCORES,
    FRAMES,
    RECEIVED,
)


@dataclass(frozen=True)
class Unit:
    """One piece of work; ``unit`` and ``part`` name it."""

    kind: Kind
    key: str
    part: str = ""  # name of a part among those of the unit; empty for the whole

    @property
    def folder(self) -> Path:
        """Where its files are, or would be; it exists only when it was finished."""
        if self.part:
            return _parts_folder(self) / self.part
        return home.folder() / self.kind.name / self.key

    @property
    def name(self) -> str:
        """What its lock and its seal call it."""
        return "-".join(filter(None, (self.kind.name, self.key, self.part)))


def unit(kind: Kind, **inputs: object) -> Unit:
    """Name a unit by everything its result depends on: kind, version, libraries, and inputs."""
    return Unit(kind, key(kind=kind.identity(), inputs=inputs))


def part(of: Unit, name: str) -> Unit:
    """Name one part of a long unit, which then goes on from its parts after it was killed.

    Args:
        of: the unit; ``drop`` removes all its parts.
        name: of the part among them.
    """
    return Unit(of.kind, of.key, name)


def parts(of: Unit) -> list[Unit]:
    """List the parts of a unit that are there, in the order of their names."""
    return [part(of, path.name) for path in sorted(_parts_folder(of).glob("[!.]*"))]


def drop(of: Unit) -> None:
    """Remove all parts of a unit."""
    if os.path.lexists(path := _parts_folder(of)):
        drafts.remove(path)


def _parts_folder(of: Unit) -> Path:
    return home.folder() / f"{of.kind.name}-parts" / of.key


def discard(unwanted: Iterable[Unit]) -> None:
    """Remove units that only their maker uses."""
    for each in unwanted:
        if os.path.lexists(each.folder):
            drafts.remove(each.folder)


def key(**inputs: object) -> str:
    """Name plain values: 32 hex digits, the same on every machine."""
    text = json.dumps(inputs, sort_keys=True)
    return APART.get() + hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _version(library: str) -> str:
    return metadata.version(library)


def digest(texts: Iterable[str]) -> str:
    """Fingerprint texts as they are spelt and in their order: 64 hexadecimal digits."""
    total = hashlib.sha256()
    for text in texts:
        total.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return total.hexdigest()


def own_code() -> str:
    """Fingerprint the whole package."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return digest(path.read_text() for path in sources)[:16]


@contextmanager
def apart(begins: str) -> Iterator[None]:
    """Begin the names of units with some letters, or with more, while the block lasts."""
    token = APART.set(APART.get() + begins)
    try:
        yield
    finally:
        APART.reset(token)


@contextmanager
def begun_anew() -> Iterator[None]:
    """Find nothing that was done before, and leave nothing to be found, while the block lasts."""
    begins = f"apart-{locks.token()}-{uuid.uuid4().hex[:8]}-"
    try:
        with apart(begins):
            yield
    finally:
        for path in home.folder().glob(f"*/*{begins}*"):
            drafts.delete(path)


def build(unit: Unit, fill: Callable[[Path], object]) -> Path:
    """Fill the folder of a unit once; a folder half filled is never seen under its name.

    Args:
        unit: what is to be done.
        fill: writes the files into the empty folder it is given.

    Returns:
        The finished folder, whose files are those that ``fill`` has written, to the bit.
    """
    with locks.lock(unit.name):
        if not (done := _opened(unit)):
            home.ensure(unit.folder.parent)
            with drafts.draft(home.top(unit.folder)) as folder:
                fill(folder)
                _seal(unit, folder)
                done = _install(unit, folder)
    return done


def find(unit: Unit) -> Path | None:
    """Look for a unit that was finished; None where there is none, or where it is damaged."""
    if not os.path.lexists(unit.folder):
        return None
    if not _damage(unit, unit.folder):
        return unit.folder
    with locks.lock(unit.name):
        return _opened(unit)


def adopt(unit: Unit, source: Path) -> None:
    """Take a unit that was finished in another cache into this one, unless it is here.

    Raises:
        RuntimeError: it was damaged on its way.
    """
    if why := _damage(unit, source):
        raise RuntimeError(f"{unit.name} has arrived damaged: {why}")

    def move(folder: Path) -> None:
        for each in source.iterdir():
            if each.name != SEAL:
                each.rename(folder / each.name)

    build(unit, move)


def _opened(unit: Unit) -> Path | None:
    """Look for a unit whose lock is held, and set it aside where it is damaged."""
    if not os.path.lexists(unit.folder):
        return None
    if why := _damage(unit, unit.folder):
        home.set_aside(unit.folder, why)
        return None
    return unit.folder


def _install(unit: Unit, folder: Path) -> Path:
    """Give a finished folder its name."""
    done = unit.folder
    try:
        folder.rename(done)
    except OSError as error:
        # Another machine, whose lock ours does not see, has made the same meanwhile.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or _damage(unit, done):
            with home.explained():
                raise
    _SOUND[done] = _state(done)
    return done


# Of folders that were found to hold what they shall: what tells whether they were touched since.
_SOUND: dict[Path, list[tuple[object, ...]]] = {}


def _tree(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """List what is below a folder, with sub-folders and links, in one order on every machine."""
    names = []
    for top, folders, files in os.walk(folder):
        below = Path(top).relative_to(folder)
        names += [str(below / each) for each in [*folders, *files]]
    for name in sorted(names):
        yield name, (folder / name).lstat()


def _state(folder: Path) -> list[tuple[object, ...]]:
    """Note what changes when somebody writes to a folder's files."""
    return [
        (name, each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns)
        for name, each in _tree(folder)
    ]


def _described(unit: Unit, folder: Path) -> list[str]:
    """Write down a unit's name and the digest of each of its files, as its seal does."""
    lines = [unit.name]
    for name, found in _tree(folder):
        if name == SEAL:
            continue
        what = "link"
        if stat.S_ISDIR(found.st_mode):
            what = "folder"
        elif stat.S_ISREG(found.st_mode):
            with (folder / name).open("rb") as file:
                what = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{what} {name}")
    return lines


def _damage(unit: Unit, folder: Path) -> str:
    """Say how a folder differs from what was sealed; empty where it does not."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            return "it is not a folder"
        now = _state(folder)
        if _SOUND.get(folder) == now:
            return ""
        found = _described(unit, folder)
        sealed = (folder / SEAL).read_bytes()
    except FileNotFoundError:
        return f"{SEAL} is missing"
    except OSError as error:
        return f"{home.shown(Path(error.filename or folder))} cannot be read ({error.strerror})"
    if sealed == _sealing(found):
        _SOUND[folder] = now
        return ""
    lines = sealed.decode(errors="replace").splitlines()
    differing = [line for line in [*found, *lines] if (line in found) != (line in lines)]
    name = differing[0].split(" ", 1)[-1] if differing else SEAL
    return f"{name} is not what was written"


def _sealing(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def _seal(unit: Unit, folder: Path) -> None:
    """Note the digests of a finished folder, and flush all of it to the disk."""
    (folder / SEAL).write_bytes(_sealing(_described(unit, folder)))
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
