"""A frozen dataclass becomes command-line flags, and the flags become the dataclass again."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import signal
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

Config = TypeVar("Config")

MAX_SEED = 2**31 - 1  # what every library takes
STOPPED = 130  # what shells say of a command that Ctrl-C ended
TOGETHER_SECONDS = 2  # `mlflow run` hands a Ctrl-C on that has reached the command already
# How the system, SQLite and XGBoost say that a disk is full.
FULL = ("No space left on device", "Disk quota exceeded", "disk is full", "Write incomplete")
USER_ERROR = 2  # what argparse exits with for a wrong command line; ours for every mistake


DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_BASELINES = ("median", "lengths", "tfidf", "ridge", "static")
FEATURES = TUNED, FACTORY_TUNED = "tuned", "factory+tuned"  # what a tuned arm's regressor reads
BASELINES = (*DEFAULT_BASELINES, "supervised")  # which takes as long as three passes of tuning
ENCODER_HELP = "hub id, folder, or a runs:/ or models:/ address"


class InputError(ValueError):
    """A mistake in what the user gave: says what was got, what was expected, and what to do."""

    def __init__(self, got: str, expected: str, remedy: str) -> None:
        """Keep the three sentences; ``str()`` joins them, one a line."""
        super().__init__(f"got {got}\n  expected: {expected}\n  remedy:   {remedy}")
        self.sentences = (got, expected, remedy)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Let another process raise it again."""
        return InputError, self.sentences


def option(default: object, text: str) -> Any:
    """Declare one field of a config: its default and the sentence that ``--help`` shows."""
    return dataclasses.field(default=default, metadata={"help": text})


def _truth(text: str) -> bool:
    """Read true or false; ``bool("false")`` would be true."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.strip().lower() not in words:
        raise ValueError
    return words[text.strip().lower()]


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
        "auctions:3000", "auctions:N, a .jsonl, .csv or .parquet file (also .gz), or hf:owner/name"
    )
    text_column: str = option("text", "column of the texts")
    price_column: str = option("price", "column of the prices")
    group_column: str = option("none", "rows with the same value here stay in one part")
    time_column: str = option("none", "train on the earliest rows, test on the latest")
    limit: int = option(0, "use this many rows, chosen by hash; 0 for all")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        check_range("limit", self.limit, 0)


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a number outside [low, high].

    Raises:
        InputError: it is outside, or not a number.
    """
    if not low <= value <= high:
        expected = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise InputError(f"{name}={value}", expected, f"give another {name}, or leave it out")


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
    asked = tuple(word.strip() for word in value.split(",")) if value != "none" else ()
    for place, name in enumerate(asked):
        if name not in known or name in asked[:place]:
            raise InputError(
                f"{name!r} in {parameter}={value!r}",
                f"names from {', '.join(known)} with commas between, each once, or none",
                f"correct {parameter}, or leave it out for its default",
            )
    return asked


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
        name, equals, said = (part.strip() for part in pair.partition("="))
        if not equals or name not in kinds or name in found:
            raise InputError(
                f"{pair.strip()!r} in {parameter}={value!r}",
                f"name=value with commas between, each once, of {', '.join(kinds)}",
                f"correct {parameter}, or leave it out for its default",
            )
        found[name] = _read(name, said, kinds[name])
    return found


