"""One page per model, made from its docstring, its property file, its search space and the results in results/."""

from __future__ import annotations

import functools
import inspect
import statistics
from collections.abc import Iterable
from pathlib import Path

import yaml
from docstrings import as_markdown
from key_pages import key_table
from page_tables import table

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.models import registry
from recbole_tme.report.experiments import MARK
from recbole_tme.report.overview import chosen_by_validation, of_common_protocol
from recbole_tme.report.tables import read_results
from recbole_tme.schema.keys import property_keys

ROOT = Path(__file__).parents[2]
METRICS = ("hit@20", "mrr@20", "hit@10", "mrr@10", "hit@5", "mrr@5")
SHARED = "SessionRecommender"


def model_names() -> list[str]:
    """Our models, those that are trained first."""
    return sorted(registry.OUR_MODELS, key=lambda name: ("training_free" in registry.OUR_MODELS[name], name.lower()))


def index_page() -> str:
    """All models, ours and RecBole's, with one line each."""
    listed = {model.name: model for model in registry.list_models()}
    ours = [[f"[{name}]({name}.md)", listed[name].description] for name in model_names()]
    head = ["model", "what it is"]
    trained = [row for row, name in zip(ours, model_names()) if not _is_training_free(name)]
    counted = [row for row, name in zip(ours, model_names()) if _is_training_free(name)]
    return "\n\n".join(
        [
            "# Models",
            "Every model below is trained, evaluated, compared, tuned, exported and served by the same commands. "
            "`recbole-tme list models` prints this list.",
            f"## Trained\n\n{table(head, trained)}",
            "## Without training\n\nThese models count what happened in the training sessions. They are fitted in "
            f"seconds, and no seed changes them.\n\n{table(head, counted)}",
            "## RecBole's\n\nEvery sequential model of RecBole that needs nothing but sessions runs as well, see "
            "[RecBole's own models](recbole.md).",
        ]
    )


def builtin_page() -> str:
    """RecBole's models that run here, those that do not, and why."""
    from recbole_tme.models.builtin import discovery

    runs = [[f"`{one.name}`", one.description] for one in registry.list_models() if one.origin == "RecBole"]
    refused = [[f"`{name}`", f"{why}."] for name, why in sorted(discovery.REFUSED.items())]
    figures = sorted({result["model"] for result in _results() if result["model"].startswith("recbole:")})
    return "\n\n".join(
        [
            "# RecBole's own models",
            "They keep their own code, settings and defaults; data, trainer and evaluation are those of every other "
            "model here. Where one of our models has the same name, write `recbole:` before RecBole's.",
            "```\nrecbole-tme run --model=recbole:SRGNN --dataset=tmall\n```",
            table(["model", "what it is"], runs),
            "## Figures\n\n" + _figures_intro(),
            *(f"### {name}\n\n{_figures([name])}" for name in figures),
            "## Models that cannot run on sessions\n\n" + table(["model", "why"], refused),
        ]
    )


def model_page(name: str) -> str:
    """What a model computes, its keys, its search space, its figures and its paper."""
    model_class = registry.resolve(name)
    text, source = as_markdown(inspect.getdoc(model_class) or "")
    code = Path(inspect.getsourcefile(model_class)).resolve().relative_to(ROOT)
    parts = [f"# {name}", text]
    if source:
        parts.append(f"**Source.** {source}")
    kind = "without training" if _is_training_free(name) else "trained"
    parts.append(f"**Code.** [`{code}`](../../{code}) ({kind})")
    if name == "Blend":
        parts.append("```\nrecbole-tme run --model=Blend --members=RUN,RUN --dataset=tmall\n```")
    else:
        parts.append(f"```\nrecbole-tme run --model={name} --dataset=tmall\n```")
    parts += ["## Figures", _figures_intro(), _figures(_rows_of(name))]
    if experiments := _experiments(name):
        parts += ["The settings behind the figures are files:", experiments]
    parts += ["## Keys", *_keys(model_class, name)]
    space = ROOT / "properties" / "space" / f"{name}.yaml"
    if space.is_file():
        shown = space.read_text(encoding="utf-8").rstrip()
        parts.append(f"## What `tune` searches\n\n```yaml\n{shown}\n```\n\nSee [tuning](../tuning.md).")
    return "\n\n".join(parts) + "\n"


def _is_training_free(name: str) -> bool:
    return "training_free" in registry.OUR_MODELS[name]


def _keys(model_class: type, name: str) -> Iterable[str]:
    """The keys of the model's own file and of the models it builds on; a link for those that all have."""
    lineage = [cls for cls in registry.lineage(model_class) if cls.__name__ != SHARED]
    shown = False
    for cls in reversed(lineage):
        file = registry.property_file(cls)
        if file is None or (cls.__name__ != name and _is_shared_base(file)):
            continue
        if cls.__name__ != name:
            yield f"From {cls.__name__}, on which it builds:"
        yield key_table(property_keys(file).values())
        shown = True
    if not shown:
        yield "It has no keys of its own."
    settings = "[the settings of every run](../reference/settings.md)"
    if any(cls.__name__ == SHARED for cls in registry.lineage(model_class)):
        yield f"Then those of [every session model](../reference/settings.md#session-models), and {settings}."
    else:
        yield f"Then {settings}."


def _is_shared_base(file: Path) -> bool:
    return file.stem == SHARED


def _rows_of(name: str) -> list[str]:
    models = sorted({result["model"] for result in _results()})
    return [model for model in models if model == name or model.startswith(f"{name}{registry.BACKBONE_SIGN}")]


def _figures_intro() -> str:
    return (
        "On the test sets, in per cent; settings chosen on validation, the mean where there are several seeds. "
        "[Results](../results.md) has all models and more columns."
    )


def _figures(models: list[str]) -> str:
    """A row per data set; of a model's settings those with the best validation."""
    rows = []
    for dataset, results in of_common_protocol(_results()).items():
        for model in models:
            chosen = chosen_by_validation([one for one in results if one["model"] == model])
            if chosen:
                means = [f"{100 * statistics.fmean(run['test'][metric] for run in chosen):.2f}" for metric in METRICS]
                seconds = statistics.fmean(run["epoch_seconds"] for run in chosen)
                rows.append([dataset, model, str(len(chosen)), *means, f"{seconds:.0f}"])
    if not rows:
        return "It has not been measured on these data sets yet."
    return table(["data set", "model", "seeds", *map(shown_name, METRICS), "seconds an epoch"], rows, text_columns=2)


def _experiments(name: str) -> str:
    """The experiment files of a model, with what was measured."""
    lines = []
    for file in sorted((ROOT / "properties" / "experiment").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        if yaml.safe_load(text)["model"] == name:
            measured = next((line for line in text.splitlines() if line.startswith(MARK)), MARK)
            lines.append(f"recbole-tme run --config_files=properties/experiment/{file.name}\n{measured}")
    return "```bash\n" + "\n".join(lines) + "\n```" if lines else ""


@functools.cache
def _results() -> list[dict]:
    return read_results([ROOT / "results"])
