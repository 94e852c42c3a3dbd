"""Which form of the catalogue loss is the quickest here: forward and backward, and how far its gradients are off."""

from __future__ import annotations

from collections.abc import Callable

import torch
from _part import Part, tf32, use_chunks
from step import loss_floor
from torch import Tensor
from torch.nn import functional as F

from recbole_tme.nn.losses import catalogue_cross_entropy

BATCH, SIZE, ITEMS = 512, 100, 40_727
CHUNKS = (128, 256, 512)
# Relative error of the gradients that a form in bfloat16 may have to be chosen.
TOLERANCE = 1e-2
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def main() -> None:
    part = Part()
    n_items, repeats = (500, 2) if part.toy else (ITEMS, 20)
    torch.manual_seed(0)
    sessions = torch.randn(BATCH, SIZE, device=part.device, requires_grad=True)
    table = (0.1 * torch.randn(n_items + 1, SIZE, device=part.device)).requires_grad_()
    target = torch.randint(1, n_items + 1, (BATCH,), device=part.device)
    factors = (sessions, table)
    exact = gradients(lambda: plain(sessions.double(), table.double(), target), factors)
    part.text = [
        f"Batch {BATCH}, {SIZE} numbers per item, {n_items:,} items; forward and backward, medians of {repeats}. The "
        "error is that of the gradients against float64.",
        "",
        "| form | ms | of the floor | error | peak, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    floors: dict[str, float] = {}
    chosen: list[str] = []
    rows = part.figures["rows"] = []
    for name, precision, with_tf32, form in forms(sessions, table, target):
        tf32(with_tf32)
        try:
            row = measure(part, name, form, factors, exact, repeats)
        except Exception as error:
            part.text.append(f"| {name} | failed: {type(error).__name__}: {str(error).splitlines()[:1]} | | | |")
            part.save()
            continue
        if name.startswith("floor"):
            floors[name.split(", ")[1]] = row["ms"]
        of_floor = row["ms"] / floors[precision]
        rows.append(row | {"precision": precision, "of_floor": of_floor})
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        part.text.append(f"| {name} | {row['ms']:.3f} | {of_floor:.2f} | {error} | {row['peak_mb']:.0f} |")
        # After each, as compiling the next may outlast the part.
        chosen = choose(part, rows)
        part.save()
    part.text += ["", *chosen, "", part.machine()]
    part.save()


def forms(sessions: Tensor, table: Tensor, target: Tensor):
    """``(name, precision, TF32, form)`` of each; a form returns the loss."""
    for precision, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        yield f"floor, {precision}", precision, precision == "tf32", loss_floor(BATCH, table.detach(), dtype)
    for precision, dtype in PRECISIONS.items():
        for rows in CHUNKS:
            yield f"ours, {precision}, {rows} rows", precision, False, ours(sessions, table, target, dtype, rows, 0)
        ranked = ours(sessions, table, target, dtype, BATCH, min(200, len(table) // 4))
        yield f"ours with ranking, {precision}, {BATCH} rows", precision, False, ranked
    yield "ours, tf32, 512 rows", "tf32", True, ours(sessions, table, target, None, BATCH, 0)
    yield "plain, fp32", "fp32", False, lambda: plain(sessions, table, target)
    yield "plain, tf32", "tf32", True, lambda: plain(sessions, table, target)
    yield "plain, bf16", "bf16", False, lambda: plain(sessions.bfloat16(), table.bfloat16(), target)
    if table.is_cuda:
        compiled = torch.compile(plain)
        yield "compiled, tf32", "tf32", True, lambda: compiled(sessions, table, target)
        yield "compiled, bf16", "bf16", False, lambda: compiled(sessions.bfloat16(), table.bfloat16(), target)
        yield "cut-cross-entropy, bf16", "bf16", False, lambda: cut(sessions, table, target)
        yield "Liger, bf16", "bf16", False, lambda: liger(sessions, table, target)


def plain(sessions: Tensor, table: Tensor, target: Tensor) -> Tensor:
    """The loss as everybody writes it; the padding's row takes no part."""
    return F.cross_entropy((sessions @ table[1:].T).to(torch.promote_types(sessions.dtype, torch.float32)), target - 1)


def ours(sessions, table, target, precision, rows: int, top: int) -> Callable[[], Tensor]:
    def form() -> Tensor:
        use_chunks(rows)
        return catalogue_cross_entropy(sessions, table, target, top, precision=precision)[0]

    return form


def cut(sessions: Tensor, table: Tensor, target: Tensor) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy

    # It takes widths that are a multiple of 16, which zeros fill up.
    width = (0, -SIZE % 16)
    return linear_cross_entropy(F.pad(sessions, width).bfloat16(), F.pad(table[1:], width).bfloat16(), target - 1)


def liger(sessions: Tensor, table: Tensor, target: Tensor) -> Tensor:
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss()(table[1:].bfloat16(), sessions.bfloat16(), target - 1)


def gradients(form: Callable[[], Tensor], factors: tuple[Tensor, ...]) -> list[Tensor]:
    return [gradient.double() for gradient in torch.autograd.grad(form(), factors)]


def measure(part: Part, name: str, form: Callable, factors: tuple[Tensor, ...], exact: list[Tensor], n: int) -> dict:
    """Median milliseconds of ``n`` turns, the larger relative error of the gradients, and the memory it takes."""

    def work() -> None:
        loss = form()
        if loss is not None:
            torch.autograd.grad(loss, factors)

    error = None
    if form() is not None:
        found = gradients(form, factors)
        error = max(float((a - b).norm() / b.norm()) for a, b in zip(found, exact))
    if part.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if part.device.type == "cuda" else 0
    milliseconds = 1000 * part.seconds(work, n, warm_up=2)
    peak = torch.cuda.max_memory_allocated() - before if part.device.type == "cuda" else 0
    return {"name": name, "ms": milliseconds, "error": error, "peak_mb": peak / 1e6}


def choose(part: Part, rows: list[dict]) -> list[str]:
    """Record the quickest form so far, and the chunks with which ours is the quickest; both in words."""
    usable = [row for row in rows if (row["error"] or 1) < TOLERANCE and "ranking" not in row["name"]]
    own = [row for row in usable if row["name"].startswith("ours")]
    own = [row for row in own if row["precision"] == "bf16"] or own
    if not own:
        return []
    best, best_own = (min(found, key=lambda row: row["ms"]) for found in (usable, own))
    part.figures |= {"chosen": best["name"], "chunk_rows": int(best_own["name"].split()[-2])}
    return [f"Quickest: {best['name']}. Of ours: {best_own['name']}, which the later parts compute with."]


if __name__ == "__main__":
    main()
