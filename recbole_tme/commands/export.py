"""``recbole-tme export``: a trained model as one file that runs without this package, in PyTorch or ONNX Runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.commands.model_options import add_new_items, say_new_items


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme export``."""
    parser.description = (
        "Write the model of a finished run or of a bundle as one file that runs without this package, with its item "
        "list inside: padded item indices [B, L] and lengths [B] in, scores [B, N] out, B and L free. Compares its "
        "scores with the model's on random sessions first."
    )
    options.add_run(parser, f"{options.RUN}; or a bundle")
    parser.add_argument(
        "--format",
        choices=("torch", "onnx", "vectors"),
        required=True,
        help="for torch.export.load, for ONNX Runtime, or the item vectors: *.parquet, *.csv, *.npy, or *.tsv for "
        "TensorBoard's projector",
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to make")
    options.add_plugin(parser)
    add_new_items(parser)
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme export`` with parsed arguments.

    Raises:
        UserError: as :func:`export`, or the model cannot be loaded.
    """
    from recbole_tme.serving.bundle import read_saved
    from recbole_tme.serving.export import export
    from recbole_tme.serving.new_items import with_new_items

    options.load_plugins(args)
    saved = with_new_items(read_saved(args.run), args.new_items)
    say_new_items(saved.new_items, args.new_items)
    if args.format == "vectors":
        from recbole_tme.serving.vectors import export_vectors

        items, size = export_vectors(saved, args.out)
        print(f"{args.out}: {items:,} item vectors of {size} numbers")
        return 0
    difference = export(saved, args.out, args.format)
    print(
        f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB\n"
        f"  {len(saved.items.ids):,} items, sessions of up to {saved.settings['MAX_ITEM_LIST_LENGTH']} clicks\n"
        f"  largest difference from the model's scores on random sessions: {difference:.2g}"
    )
    return 0
