"""Searches for good settings: python -m fervid.search --trials 30 'optimizer.lr=tag(log,interval(1e-5,1e-2))'.

What is searched is written as a sweep is: optimizer=sgd,adam dataset.batch_size=16,32,64
'head.dropout=interval(0,0.6)' 'optimizer.lr=tag(log,interval(1e-5,1e-2))'; all else as for fervid.train.
"""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from fervid.cli.command_line import alone, check_files, importing, job, run
from fervid.cli.overrides import printed_command
from fervid.cli.sweeps import sweep_name
from fervid.processes.ranks import take_place
from fervid.schema.atomic import cut_half_line
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.errors import InputError, first_line

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


def command() -> None:
    """Runs trials until there are enough, and says which was best."""
    take_place()  # trials are run one by one, whatever the environment says
    arguments = _arguments()
    overrides = OverridesParser.create().parse_overrides(arguments.settings)
    space = {override.get_key_element(): override for override in overrides if override.is_sweep_override()}
    if not space:
        raise InputError("nothing to search: give several values of a setting, such as optimizer=sgd,adam.")
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    folder = arguments.folder or Path("runs") / f"search-{sweep_name(arguments.settings)}"
    # A misspelt name is found here, before anything is loaded.
    first = {name: f"{name}={_ends(override)[0]}" for name, override in space.items()}
    for name, override in space.items():
        for value in _ends(override):
            config = _compose([*fixed, *(first | {name: f"{name}={value}"}).values()], folder, 0)
            check_files(config)

    from optuna.trial import TrialState

    _log()
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        study = _open_study(folder, arguments.settings, config)
        ended = len(study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]))
        if ended:
            log.info("going on: %d trials were run before.", ended)
        try:
            _run_trials(study, arguments.trials - ended, arguments.hours, fixed, space, folder)
        except (SystemExit, KeyboardInterrupt):
            log.warning("interrupted: run the same command again to resume.")
            if study.get_trials(states=[TrialState.COMPLETE]):
                _tell(study, fixed, folder)
            sys.exit(1)
        _tell(study, fixed, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fervid.search",
        description=__doc__,
        epilog="The same command goes on where it was stopped; with a larger --trials it goes on further. A trial that "
        "is worse than the median of those before, at the same epoch, is ended early. The test side is not looked at: "
        "test the best one, once, by the command that is printed at the end. All settings: fervid.train --help",
    )
    parser.add_argument("settings", nargs="*", metavar="setting=value", help="as for fervid.train")
    parser.add_argument("--trials", type=int, default=30, help="how many in all (30)")
    parser.add_argument("--hours", type=float, help="begin no trial after so many hours")
    parser.add_argument("--folder", type=Path, help="where the study and its runs lie (runs/search-<what is searched>)")
    return parser


def _arguments() -> argparse.Namespace:
    arguments = _parser().parse_intermixed_args()
    if arguments.trials < 1:
        raise InputError(f"--trials {arguments.trials} is no number of trials: give 1 or more.")
    if arguments.hours is not None and not arguments.hours > 0:
        raise InputError(f"--hours {arguments.hours} is no time: give more than 0.")
    return arguments


def _open_study(folder: Path, words: list[str], config: DictConfig) -> "optuna.Study":
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder.resolve() / "study.log"
    # Of a search that was killed while it wrote: no other is at work here.
    cut_half_line(path)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    try:
        study = optuna.create_study(
            study_name="fervid",
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
            direction="minimize" if config.finetune.monitor.endswith("loss") else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({first_line(error)}): choose another --folder, or remove it to search again."
        ) from error
    if study.user_attrs.get("words", words) != words:
        raise InputError(f"{folder} holds a search of other settings: choose another --folder, or remove it.")
    study.set_user_attr("words", words)
    repeated = {trial.user_attrs.get("repeats") for trial in study.trials}
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # it was interrupted or killed: run it again
        if trial.number not in repeated:
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    # The same draws again would be no search.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    return study


def _run_trials(
    study: "optuna.Study",
    count: int,
    hours: float | None,
    fixed: list[str],
    space: dict[str, Override],
    folder: Path,
) -> None:
    """Runs trials one by one. An interrupted one is left as running: ``study.optimize`` would call it failed."""
    import optuna
    from optuna.trial import TrialState

    began = time.monotonic()
    while count > 0 and (hours is None or time.monotonic() - began < 3600 * hours):
        count -= 1
        trial = study.ask()
        try:
            study.tell(trial, _try(trial, fixed, space, folder))
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except Exception:  # job() has logged it; the others go on
            study.tell(trial, state=TrialState.FAIL)


def _try(trial: "optuna.Trial", fixed: list[str], space: dict[str, Override], folder: Path) -> float:
    import optuna
    import pytorch_lightning as pl

    with importing():
        from fervid.train.training import train

    class Pruning(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trial.report(float(trainer.callback_metrics[monitor]), trainer.current_epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    drawn = [f"{name}={_draw(trial, name, override)}" for name, override in space.items()]
    place = folder / str(trial.number)
    place.mkdir(exist_ok=True)
    config = _compose([*fixed, *drawn], place, trial.number)
    monitor = config.finetune.monitor
    log.info("trial %d: %s", trial.number, " ".join(drawn))
    with job(config):
        try:
            score = train(config, [Pruning()], test=False)
        except optuna.TrialPruned:
            score = None
    if score is None:
        log.info("trial %d ended early: it promised too little.", trial.number)
        raise optuna.TrialPruned
    return score


def _draw(trial: "optuna.Trial", name: str, override: Override) -> Any:
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return trial.suggest_categorical(name, list(override.sweep_string_iterator()))
    assert value.start is not None
    assert value.end is not None
    low, high, logarithmic = value.start, value.end, "log" in value.tags
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=logarithmic)
    return trial.suggest_float(name, low, high, log=logarithmic)


def _ends(override: Override) -> list[Any]:
    """All values of a choice, both ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(override.sweep_string_iterator())


def _compose(overrides: list[str], folder: Path, number: int) -> DictConfig:
    """The configuration of a trial; Hydra is told that it is a job of a sweep."""
    setup_globals()
    with initialize_config_dir(CONFIG_FOLDER, job_name="search", version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.runtime.output_dir = str(folder.resolve())
    config.hydra.mode, config.hydra.job.num = RunMode.MULTIRUN, number
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def _log() -> None:
    from rich.logging import RichHandler

    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False, show_time=False)], force=True
    )


def _tell(study: "optuna.Study", fixed: list[str], folder: Path) -> None:
    from optuna.trial import TrialState
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    finished = study.get_trials(states=[TrialState.COMPLETE])
    if not finished:
        raise InputError(f"none of the {len(study.trials)} trials begun was finished: what went wrong is said above.")
    names = list(dict.fromkeys(name for trial in finished for name in trial.params))
    table = Table(title=f"the best of {len(study.trials)} trials, {len(finished)} of them run to the end")
    table.add_column("trial", justify="right")
    for name in names:
        table.add_column(escape(name))
    table.add_column("validation", justify="right")
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    for trial in sorted(finished, key=lambda trial: sign * float(trial.value or 0))[:10]:
        values = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in map(trial.params.get, names)]
        table.add_row(str(trial.number), *map(escape, values), f"{trial.value:.4f}")
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(table)
    # As Hydra has the words of a sweep: quoted where they must be.
    best = [f"{name}={value}" for name, value in study.best_params.items()]
    console.print(f"everything lies in {folder}; the best: {printed_command('fervid.train', [*fixed, *best], {})}")


def main() -> None:
    """The way in, also as ``fervid-search``."""
    run(command, "train", describe=_parser().format_help)
