"""RecBole's loaders over :class:`~recbole_tme.data.dataset.SessionDataset`: length buckets, true resume, rank order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from recbole.data.dataloader import AbstractDataLoader, FullSortEvalDataLoader, TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from recbole.sampler import RepeatableSampler
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.errors import UserError
from recbole_tme.nn import distributed

DEFAULT_LENGTH_BUCKET = 50


class _SessionLoader(AbstractDataLoader):
    """What both loaders share.

    In the method order of the classes below it stands between RecBole's loader and ``AbstractDataLoader``, so that
    RecBole's own constructors end here, where positions are a range and not a Python list of every one of them.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        if config["worker"]:
            raise UserError(
                f"worker: {config['worker']} loader processes would only slow this down (a batch of sessions is cut "
                f"from memory in less than the time of handing it over); set worker: 0"
            )
        if config["single_spec"] is False:
            raise UserError(
                "nproc: RecBole's launcher does not share session batches among its processes; run recbole-tme with "
                "--nproc, or set nproc: 1"
            )
        self.shuffle = shuffle
        self.config = config
        self._dataset = dataset
        self._sampler = sampler
        self.model = None
        self._init_batch_size_and_step()
        self.generator = torch.Generator()
        self.generator.manual_seed(config["seed"])
        self.transform = construct_transform(config)
        DataLoader.__init__(
            self,
            dataset=range(self.sample_size),
            batch_size=self.step,
            collate_fn=self.collate_fn,
            generator=self.generator,
        )

    def __len__(self) -> int:
        return math.ceil(self.sample_size / self.step)


