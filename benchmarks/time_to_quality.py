"""CPU time until a model is as good on validation as RecBole's SRGNN is at its best epoch.

    python benchmarks/time_to_quality.py --data dataset_atomic/tmall --name tmall --out runs/quality --budget 600

RecBole's SRGNN trains as it is shipped: its settings, trainer, loader and evaluation; ours with their defaults and with
what their names say. Each has a process of its own, and whoever has had the least CPU time trains its next epoch, so
that all meet the same machine. What counts is the time of reading the data, building the model, training and
validating, after the imports. A competitor ends after ``--patience`` epochs without a better MRR@20.

What was trained is kept in ``--out``: the same command goes on where it was stopped, or where the budget ended.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

from load import machine

PEER = "RecBole SRGNN"
# Our competitors: model and settings.
OURS: dict[str, tuple[str, dict]] = {
    "SRGNN full": ("SRGNN", {"loss_type": "full"}),
    "SRGNN sampled 2,048": ("SRGNN", {"loss_type": "sampled", "n_sampled": 2048}),
    "TMEGNN full": ("TMEGNN", {"loss_type": "full"}),
    "TMEGNN sampled 2,048": ("TMEGNN", {"loss_type": "sampled", "n_sampled": 2048}),
    "DANSeR full": ("DANSeR", {"loss_type": "full", "neighbours": False}),
    "DANSeR sampled 2,048": ("DANSeR", {"loss_type": "sampled", "n_sampled": 2048, "neighbours": False}),
}
METRIC = "mrr@20"


def main() -> None:
    args = arguments()
    folder = args.out / args.name
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [PEER, *OURS] if args.models is None else args.models
    began = time.monotonic()
    running: dict[str, _Side] = {}
    try:
        while time.monotonic() - began < args.budget:
            open_ones = [name for name in chosen if not finished(history(folder, name), args)]
            if not open_ones:
                break
            # Each has its turn by the CPU time that it has had so far.
            name = min(open_ones, key=lambda name: spent(history(folder, name)))
            if name not in running:
                running[name] = _Side(name, args, folder)
            running[name].epoch()
            print(f"{name}: {history(folder, name)[-1]}", flush=True)
            if finished(history(folder, name), args):
                running.pop(name).end()
    finally:
        for side in running.values():
            side.end()
    print(report(args, {name: history(folder, name) for name in chosen}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("dataset_atomic/tmall"), help="folder of atomic files")
    parser.add_argument("--name", default="tmall", help="the name its files begin with")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="what was trained, to go on from")
    parser.add_argument("--budget", type=float, default=600, help="seconds on the clock (%(default)s)")
    parser.add_argument("--patience", type=int, default=3, help="epochs without improvement (%(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--models", nargs="*", choices=(PEER, *OURS), help="default: all")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all of ours")
    return parser.parse_args()


def history(folder: Path, name: str) -> list[dict]:
    """The epochs of a competitor: CPU seconds since it began, and the validation MRR@20."""
    file = file_of(folder, name, "jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def file_of(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{name.replace(' ', '-').replace(',', '')}.{kind}"


def spent(rows: list[dict]) -> float:
    return rows[-1]["cpu"] if rows else 0.0


def finished(rows: list[dict], args: argparse.Namespace) -> bool:
    if not rows:
        return False
    values = [row[METRIC] for row in rows]
    return len(rows) >= args.epochs or len(rows) - 1 - values.index(max(values)) >= args.patience


class _Side:
    """The process of a competitor."""

    def __init__(self, name: str, args: argparse.Namespace, folder: Path):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, name, vars(args), folder), daemon=True)
        self.process.start()
        theirs.close()
        self.name = name

    def epoch(self) -> None:
        self.pipe.send("epoch")
        try:
            self.pipe.recv()
        except EOFError:
            raise SystemExit(f"{self.name} failed; its error is above") from None

    def end(self) -> None:
        self.pipe.close()
        self.process.join()


def work(pipe, name: str, settings: dict, folder: Path) -> None:
    """Train an epoch whenever asked; a state to go on from is left after each."""
    import torch

    # Both sides' imports, so that they count for none.
    from _sides import get_model, keep_freed_memory, read_dataset, validation_cut

    get_model("SRGNN")
    torch.set_num_threads(1)
    rows, state_file = history(folder, name), file_of(folder, name, "pt")
    with tempfile.TemporaryDirectory() as place:
        data = validation_cut(read_dataset(settings["data"], settings["name"]), 0.1)
        if name == PEER:
            side = stock_side(data, Path(place))
            began = time.process_time()
            trainer, train, validate = side(settings["seed"])
        else:
            del data
            began = time.process_time()
            data = validation_cut(read_dataset(settings["data"], settings["name"]), 0.1)
            keep_freed_memory()
            trainer, train, validate = our_side(data, Path(place), name, settings)
        before = 0.0
        if rows:
            restore(trainer, state_file)
            # Reading the data counts once.
            before, began = spent(rows), time.process_time()
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            train(len(rows))
            value = validate()
            rows.append({"epoch": len(rows), "cpu": before + time.process_time() - began, METRIC: value})
            keep(trainer, state_file)
            with file_of(folder, name, "jsonl").open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            # Keeping the state is this benchmark's own work.
            before, began = rows[-1]["cpu"], time.process_time()
            pipe.send("done")


def our_side(data, folder: Path, name: str, settings: dict):
    """Our trainer with its loaders: what trains an epoch, and what validates."""
    from _sides import OurSide

    from recbole_tme.config.load import parse_overrides
    from recbole_tme.experiment.surroundings import deterministic

    model, own = OURS[name]
    own = own | {"seed": settings["seed"]} | parse_overrides([f"--{one}" for one in settings["set"]])
    trainer, loaders = OurSide(data, folder, 512).trainer(model, **own)

    def train(epoch: int) -> None:
        with deterministic(trainer.config["reproducibility"]):
            trainer._train_epoch(loaders[0], epoch)
        trainer.scheduler.step()

    return trainer, train, lambda: trainer.evaluate_model(trainer.model, loaders[1])[METRIC]


def stock_side(data, folder: Path):
    """RecBole's own settings, loader, trainer and evaluation; its files are written before anything is timed."""
    import _stock

    _stock.write_presplit(data, folder)

    def side(seed: int):
        import torch
        from _sides import Trainer, get_model, init_seed, tensorboard_in

        measured = {"metrics": ["MRR"], "topk": [20], "valid_metric": "MRR@20", "show_progress": False, "seed": seed}
        measured["metric_decimal_place"] = 6
        config = _stock.make_config(folder, data.name, 50, 2048, "SRGNN", eval_batch_size=4096, **measured)
        init_seed(config["seed"], config["reproducibility"])
        loaders = _stock.loaders(config)
        with tensorboard_in(None):
            trainer = Trainer(config, get_model("SRGNN")(config, loaders[0].dataset))
        # As RecBole's import leaves it for its users; our package switches it off.
        torch.autograd.set_detect_anomaly(True)

        def train(epoch: int) -> None:
            trainer._train_epoch(loaders[0], epoch, show_progress=False)

        return trainer, train, lambda: float(trainer._valid_epoch(loaders[1])[1][METRIC])

    return side


