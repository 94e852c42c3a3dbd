"""What was trained and how it was evaluated: settings, seeds, dates, versions, machines and commands."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from recbole_tme.report import sheets
from recbole_tme.report.looks import Looks
from recbole_tme.report.made import common_and_odd, dates, settings_told
from recbole_tme.report.markup import code, table_with_note
from recbole_tme.report.section import Section
from recbole_tme.report.sheets import NOTHING, Sheet


def about_block(section: Section, looks: Looks, plan: Mapping) -> str:
    """The table of what was trained, the facts that hold for all, and the commands."""
    return f"{table_with_note(_trained(section), looks)}\n{_facts(section, plan)}\n{_commands(section, looks)}"


def _trained(section: Section) -> Sheet:
    told, _ = settings_told(section)
    rows = [
        [
            model.name,
            told[model.name] or NOTHING,
            ", ".join(map(str, model.seeds)),
            dates(model.made) or NOTHING,
            sheets.tuning(model.tuning),
        ]
        for model in section.models
    ]
    note = "Settings in which the models differ; of a model without training only its own; dates are UTC"
    head = ["model", "settings", "seeds", "started", "tuning"]
    head, rows = (head, rows) if any(model.tuning for model in section.models) else (head[:-1], [r[:-1] for r in rows])
    return Sheet("trained", "What was trained", head, rows, note, len(head))


def _facts(section: Section, plan: Mapping) -> str:
    protocol = section.protocol
    _, shared = settings_told(section)
    rows = [
        ("Protocol", escape("; ".join(protocol.lines()))),
        ("Fingerprint", code(protocol.fingerprint)),
        ("Data", f"{protocol.train_instances:,} training instances, {protocol.valid_instances:,} for validation"),
        ("Reference", escape(section.reference)),
    ]
    if shared:
        text = " ".join(f"{key}={value}" for key, value in shared.items())
        rows.append(
            (
                "Shared settings",
                f"<details><summary>{len(shared)} of the trained models</summary>{code(text)}</details>",
            )
        )
    for title, of in (("Versions", "versions"), ("Machine", "machine")):
        found = common_and_odd(section, of)
        for text, names in found:
            who = "" if len(found) == 1 else f' <span class="quiet">({escape(", ".join(names))})</span>'
            rows.append((title, escape(text) + who))
    if not any(model.tuning for model in section.models):
        rows.append(("Tuning", "no tuning budget is recorded for these runs"))
    if plan.get("command"):
        rows.append(("Made by", code(plan["command"])))
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in rows)}</dl>"


def _commands(section: Section, looks: Looks) -> str:
    rows = [
        f"<dt>{looks[model.name].chip}</dt><dd>{code(made.command)}</dd>"
        for model in section.models
        for made in model.made
        if made.command
    ]
    if not rows:
        return ""
    return f'<details><summary>Commands of the runs</summary><dl class="commands">{"".join(rows)}</dl></details>'
