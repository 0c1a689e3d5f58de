"""A frozen dataclass becomes command-line flags, and the flags become the dataclass again."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import shlex
import sys
import typing
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

from bat import interrupts

Config = TypeVar("Config")

MAX_SEED = 2**31 - 1  # what every library takes
STOPPED = 130  # what shells say of a command that Ctrl-C ended
# How the system, SQLite, XGBoost, and NumPy ("9 requested and 0 written") say that a disk is full.
FULL = (
    "No space left on device", "Disk quota exceeded", "disk is full", "Write incomplete",
    " requested and ",
)  # fmt: skip
USER_ERROR = 2  # what argparse exits with for a wrong command line; ours for every mistake


DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_BASELINES = ("median", "lengths", "tfidf", "ridge", "words", "static")  # quick ones
FEATURES = TUNED, FACTORY_TUNED = "tuned", "factory+tuned"  # what a tuned arm's regressor reads
STACKS = "auto", "all", "none"  # sizes whose embeddings are read beside words: the ends, all, none
MAX_REJECTED = 0.05  # convention: above it a file is misread rather than dirty
MIN_DOCUMENTS = 256  # the smallest subset: the documents on which a missing head is warmed up
AUTO = "auto"  # sizes that fit the corpus
NO_UNIT, UNIT_LETTERS = "none", 20  # of a target; what fits behind a number (convention)
RENAMED = {"price_column": "target_column"}  # flags of the release before, by what they are now
# Whether what is kept of an error may quote texts: the ``show_texts`` of the command that runs.
TEXTS_SHOWN: ContextVar[bool] = ContextVar("texts_shown", default=True)
ENCODER_HELP = "hub id, folder, or a runs:/ or models:/ address"
MODEL_NAME_HELP = "registered model whose versions are meant; auto where only one has a champion"


class InputError(ValueError):
    """A mistake in what the user gave: says what was got, what was expected, and what to do."""

    def __init__(self, got: str, expected: str, remedy: str) -> None:
        """Keep the three sentences; ``str()`` joins them, one a line."""
        super().__init__(f"got {got}\n  expected: {expected}\n  remedy:   {remedy}")
        self.sentences = (got, expected, remedy)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Let another process raise it again."""
        return InputError, self.sentences


def option(default: object, text: str, *, is_path: bool = False) -> Any:
    """Declare one field of a config: its default and the sentence that ``--help`` shows.

    Where it may be a path, ``~`` stands for the user's folder, as in a shell.
    """
    return dataclasses.field(default=default, metadata={"help": text, "is_path": is_path})


def local_path(text: str) -> Path:
    """Read a path; ``~`` is the user's folder, and that of nobody stays as it is."""
    with contextlib.suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def _truth(text: str) -> bool:
    """Read true or false; ``bool("false")`` would be true."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.strip().lower() not in words:
        raise ValueError
    return words[text.strip().lower()]


def _check_unicode(flag: str, text: str) -> None:
    """Refuse what is not UTF-8, such as an old file's name: no store could keep it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{flag}={text!r}, which is not UTF-8",
            "text, or a name, in UTF-8",
            "rename the file, for instance with `convmv -f latin1 -t utf8 --notest`",
        ) from None


def _read(flag: str, text: str, kind: type) -> Any:
    """Convert the text of one flag; the error names the flag, the value and the type."""
    try:
        return _truth(text) if kind is bool else kind(text)
    except ValueError:
        name = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise InputError(
            f"{flag}={text!r}", name, f"give {flag} {name}, or leave it out for the default"
        ) from None