def parse(config_type: type[Config], argv: Sequence[str] | None = None) -> Config:
    """Fill a config from the command line: one flag for each field, nothing else accepted.

    Args:
        config_type: a frozen dataclass whose fields were made with ``option``.
        argv: the words after the program's name; ``sys.argv[1:]`` when None.

    Raises:
        InputError: a value has the wrong type, or the dataclass refuses it.
        SystemExit: ``--help`` was asked for, or a flag is unknown.
    """
    first = dataclasses.fields(config_type)[0]  # type: ignore[arg-type]
    parser = argparse.ArgumentParser(
        prog=f"python -m entrypoints.{Path(sys.argv[0]).stem}",
        description=config_type.__doc__,
        epilog=(
            f"By MLflow: mlflow run . -e {Path(sys.argv[0]).stem} --env-manager local "
            f"-P {first.name}=..."
        ),
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
    given = vars(parser.parse_args(argv))
    # Not by argparse's own ``type``: it would put its words in the place of ours.
    values = {
        name: _read(name, value, kinds[name]) if isinstance(value, str) else value
        for name, value in given.items()
    }
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


def say(text: str = "") -> None:
    """Show a person a text."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def bar(what: str, total: float, unit: str, *, shown: bool = True) -> Iterator[Any]:
    """Show how far long work has come, how fast, and how long it still takes.

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
    ) as opened:
        yield opened


def main(
    run: Callable[[Config], None], config_type: type[Config], *, several_processes: bool = False
) -> None:
    """Run an entry point; a mistake of the user ends in one message and exit status 2.

    Args:
        run: what the entry point does.
        config_type: its parameters.
        several_processes: a launcher may start it in more than one process.
    """
    before = {asked: signal.getsignal(asked) for asked in (signal.SIGINT, signal.SIGTERM)}
    for asked, handler in before.items():
        if handler is not signal.SIG_IGN:  # a job in the background does not hear Ctrl-C
            signal.signal(asked, _stop)
    try:
        config = parse(config_type)
        started = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate launch
        if started > 1 and not several_processes:
            raise InputError(
                f"{started} processes",
                "one: only the finetune command shares its work between processes",
                "start this command without a launcher, or launch entrypoints.finetune",
            )
        run(config)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(USER_ERROR) from None
    except KeyboardInterrupt:
        sys.stderr.write(
            "\nstopped: what is finished is kept, and the same command goes on from there "
            "(with resume=false it begins anew)\n"
        )
        raise SystemExit(STOPPED) from None
    except Exception as error:
        if not (said := _full_disk(error)):
            raise
        full = InputError(
            f"a disk with no room left ({said})",
            "room for caches (BAT_HOME), for the tracking store, and for temporary files (TMPDIR)",
            "make room, or name places with room; the same command then goes on from what is "
            "finished",
        )
        sys.stderr.write(f"error: {full}\n")
        raise SystemExit(USER_ERROR) from None
    finally:
        for asked, handler in before.items():
            signal.signal(asked, handler)


def _full_disk(error: BaseException | None) -> str:
    """Find the words that say that a disk is full, in an error or, rather, in what led to it."""
    found = ""
    while error:
        lines = [line for line in str(error).splitlines() if any(told in line for told in FULL)]
        found = lines[0] if lines else found
        error = error.__cause__ or error.__context__
    return found


@dataclass
class _Stop:
    """A request to end that waits until something short is whole."""

    depth: int = 0  # of the blocks that are not to be broken off
    asked: bool = False
    last: float = -math.inf  # when it was asked


_STOP = _Stop()


def _stop(number: int, frame: object) -> None:
    """Take a request to end as Ctrl-C is taken: runs are closed, and a word is said."""
    before, _STOP.last = _STOP.last, time.monotonic()
    if _STOP.last - before < TOGETHER_SECONDS:
        return
    if _STOP.depth and not _STOP.asked:  # who asks twice is in a hurry
        _STOP.asked = True
        sys.stderr.write("\nstopping when this is logged; ask again to break off\n")
        return
    _STOP.asked = False
    raise KeyboardInterrupt


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Let a request to end wait for the end of the block.

    A database that is broken off in a transaction stays locked, and its run could not be closed.

    Raises:
        KeyboardInterrupt: at the end of the outermost block, if the user asked meanwhile.
    """
    _STOP.depth += 1
    try:
        yield
    except BaseException:
        _STOP.asked = False  # the block has broken off for another reason, which is to be heard
        raise
    finally:
        _STOP.depth -= 1
    if _STOP.asked and not _STOP.depth:
        _STOP.asked = False
        raise KeyboardInterrupt
