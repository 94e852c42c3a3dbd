"""Recommending in process: one session at a time and a thousand at once, exactly and by way of the index.

    python benchmarks/serving.py runs/tmall/TMEGNN/<run> runs/tmall/DANSeR/<run> --kinds
    python benchmarks/serving.py --items 1000000
    python benchmarks/serving.py --model STAN --items 1000000
    python benchmarks/serving.py --http --items 40000
    python benchmarks/serving.py --soak 60 --items 40000

One thread, CPU time. Exact and indexed take turns on the same sessions: beginnings of a data set's test sessions for
trained runs, or sessions within a cluster for a synthetic catalogue, which is a TMEGNN with random weights over vectors
in clusters. ``--kinds`` also measures other kinds of index on the same vectors and queries. ``--http`` instead asks
a server of its own process over loopback: one client in turns with the same calls in process, then 1, 16 and 128
clients at a time; the synthetic catalogue is then that of a network with random weights (``--model``). ``--soak`` lets
200 clients ask such a server for so many seconds while its model is reloaded every five. With
``--model`` of a neighbourhood model its answers from the neighbours' items are measured beside scores of all items.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from _http_serving import HEAD, SOAK_HEAD, measure_http, random_model, soak
from load import machine
from safetensors.torch import save_file

from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.models.tmegnn import TMEGNN
from recbole_tme.recbole_patches.stock import config_to_plain
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.answers import Recommendation
from recbole_tme.serving.bundle import read_saved
from recbole_tme.serving.index import import_faiss
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.saved import Catalogue, SavedModel, Settings

SIZE = 100
K = 20
BATCH = 1000
# Of the synthetic catalogue: items that share a centre, and how far they lie from it, where it is 1 long per dimension.
CLUSTER, SPREAD, NORM_SPREAD = 25, 0.7, 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="trained runs or bundles")
    parser.add_argument("--data", type=Path, default=Path("dataset_atomic/tmall"), help="folder of atomic files")
    parser.add_argument("--name", default="tmall", help="the name its files begin with")
    parser.add_argument("--items", type=int, help="measure a synthetic catalogue of so many items too")
    parser.add_argument("--queries", type=int, default=200, help="single sessions; medians are over them")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the batches; medians are over them")
    parser.add_argument("--kinds", action="store_true", help="other kinds of index too")
    parser.add_argument("--http", action="store_true", help="measure a server instead")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="200 clients and reloads instead")
    parser.add_argument(
        "--model", help="of the synthetic catalogue: a neighbourhood model, or with --http or --soak any (DANSeR)"
    )
    parser.add_argument("--seconds", type=float, default=10, help="for each number of clients, with --http")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.soak:
        print("\n".join([*SOAK_HEAD, *soak_rows(args), "", machine()]))
        return
    if args.http:
        print("\n".join([*HEAD, *http_rows(args), "", machine()]))
        return
    if args.model:
        print("\n".join(neighbours_rows(args)))
        return
    rows, kinds = [], []
    if args.runs:
        sessions = test_sessions(args.data, args.name)
        for run in args.runs:
            measure(read_saved(run), sessions, args, rows, kinds)
    if args.items:
        with tempfile.TemporaryDirectory() as folder:
            saved, sessions = synthetic(args.items, Path(folder))
            measure(saved, sessions, args, rows, kinds)
    print(report(args, rows, kinds))


def http_rows(args: argparse.Namespace) -> list[str]:
    """The rows of all models that are to be served."""
    return [row for given in to_serve(args) for row in measure_http(*given[:2], args.seconds, given[2])]


def soak_rows(args: argparse.Namespace) -> list[str]:
    """A row for each model that is to be served."""
    return [soak(saved, sessions, args.soak, folder) for saved, sessions, folder in to_serve(args)]


def to_serve(args: argparse.Namespace) -> Iterator[tuple[SavedModel, list[list[str]], Path]]:
    """Each model, the sessions that it is asked about, and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        for i, run in enumerate(args.runs):
            (place := Path(folder) / str(i)).mkdir()
            yield read_saved(run), test_sessions(args.data, args.name), place
        if args.items:
            yield *random_model(args.model or "DANSeR", args.items, Path(folder)), Path(folder)


