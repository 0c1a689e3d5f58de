"""``mlflow run . -e finetune``: tune one encoder on the bare texts of a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option
from entrypoints import _failure


@dataclass(frozen=True)
class FinetuneConfig(cli.DataConfig):
    """Tune an encoder by masked-language modelling; SentenceTransformer opens the result."""

    base_model: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP, is_path=True)
    documents: str = option("all", "how many of the training part: a count, a share, or all")
    finetune_on: str = option("train", "train; or all, held-out texts included (transductive)")
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
        if self.documents == "all":
            return
        size, *others = cli.sizes("documents", self.documents)
        if others or not size:
            raise cli.InputError(
                f"documents={self.documents}",
                "one size: a count, a share, or all",
                "tune several sizes with scaling_study",
            )


def run(config: FinetuneConfig) -> None:
    """Tune one encoder and log it with the story of its tuning."""
    from bat import cache

    with cache.in_use():
        _run(config)


def _run(config: FinetuneConfig) -> None:
    from bat import records
    from bat.models import encoder_opening
    from bat.registry import reading, store, tracking
    from bat.report import runs, terminal
    from bat.tuning import loop, masked_model, precision
    from bat.tuning.objectives import mlm
    from bat.workflow import feasible, graph, local, preparation, stages, study, tasks
    from bat.workflow.spec import StudySpec

    if loop.is_main():  # of several processes the first alone logs
        store.check()
    with tracking.log_refusal("finetune"):
        loaded = preparation.load(config)
    base = encoder_opening.open_encoder(reading.resolve(config.base_model), name=config.base_model)
    masked_model.refuse_untunable(base)
    prepared = preparation.prepare(loaded, base)
    recipe = mlm.Recipe(
        config.learning_rate,
        config.mask_share,
        passes=config.passes,
        whole_words=config.whole_words,
        tuned_share=config.tuned_share,
    )
    share = "1.0" if config.documents == "all" else config.documents
    orders = feasible.orders(prepared.corpus, [config.seed], config.finetune_on)
    (size,) = feasible.sizes(base, orders, recipe, share, parameter="documents")
    wanted = StudySpec((size,), (config.seed,), 0, recipe, finetune_on=config.finetune_on)
    context = tasks.Context(base, prepared, wanted)
    task = graph.encoders(context, graph.Curve("mlm", config.seed))[size]
    if not loop.is_main():  # started by a launcher: the first process alone logs and speaks
        list(local.execute(context, [task]))
        return
    about = [cli.short_name(config.data), cli.short_name(config.base_model), f"{size} documents"]
    with tracking.run("finetune", about=about, show_texts=config.show_texts) as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in runs.findings_records(prepared):
            tracker.log(record)
        tracker.log(records.Tags(precision.facts()))
        list(local.execute(context, [task]))
        tuned = stages.read_tuned(task.unit.folder)
        for record in study.tuning_records(tuned, prepared):
            tracker.log(record)
    evaluate = cli.command("evaluate", config, encoder=f"runs:/{tracker.run_id}/encoder")
    cli.say(terminal.tuning_text(tuned, base.name, evaluate))


if __name__ == "__main__":
    cli.main(run, FinetuneConfig, several_processes=True, log_failure=_failure.log)
