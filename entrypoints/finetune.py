"""``mlflow run . -e finetune``: tune one encoder on the bare texts of a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option


@dataclass(frozen=True)
class FinetuneConfig(cli.DataConfig):
    """Tune an encoder by masked-language modelling; SentenceTransformer opens the result."""

    base_model: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP)
    documents: str = option("all", "how many of the training part: a count, a share, or all")
    finetune_on: str = option("train", "train; or all, test texts included (transductive)")
    mask_share: float = option(0.2, "share of the tokens that is masked")
    whole_words: bool = option(False, "mask the tokens of a word together")
    learning_rate: float = option(1e-4, "highest learning rate")
    passes: int = option(1, "times each document is seen")
    tuned_share: float = option(
        0.5, "how far the weights lie on the way from the factory's (0) to the tuned ones (1)"
    )
    seed: int = option(0, "of order and masks")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        super().__post_init__()
        cli.check_range("seed", self.seed, 0, cli.MAX_SEED)
        cli.check_range("passes", self.passes, 1, 100)
        cli.check_range("mask_share", self.mask_share, 0.01, 0.9)
        cli.check_range("learning_rate", self.learning_rate, 1e-8, 1.0)
        cli.check_range("tuned_share", self.tuned_share, 0.01, 1.0)
        cli.check_choice("finetune_on", self.finetune_on, ("train", "all"))
        if "," in self.documents:
            raise cli.InputError(
                f"documents={self.documents!r}",
                "one size: a count, a share, or all",
                "tune several sizes with scaling_study",
            )


def run(config: FinetuneConfig) -> None:
    """Tune one encoder and log it with the story of its tuning."""
    from bat import corpus, encoder, mlm, records, report, study, tracking, units

    loaded = study.load(config)
    base = encoder.open_encoder(tracking.resolve(config.base_model), name=config.base_model)
    prepared = study.prepare(loaded, base)
    texts = study.tuning_texts(prepared, seed=config.seed, finetune_on=config.finetune_on)
    share = "1.0" if config.documents == "all" else config.documents
    (size,) = corpus.parse_sizes(share, len(texts), "documents")
    cli.check_range("documents", size, corpus.MIN_DOCUMENTS)
    recipe = mlm.Recipe(
        config.learning_rate,
        config.mask_share,
        passes=config.passes,
        whole_words=config.whole_words,
        tuned_share=config.tuned_share,
        seed=config.seed,
    )
    held_out = study.held_out_texts(prepared, config.finetune_on)
    asked = study.Pass(texts, [size], recipe, held_out)
    if not mlm.is_main():  # started by a launcher: the first process alone logs and speaks
        list(study.tune(base, asked))
        return
    with units.in_use(), tracking.run("finetune") as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in report.findings_records(prepared):
            tracker.log(record)
        (tuned,) = study.tune(base, asked)
        for record in study.tuning_records(tuned, prepared):
            tracker.log(record)
    cli.say(report.tuning_text(tuned, base.name, tracker.run_id))


if __name__ == "__main__":
    cli.main(run, FinetuneConfig, several_processes=True)