def neighbours_rows(args: argparse.Namespace) -> list[str]:
    """CPU time of a neighbourhood model's answers, from the neighbours' items and from scores of the catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        saved, sessions = random_model(args.model, args.items, Path(folder))
        recommender = Recommender(saved, torch.device("cpu"))
    building = timed(ask, recommender, sessions[:1])[0]
    single = sorted(timed(ask, recommender, [session])[0] for session in sessions[: args.queries])
    batch = statistics.median(timed(ask, recommender, sessions)[0] for _ in range(args.rounds))
    recommender.model.found = lambda sessions: None
    dense = [timed(ask, recommender, [session])[0] for session in sessions[: args.queries]]
    figures = [1e3 * value for value in (statistics.median(single), single[int(0.99 * len(single))])]
    return [
        f"CPU time at one thread; medians of {args.queries} single sessions and of {args.rounds} batches of {BATCH:,}.",
        "",
        "| model | one session, ms | its 99th percentile, ms | batch, s | all items scored, ms | index made in, s |",
        "|---|---:|---:|---:|---:|---:|",
        f"| {saved.name}, {args.items:,} items | {figures[0]:.2f} | {figures[1]:.2f} | {batch:.2f} | "
        f"{1e3 * statistics.median(dense):.1f} | {building:.1f} |",
        "",
        machine(),
    ]


def test_sessions(folder: Path, name: str) -> list[list[str]]:
    """The beginning of each test session, of random length, repeated until there is a batch of them."""
    data, rng = read_dataset(folder, name), np.random.default_rng(0)
    bounds = zip(data.test.offsets, data.test.offsets[1:])
    whole = [data.test.items[start:end] for start, end in bounds if end - start > 1]
    chosen = (whole[i] for i in rng.integers(len(whole), size=BATCH))
    return [[data.tokens[i] for i in clicks[: rng.integers(1, len(clicks))]] for clicks in chosen]


def synthetic(n_items: int, folder: Path) -> tuple[SavedModel, list[list[str]]]:
    """A TMEGNN with random weights over clustered item vectors, and sessions of one to eight items of a cluster.

    The weights of its readout are made positive, as those of a trained one are on the whole: else session vectors would
    point away from their items.
    """
    config = load_config("TMEGNN", "toy", config_dict={"device": "cpu", "embedding_size": SIZE})
    settings = result_settings(config_to_plain(config)) | {"padding": "batch", "MAX_ITEM_LIST_LENGTH": 40}
    built = Settings(settings, device=torch.device("cpu"))
    torch.manual_seed(0)
    weights = TMEGNN(built, Catalogue(n_items + 1, built)).state_dict()
    weights["readout.weight.weight"].abs_()
    cluster = torch.arange(n_items) // CLUSTER
    vectors = torch.randn(int(cluster[-1]) + 1, SIZE)[cluster] + SPREAD * torch.randn(n_items, SIZE)
    vectors *= (NORM_SPREAD * torch.randn(n_items, 1)).exp() / SIZE**0.5
    weights["item_embedding.weight"][1:] = vectors
    save_file(weights, folder / "model.safetensors")
    items = ItemList([str(i) for i in range(n_items)], np.ones(n_items, dtype=np.int64))
    rng = np.random.default_rng(0)
    starts = rng.integers(n_items // CLUSTER, size=BATCH) * CLUSTER
    sessions = [(start + rng.integers(CLUSTER, size=rng.integers(1, 9))).astype(str).tolist() for start in starts]
    return SavedModel("TMEGNN", settings, items, weights, folder / "model.safetensors"), sessions


def measure(saved: SavedModel, sessions: list[list[str]], args: argparse.Namespace, rows: list, kinds: list) -> None:
    """Add a row of figures, and some of other kinds of index."""
    sides = {
        "exact": Recommender(saved, torch.device("cpu")),
        "index": Recommender(saved, torch.device("cpu"), "faiss"),
    }
    single, batch = {name: [] for name in sides}, {name: [] for name in sides}
    lists = {name: [] for name in sides}
    for i, session in enumerate(sessions[: args.queries]):
        for name in sides if i % 2 else reversed(sides):
            seconds, (answer,) = timed(ask, sides[name], [session])
            single[name].append(seconds)
            lists[name].append(set(answer.items))
    for i in range(args.rounds):
        for name in sides if i % 2 else reversed(sides):
            batch[name].append(timed(ask, sides[name], sessions)[0])
    recall = np.mean([len(a & b) / K for a, b in zip(lists["exact"], lists["index"])])
    middle = {name: (1e3 * statistics.median(single[name]), statistics.median(batch[name])) for name in sides}
    title = f"{saved.name}, {len(saved.items.ids):,} items"
    rows.append((title, middle["exact"], middle["index"], sides["index"].index, recall))
    if args.kinds:
        kinds += other_kinds(title, sides["index"], sessions[: args.queries])


def ask(recommender: Recommender, sessions: list[list[str]]) -> list[Recommendation]:
    """The job that is measured."""
    return list(recommender.answers(sessions, K))


def timed(job: Callable, *given) -> tuple[float, object]:
    """CPU seconds of a job, and what it returns: other processes may have the cores for a while."""
    started = time.process_time()
    result = job(*given)
    return time.process_time() - started, result


def other_kinds(title: str, recommender: Recommender, sessions: Sequence[list[str]]) -> list[tuple]:
    """CPU milliseconds per query of inverted lists and of a neighbour graph at the first setting with recall 0.99, or
    at the last one that was tried, the products alone."""
    faiss, model = import_faiss(), recommender.model
    fields = recommender._fields([recommender._numbers(session)[0] or [1] for session in sessions])
    with torch.no_grad():
        queries = model.query_vectors(model.encoded(fields[model.ITEM_SEQ], fields[model.ITEM_SEQ_LEN])).numpy()
        vectors = model.item_vectors()[1:].numpy()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    wanted = np.concatenate([flat.search(query[None], K)[1] for query in queries])
    n_lists = 2 ** round(np.log2(len(vectors)) / 2)
    lists = faiss.index_factory(vectors.shape[1], f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    lists.cp.max_points_per_centroid = 64
    graph = faiss.index_factory(vectors.shape[1], "HNSW32", faiss.METRIC_INNER_PRODUCT)
    own = recommender._search.index
    tried = [("exact", flat, "", [None]), ("4-bit copies", own, "", [None])]
    tried += [(f"{n_lists} inverted lists", lists, "nprobe", [2**i for i in range(2, n_lists.bit_length())])]
    tried += [("HNSW, 32 links", graph, "efSearch", [2**i for i in range(5, 12)])]
    found = []
    for name, index, setting, values in tried:
        building = timed(fill, index, vectors)[0] if setting else 0.0
        for value in values:
            if setting:
                setattr(getattr(index, "hnsw", index), setting, value)
            answers = [timed(index.search, query[None], K) for query in queries]
            places = [numbers - 1 if index is own else order for _, (numbers, order) in answers]
            recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(places, wanted)])
            if recall >= 0.99:
                break
        milliseconds = 1e3 * statistics.median(seconds for seconds, _ in answers)
        label = f"{name}, {setting} {value}" if setting else name
        found.append((title, label, milliseconds, recall, building))
    return found


def fill(index, vectors: np.ndarray) -> None:
    """Train an index of faiss on vectors and add them."""
    index.train(vectors)
    index.add(vectors)


def report(args: argparse.Namespace, rows: list, kinds: list) -> str:
    """The medians as Markdown tables."""
    lines = [
        f"CPU time at one thread; medians of {args.queries} single sessions and of {args.rounds} batches of {BATCH:,}.",
        "",
        "| model | exact, ms | batch, s | index, ms | of exact | batch, s | candidates | recall@20 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for title, exact, index, used, recall in rows:
        lines.append(
            f"| {title} | {exact[0]:.2f} | {exact[1]:.2f} | {index[0]:.2f} | 1/{exact[0] / index[0]:.1f} | "
            f"{index[1]:.2f} | {used.candidates} | {recall:.4f} |"
        )
    if kinds:
        lines += [
            "",
            "| vectors of | kind of index | query, ms | recall@20 | built in, s |",
            "|---|---|---:|---:|---:|",
        ]
        for title, name, milliseconds, recall, building in kinds:
            built = f"{building:.0f}" if building else ""
            lines.append(f"| {title} | {name} | {milliseconds:.3f} | {recall:.4f} | {built} |")
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
