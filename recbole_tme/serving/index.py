"""An index of item vectors: products with coarse copies of all items, four bits for every two numbers, find candidates,
whose exact products decide.

The coarse copies take a sixteenth of the vectors' memory and are multiplied by table look-ups in registers. Unlike
inverted lists or neighbour graphs, which look at few items, this supposes nothing of how the vectors lie
(``benchmarks/RESULTS.md`` compares them). The index is kept in one file beside the weights, which holds no item
vectors: those are in the weights, to which the file belongs by a checksum.

Source: product quantisation (Jégou et al., TPAMI 2011) with 4-bit look-ups in registers (André et al., TPAMI 2021), by
the library faiss.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from recbole_tme.errors import UserError
from recbole_tme.utils.files import write_atomically
from recbole_tme.utils.installing import install_extra

FILE_NAME = "index.safetensors"
# To be raised whenever the same weights are indexed in another way.
VERSION = "1"
BITS = 4
TRAINED_ON = 2**16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Codes:
    """Coarse copies of item vectors.

    Attributes:
        centroids: what stands for each pair of numbers, ``[ceil(d / 2), 16, 2]`` float32.
        codes: which of them does, for each item, two in a byte, ``[N, ceil(d / 4)]`` uint8.
        candidates: items whose exact products are computed for each query.
        recall: share of the best 20 items that are found so, measured when the index was made.
    """

    centroids: np.ndarray
    codes: np.ndarray
    candidates: int = 1
    recall: float = math.nan


class ItemIndex:
    """The items with the largest inner products with a query, nearly always.

    Args:
        vectors: of the items, ``[N, d]`` float32.
        codes: of these items.
    """

    def __init__(self, vectors: np.ndarray, codes: Codes):
        faiss = import_faiss()
        self.candidates = codes.candidates
        self._vectors = vectors
        plain = _quantizer(faiss, vectors.shape[1])
        faiss.copy_array_to_vector(codes.centroids.ravel(), plain.pq.centroids)
        faiss.copy_array_to_vector(codes.codes.ravel(), plain.codes)
        plain.ntotal, plain.is_trained = len(vectors), True
        self._coarse = faiss.IndexPQFastScan(plain)

    def search(self, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The best items of each query.

        Args:
            queries: ``[B, d]`` float32.
            n: how many, at most N.

        Returns:
            Item numbers, counted from 1, int64 ``[B, n]``, and their inner products, ``[B, n]``, in no order; 0 and
            -inf where there is none, which happens if all coarse copies are alike.
        """
        candidates = max(n, self.candidates)
        if candidates < len(self._vectors):
            _, places = self._coarse.search(_even(queries), candidates)
        else:
            places = np.broadcast_to(np.arange(len(self._vectors)), (len(queries), len(self._vectors)))
        numbers, products = np.empty((len(queries), n), np.int64), np.empty((len(queries), n), np.float32)
        for query, row, number, product in zip(queries, places, numbers, products):
            exact = np.where(row < 0, -np.inf, self._vectors[row] @ query)
            best = np.argpartition(-exact, n - 1)[:n]
            number[:], product[:] = row[best] + 1, exact[best]
        return numbers, products


def import_faiss():
    """The module.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(f"the index needs faiss, which is not installed; run: {install_extra('index')}") from error
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def encode(vectors: np.ndarray) -> Codes:
    """The coarse copies of item vectors, ``[N, d]`` float32; the same each time."""
    faiss = import_faiss()
    # The quantizer lives as long as its index.
    index, rows = _quantizer(faiss, vectors.shape[1]), _even(vectors)
    quantizer = index.pq
    rng, n_train = np.random.default_rng(0), min(len(rows), TRAINED_ON)
    # k-means wants as many rows as centroids.
    sample = np.resize(rng.choice(len(rows), n_train, replace=False), max(n_train, quantizer.ksub))
    quantizer.train(rows[sample])
    centroids = faiss.vector_to_array(quantizer.centroids)
    return Codes(centroids.reshape(quantizer.M, quantizer.ksub, quantizer.dsub), quantizer.compute_codes(rows))


def kept_codes(file: Path, weights: str, make: Callable[[], Codes]) -> tuple[Codes, bool]:
    """The codes in a file, or else new ones, which are then written there.

    The file is written whole or not at all, by as many processes at once as there are. Where it cannot be written it is
    left out, and where it is damaged or of other weights it is built again.

    Args:
        file: where they are kept.
        weights: a checksum of the weights.
        make: makes them.

    Returns:
        The codes, and whether they were made now.
    """
    codes = _read(file, weights)
    if codes is not None:
        return codes, False
    codes = make()
    arrays = {"centroids": codes.centroids, "codes": codes.codes}
    about = {"candidates": str(codes.candidates), "recall": str(codes.recall)}
    metadata = {"version": VERSION, "weights": weights, **about, "sha256": _digest(arrays, about)}
    try:
        write_atomically(file, save(arrays, metadata))
    except UserError as error:
        logger.warning("the index is kept in memory only: %s", error)
    return codes, True


def _read(file: Path, weights: str) -> Codes | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, "numpy") as content:
            metadata = content.metadata()
            if (metadata["version"], metadata["weights"]) != (VERSION, weights):
                return None
            arrays = {name: content.get_tensor(name) for name in ("centroids", "codes")}
        about = {name: metadata[name] for name in ("candidates", "recall")}
        if _digest(arrays, about) != metadata["sha256"]:
            raise ValueError("its checksum is not its own")
        return Codes(**arrays, candidates=int(about["candidates"]), recall=float(about["recall"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged (%s); it is built again", file, error)
        return None


def _digest(arrays: dict[str, np.ndarray], about: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _quantizer(faiss, size: int):
    """An empty index of vectors of ``size`` numbers, in pairs."""
    pairs = (size + 1) // 2
    return faiss.IndexPQ(2 * pairs, pairs, BITS, faiss.METRIC_INNER_PRODUCT)


def _even(rows: np.ndarray) -> np.ndarray:
    """Rows of an even number of numbers, the last one 0 if need be, which changes no product."""
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