class SessionTrainLoader(TrainDataLoader, _SessionLoader):
    """Training batches in a new order each epoch, every instance exactly once.

    In a multi-process run each process has its share of every batch: the same steps, and the same order for one seed.
    A share of the last batch may be empty.

    The instances are permuted by the loader's own generator (seeded by ``seed``), cut into windows of
    ``length_bucket`` batches, sorted by prefix length inside each window so that a batch carries little padding, and
    the batches are shuffled. ``length_bucket: 1`` is a plain shuffle, and so is any where all batches are equally wide:
    sorting would save nothing there, and RecBole's BERT4Rec divides by zero in a batch of single clicks.
    ``shuffle: False`` is the data set's order.

    Args:
        config: RecBole configuration.
        dataset: training instances.
        sampler: negative sampler, or None where the model's loss needs no negatives.
        shuffle: whether to reorder at all.

    Raises:
        UserError: ``worker`` or ``nproc`` asks for processes, or a batch size or ``length_bucket`` is impossible.
    """

    def __init__(self, config, dataset: SessionDataset, sampler=None, shuffle: bool = True):
        _at_least_one(config, "train_batch_size")
        self.length_bucket = _at_least_one(config, "length_bucket", DEFAULT_LENGTH_BUCKET)
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self._epoch_start = self.generator.get_state()
        self._done = 0
        self._skip = 0

    def __iter__(self) -> Iterator[Interaction]:
        self._epoch_start = self.generator.get_state()
        self._done, self._skip = self._skip, 0
        for rows in self._epoch()[self._done :]:
            self._done += 1
            rows = rows[distributed.rank() :: distributed.size()]
            # RecBole makes an array of the rows in a way that NumPy will refuse for tensors.
            yield self.collate_fn(rows.numpy()) if len(rows) else self._dataset[rows]
        self._epoch_start = self.generator.get_state()
        self._done = 0

    def _epoch(self) -> list[Tensor]:
        if not self.shuffle:
            return list(torch.arange(self.sample_size).split(self.step))
        length = self._dataset.inter_feat.prefix_length
        window = self.length_bucket if self._dataset.padding == "batch" else 1
        return bucketed_batches(length, self.step, window, self.generator)

    def state_dict(self) -> dict:
        """Where the loader stands: batches given so far and the generator at the epoch's start, as ints and tensors.

        Negative samples and RecBole's batch transforms draw from the global generators; those the trainer saves.
        """
        return {
            "generator": self._epoch_start.clone(),
            "batches_done": self._done,
            "instances": self.sample_size,
            "batch_size": self.step,
            "length_bucket": self.length_bucket,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where :meth:`state_dict` was taken: the next iteration gives the rest of that epoch, bit for bit.

        Raises:
            UserError: the state is of other data or another batch size, so its batches cannot be made again.
        """
        for key, now in self.state_dict().items():
            if isinstance(now, int) and key != "batches_done" and state[key] != now:
                raise UserError(
                    f"cannot resume: {key} was {state[key]} and is now {now}; resume with the run's settings"
                )
        self.generator.set_state(state["generator"].cpu())
        self._epoch_start = self.generator.get_state()
        self._done = self._skip = state["batches_done"]


class SessionEvalLoader(FullSortEvalDataLoader, _SessionLoader):
    """Evaluation batches over the whole catalogue.

    Iterating gives RecBole's ``(interaction, None, positive_u, positive_i)`` in the data set's order;
    :meth:`ranked_batches` gives the same instances with less padding.

    Args:
        config: RecBole configuration.
        dataset: instances of one split.
        sampler: unused, as in RecBole for sequential models.
        shuffle: unused, evaluation has one order.

    Raises:
        UserError: ``worker`` or ``nproc`` asks for processes, or ``eval_batch_size`` is impossible.
    """

    def __init__(self, config, dataset: SessionDataset, sampler=None, shuffle: bool = False):
        _at_least_one(config, "eval_batch_size")
        super().__init__(config, dataset, sampler, shuffle=shuffle)

    def __iter__(self) -> Iterator[tuple]:
        for rows in torch.arange(self.sample_size).split(self.step):
            yield self.collate_fn(rows.numpy())

    def ranked_batches(self, every: int = 1) -> Iterator[tuple[Interaction, Tensor]]:
        """Batches of similar prefix lengths, longest first, each with its instances' positions in the data set.

        Args:
            every: give each ``every``-th batch of a process only, to see what all of them would cost.

        Yields:
            ``(interaction, index)``, ``index`` int64 ``[B]``; every instance once, over all processes of a run.
        """
        length = self._dataset.inter_feat.prefix_length
        longest_first = torch.from_numpy(np.argsort(-length.numpy(), kind="stable"))
        for index in longest_first.split(self.step)[distributed.rank() :: distributed.size()][::every]:
            yield self.transform(self._dataset, self._dataset[index]), index


def bucketed_batches(length: Tensor, batch_size: int, window: int, generator: torch.Generator) -> list[Tensor]:
    """A random partition of instances into batches of similar lengths.

    Args:
        length: prefix length of each instance, ``[n]``.
        batch_size: instances per batch; the batch that takes the remainder has fewer.
        window: batches that are sorted by length together; 1 for none.
        generator: source of randomness.

    Returns:
        Positions of each batch's instances, int64 ``[batch_size]`` each, in random order of batches.
    """
    rows = torch.randperm(len(length), generator=generator)
    if window == 1:
        return list(rows.split(batch_size))
    # A window at a time, so that no more is in memory twice. In numpy, because it sorts small keys by radix and needs
    # no threads; torch's sort takes ten times as long where cores are shared.
    key = length.numpy().astype(np.min_scalar_type(int(length.max())))
    batches: list[Tensor] = []
    for some in rows.split(batch_size * window):
        order = np.argsort(key[some.numpy()], kind="stable")
        batches += some[torch.from_numpy(order)].split(batch_size)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def build_loaders(
    config, datasets: list[SessionDataset | None]
) -> tuple[SessionTrainLoader, SessionEvalLoader | None, SessionEvalLoader]:
    """Loaders of the training, validation and test instances.

    Negatives are sampled only where the configuration asks for them (a pairwise loss), uniformly or by the
    popularity of training targets; RecBole's popularity counts the test targets too.

    Args:
        config: RecBole configuration.
        datasets: ``SessionDataset.build()``.

    Returns:
        ``(train, valid, test)``; ``valid`` is None where there is no validation split.

    Raises:
        UserError: ``eval_args`` asks for sampled evaluation, or as the loaders' own.
    """
    for phase, mode in config["eval_args"]["mode"].items():
        if mode != "full":
            raise UserError(f"eval_args: mode {mode!r} for {phase} ranks a sample of the catalogue; set mode: full")
    train, valid, test = datasets
    return (
        SessionTrainLoader(config, train, negative_sampler(config, train), shuffle=config["shuffle"]),
        None if valid is None else SessionEvalLoader(config, valid),
        SessionEvalLoader(config, test),
    )


def negative_sampler(config, train: SessionDataset) -> RepeatableSampler | None:
    """RecBole's sampler of negative items for training (any item but the target), or None where none is asked for."""
    wanted = config["train_neg_sample_args"]
    if wanted["distribution"] == "none":
        return None
    return RepeatableSampler("train", train, wanted["distribution"], wanted["alpha"]).set_phase("train")


def _at_least_one(config, key: str, default: int | None = None) -> int:
    value = default if config[key] is None else config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{key}: must be a whole number of at least 1, not {value!r}")
    return value