@dataclass(frozen=True)
class DataConfig:
    """What every command asks about the corpus; a column of ``none`` means none."""

    data: str = option(
        "auctions:3000",
        "auctions:N, a .jsonl, .csv, .tsv or .parquet file (also .gz), or hf:owner/name",
        is_path=True,
    )
    text_column: str = option("text", "column of the texts")
    target_column: str = option("price", "column of the numbers to predict")
    group_column: str = option("none", "rows with the same value here stay in one part")
    time_column: str = option("none", "train on the earliest rows, test on the latest")
    limit: int = option(0, "use this many rows, chosen by hash; 0 for all")
    max_rejected: float = option(MAX_REJECTED, "share of unusable rows above which to stop")
    show_texts: bool = option(
        True, "false: no part of a text or row is logged; examples then name lines alone"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        check_range("limit", self.limit, 0)
        check_range("max_rejected", self.max_rejected, 0.0, 1.0)


def command(entry_point: str, config: DataConfig, **parameters: str) -> str:
    """Write the command that runs another entry point on the same data, ready to be pasted."""
    values: dict[str, object] = {}
    for field in dataclasses.fields(DataConfig):
        value = getattr(config, field.name)
        if field.name == "data" or value != field.default:
            values[field.name] = value
    values["data"] = anywhere(config.data)
    pairs = [f"{name}={value}" for name, value in (values | parameters).items()]
    words = " ".join(f"-P {shlex.quote(pair)}" for pair in pairs)
    return f"mlflow run . -e {entry_point} --env-manager local {words}"


def anywhere(data: str) -> str:
    """Name a file by its full path: `mlflow run` starts in another folder."""
    path = Path(data).expanduser()
    return str(path.absolute()) if path.exists() else data


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a number outside [low, high].

    Raises:
        InputError: it is outside, or not a number.
    """
    if not low <= value <= high:
        expected = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise InputError(f"{name}={value}", expected, f"give another {name}, or leave it out")


def check_unit(unit: str) -> None:
    """Refuse a unit of the target that would not fit behind a number.

    Raises:
        InputError: it is empty, has more than ``UNIT_LETTERS`` letters, blanks around it, or a
            line break in it.
    """
    if not unit.isprintable() or unit != unit.strip() or not 0 < len(unit) <= UNIT_LETTERS:
        raise InputError(
            f"unit={unit[: 2 * UNIT_LETTERS]!r}",
            f"1 to {UNIT_LETTERS} letters on one line, such as USD, or none",
            "write a short form of it",
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        InputError: it is none of them.
    """
    if value not in choices:
        raise InputError(f"{name}={value!r}", " or ".join(choices), f"choose one for {name}")


def names(parameter: str, value: str, known: Sequence[str]) -> tuple[str, ...]:
    """Read names with commas between; ``none`` for no name at all.

    Raises:
        InputError: a name is unknown, or stands there twice.
    """
    found = tuple(word.strip() for word in value.split(",")) if value != "none" else ()
    for place, name in enumerate(found):
        if name not in known or name in found[:place]:
            raise InputError(
                f"{name!r} in {parameter}={value!r}",
                f"names from {', '.join(known)} with commas between, each once, or none",
                f"correct {parameter}, or leave it out for its default",
            )
    return found


def whole_numbers(parameter: str, value: str) -> tuple[int, ...]:
    """Read different whole numbers from 0 to ``MAX_SEED``, with commas between.

    Raises:
        InputError: a word is no such number, or stands there twice.
    """
    words = [word.strip() for word in value.split(",")]
    for place, word in enumerate(words):
        is_number = word.isascii() and word.isdigit() and int(word) <= MAX_SEED
        if not is_number or int(word) in map(int, words[:place]):
            raise InputError(
                f"{word!r} in {parameter}={value!r}",
                f"different whole numbers from 0 to {MAX_SEED}, with commas between",
                f"correct {parameter}, or leave it out for its default",
            )
    return tuple(map(int, words))


def sizes(parameter: str, value: str) -> tuple[float, ...]:
    """Read sizes as far as that goes without a corpus: 0, shares up to 1, and counts above.

    Args:
        parameter: whose value this is.
        value: numbers with commas between, in any order, each once.

    Raises:
        InputError: a word is no size of any corpus, or stands there twice.
    """
    found: list[float] = []
    for word in value.split(","):
        try:
            size = float(word)
        except ValueError:
            raise InputError(
                f"{word.strip()!r} in {parameter}={value!r}",
                "numbers: shares up to 1, or counts",
                f"write for instance {parameter}=0.5, or 1.0 for all",
            ) from None
        if not 0 <= size <= 1 and not (1 < size < math.inf and size == math.floor(size)):
            raise InputError(
                f"a subset size of {size:g} in {parameter}={value}",
                "0, a share up to 1, or a whole number of documents",
                "give shares as 0.25 and counts as 5000",
            )
        if 1 < size < MIN_DOCUMENTS:
            raise InputError(
                f"a subset size of {size:g} documents in {parameter}={value}",
                f"0, or at least {MIN_DOCUMENTS} documents",
                f"write {MIN_DOCUMENTS} or more in its place",
            )
        if size in found:
            raise InputError(
                f"{word.strip()!r} twice in {parameter}={value!r}",
                "numbers that differ, with commas between",
                f"leave it out once of {parameter}",
            )
        found.append(size)
    return tuple(found)


def settings(parameter: str, value: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Read ``name=value`` pairs with commas between.

    Args:
        parameter: whose value this is.
        value: the pairs.
        kinds: the names there are, each with the type of its value.

    Raises:
        InputError: a pair is no pair, its name is unknown or stands there twice, or its value has
            another type.
    """
    found: dict[str, Any] = {}
    for pair in value.split(","):
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or name not in kinds or name in found:
            raise InputError(
                f"{pair.strip()!r} in {parameter}={value!r}",
                f"name=value with commas between, each once, of {', '.join(kinds)}",
                f"correct {parameter}, or leave it out for its default",
            )
        found[name] = _read(name, text, kinds[name])
    return found


def _by_mlflow(first: dataclasses.Field[Any]) -> str:
    """Write the command that runs this entry point by MLflow, with its first parameter."""
    value = "RUN_ID" if first.default == "none" else first.default
    command = f"mlflow run . -e {Path(sys.argv[0]).stem} --env-manager local"
    return f"By MLflow: {command} -P {first.name}={value}".replace("%", "%%")


class _Parser(argparse.ArgumentParser):
    """Refuses a wrong command line as every other mistake is refused."""

    def error(self, message: str) -> NoReturn:
        raise InputError(
            f"a command line with a mistake: {message}",
            "the flags that --help lists, each with its value",
            f"correct it; {self.prog} --help lists them",
        )


def _renamed(argv: Sequence[str], known: Container[str]) -> list[str]:
    """Put the names of today for flags that a release before called otherwise, with a warning."""
    words = list(argv)
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        new = RENAMED.get(flag.removeprefix("--"))
        if flag.startswith("--") and new in known:
            sys.stderr.write(f"warning: {flag[2:]} is now {new}; the next release drops it\n")
            words[place] = f"--{new}{equals}{value}"
    return words


def parse(
    config_type: type[Config], argv: Sequence[str] | None = None, *, by_mlflow: bool = True
) -> Config:
    """Fill a config from the command line: one flag for each field, nothing else accepted.

    Args:
        config_type: a frozen dataclass whose fields were made with ``option``.
        argv: the words after the program's name; ``sys.argv[1:]`` when None.
        by_mlflow: `mlflow run` knows the command too, and the help says how.

    Raises:
        InputError: a flag is unknown, a value has the wrong type, or the dataclass refuses it.
        SystemExit: ``--help`` is among the words.
    """
    first = dataclasses.fields(config_type)[0]  # type: ignore[arg-type]
    parser = _Parser(
        prog=f"python -m entrypoints.{Path(sys.argv[0]).stem}",
        description=config_type.__doc__,
        epilog=_by_mlflow(first) if by_mlflow else None,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    kinds = typing.get_type_hints(config_type)
    for field in dataclasses.fields(config_type):  # type: ignore[arg-type]
        parser.add_argument(
            f"--{field.name}",
            default=field.default,
            metavar=kinds[field.name].__name__.upper(),
            help=field.metadata["help"].replace("%", "%%"),
        )
    words = sys.argv[1:] if argv is None else argv
    # Not by argparse's own ``type``: it would put its words in the place of ours.
    return filled(config_type, vars(parser.parse_args(_renamed(words, kinds))))


def filled(config_type: type[Config], given: Mapping[str, Any]) -> Config:
    """Fill a config from the texts of its fields.

    Args:
        config_type: a frozen dataclass whose fields were made with ``option``.
        given: texts by the names of fields; what is no string stays as it is.

    Raises:
        InputError: a text has the wrong type, or the dataclass refuses it.
    """
    kinds, values = typing.get_type_hints(config_type), dict(given)
    for field in dataclasses.fields(config_type):  # type: ignore[arg-type]
        value = values.get(field.name)
        if isinstance(value, str):
            _check_unicode(field.name, value)
            if field.metadata["is_path"] and value.startswith("~"):
                value = str(local_path(value))
            values[field.name] = _read(field.name, value, kinds[field.name])
    return config_type(**values)


def logged(config: Any) -> dict[str, Any]:
    """List a config's values as runs keep them: of a file, not where this machine has it."""
    values = dataclasses.asdict(config)
    return {
        name: tail(value) if isinstance(value, str) else value for name, value in values.items()
    }


def tail(value: str) -> str:
    """Shorten a full path: from the working folder on, or else to its last part."""
    path = Path(value)
    if not path.is_absolute():
        return value
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def short_name(value: str) -> str:
    """Shorten a path or a hub's id to its last part; other addresses stay."""
    if value.startswith(("runs:/", "models:/")):
        return value
    return value.rstrip("/").rpartition("/")[2]


def say(text: str = "") -> None:
    """Show a person a text; letters that the terminal cannot write are shown as escapes."""
    letters = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(letters, "backslashreplace").decode(letters) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def bar(
    what: str, total: float, unit: str, *, shown: bool = True, delay: float = 0.0
) -> Iterator[Any]:
    """Show how far long work has come, how fast, and how long it still takes.

    Args:
        what: is done.
        total: units of it.
        unit: in which it is counted.
        shown: False for a bar that nobody sees.
        delay: seconds before it appears: none appears for what is done sooner.

    Yields:
        A bar with ``update(n)`` and ``set_postfix_str(text)``; it redraws once a second at most.
    """
    with tqdm(
        total=total,
        desc=f"{what:<22}",
        unit=unit,
        unit_scale=True,
        mininterval=1.0,
        disable=not shown,
        delay=delay,
    ) as opened:
        yield opened


def main(
    run: Callable[[Config], None],
    config_type: type[Config],
    *,
    several_processes: bool = False,
    by_mlflow: bool = True,
    log_failure: Callable[[BaseException], None] = lambda error: None,
) -> None:
    """Run an entry point; a mistake of the user ends in one message and exit status 2.

    Args:
        run: what the entry point does.
        config_type: its parameters.
        several_processes: a launcher may start it in more than one process.
        by_mlflow: it is in MLproject.
        log_failure: notes the error of a command that fails under ``mlflow run`` before it has
            opened the run that waits for it.
    """
    with interrupts.raised():
        try:
            refuse_other_systems()
            config = parse(config_type, by_mlflow=by_mlflow)
            if not several_processes:
                refuse_launchers()
            TEXTS_SHOWN.set(getattr(config, "show_texts", True))
            run(config)
        except InputError as error:
            sys.stderr.write(f"error: {error}\n")
            _log_waiting(log_failure, error)
            raise SystemExit(USER_ERROR) from None
        except KeyboardInterrupt:
            sys.stderr.write(
                "\nstopped: what is finished is kept, and the same command goes on from there "
                "(with resume=false it begins anew)\n"
            )
            raise SystemExit(STOPPED) from None
        except Exception as error:
            _log_waiting(log_failure, error)
            if not (full := full_disk_refusal(error)):
                raise
            sys.stderr.write(f"error: {full}\n")
            raise SystemExit(USER_ERROR) from None


def refuse_other_systems() -> None:
    """Refuse systems without Linux's locks between processes and its account of them in /proc.

    Raises:
        InputError: this is such a system.
    """
    if sys.platform != "linux":
        raise InputError(
            f"the system {sys.platform}",
            "Linux: what runs at once is kept apart by its file locks and its /proc",
            "run this in a Linux container or virtual machine (on Windows: WSL 2)",
        )


def refuse_launchers() -> None:
    """Refuse to do one process's work in several.

    Raises:
        InputError: a launcher has started this process beside others.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate launch
    if started > 1:
        raise InputError(
            f"{started} processes",
            "one: only the finetune command shares its work between processes",
            "start this command without a launcher, or launch entrypoints.finetune",
        )


def _log_waiting(log_failure: Callable[[BaseException], None], error: BaseException) -> None:
    """Note an error where ``mlflow run`` has made a run that the command has not taken over yet."""
    if os.environ.get("MLFLOW_RUN_ID"):  # MLflow removes it when the run is taken over
        log_failure(error)


def full_disk_refusal(error: BaseException) -> InputError | None:
    """Say what to do where an error comes of a full disk; None where it comes of something else."""
    if not (message := full_disk(error)):
        return None
    return InputError(
        f"a disk with no room left ({message})",
        "room for caches (BAT_HOME), for the tracking store, and for temporary files (TMPDIR)",
        "make room, or name places with room; the same command then goes on from what is finished",
    )


def full_disk(error: BaseException | None) -> str:
    """Find the words that say that a disk is full, in an error or, rather, in what led to it."""
    found = ""
    while error:
        lines = [line for line in str(error).splitlines() if any(words in line for words in FULL)]
        found = lines[0] if lines else found
        error = error.__cause__ or error.__context__
    return found
