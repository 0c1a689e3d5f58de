"""``python -m entrypoints.cache``: what does the cache hold, and what of it may go?"""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option


@dataclass(frozen=True)
class CacheConfig:
    """Show what lies in BAT_HOME by kind, size and age, and remove what is named."""

    remove: str = option(
        "none", "none, damaged (set aside), drafts (half done), a kind of the table, or all"
    )
    older_than_days: float = option(0.0, "remove only what is older")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        cli.check_range("older_than_days", self.older_than_days, 0.0)


def run(config: CacheConfig) -> None:
    """Show the cache, remove what is named, and show what is left."""
    from bat import cache

    found = cache.entries()
    unwanted = cache.chosen(found, config.remove, config.older_than_days)
    cli.say(cache.text(found))
    if config.remove == "none":
        return
    cache.remove(unwanted)
    left = cache.entries()
    cli.say(f"\nRemoved {config.remove}: {len(found) - len(left):,} of {len(found):,}.")
    cli.say(cache.text(left))


if __name__ == "__main__":
    cli.main(run, CacheConfig, by_mlflow=False)