def keep(trainer, file: Path) -> None:
    """Write what :func:`restore` needs."""
    import torch

    state = {"model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict()}
    if hasattr(trainer, "scheduler"):
        state["scheduler"] = trainer.scheduler.state_dict()
    torch.save(state, file)


def restore(trainer, file: Path) -> None:
    """Go on from a state; the order of the next epochs' batches is another than without the stop."""
    import torch

    state = torch.load(file)
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    if "scheduler" in state:
        trainer.scheduler.load_state_dict(state["scheduler"])


def report(args: argparse.Namespace, found: dict[str, list[dict]]) -> str:
    """When each was as good as RecBole's SRGNN at its best, as a Markdown table."""
    peer = found.get(PEER) or []
    target = max((row[METRIC] for row in peer), default=float("nan"))
    reference = first_at(peer, target)
    state = "at its best epoch" if finished(peer, args) else "so far (not finished)"
    lines = [
        f"{args.name}: RecBole's SRGNN reaches a validation MRR@20 of {100 * target:.2f} {state}; CPU seconds at one "
        "thread, with reading, building and validation.",
        "",
        "| model | an epoch, s | as good after, epochs | CPU, s | of RecBole's | best MRR@20 | at epoch |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rows in found.items():
        if not rows:
            continue
        best = max(rows, key=lambda row: row[METRIC])
        reached = first_at(rows, target)
        when = ["", "not yet", ""]
        if reached is not None:
            when = [str(reached["epoch"] + 1), f"{reached['cpu']:.0f}", f"1/{reference['cpu'] / reached['cpu']:.1f}"]
        ongoing = "" if finished(rows, args) else ", not finished"
        lines.append(
            f"| {name} | {rows[-1]['cpu'] / len(rows):.1f} | {' | '.join(when)} | {100 * best[METRIC]:.2f} | "
            f"{best['epoch'] + 1}{ongoing} |"
        )
    return "\n".join([*lines, "", machine()])


def first_at(rows: list[dict], target: float) -> dict | None:
    return next((row for row in rows if row[METRIC] >= target), None)


if __name__ == "__main__":
    main()
