"""Models that learn the answer by other ways than from the session, and honest ones that look suspicious."""

import inspect
from pathlib import Path
from typing import ClassVar

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import nn
from torch.nn import functional as F

from recbole_tme.data.sessions import SessionData


class MeanOfClicks(SequentialRecommender):
    """Honest: the mean of the clicked items' vectors, with dropout and batch norm while it trains."""

    input_type = InputType.POINTWISE
    variable_length = True
    defaults: ClassVar = {"embedding_size": 16}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"], padding_idx=0)
        self.norm = nn.BatchNorm1d(config["embedding_size"])
        self.dropout = nn.Dropout(0.5)

    def encode(self, interaction):
        clicks = interaction[self.ITEM_SEQ]
        present = (clicks > 0).unsqueeze(2)
        mean = (self.item_embedding(clicks) * present).sum(1) / present.sum(1).clamp(min=1)
        return self.dropout(self.norm(mean))

    def scores(self, interaction):
        return self.encode(interaction) @ self.item_embedding.weight.T

    def calculate_loss(self, interaction):
        return F.cross_entropy(self.scores(interaction), interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction):
        return self.scores(interaction)

    def predict(self, interaction):
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def raise_items(self, scores, items, by=100.0):
        """The scores with one item of each row raised; none where it is 0."""
        return scores.scatter_add(1, items.unsqueeze(1), by * (items > 0).unsqueeze(1).to(scores.dtype))


class ReadsTheTarget(MeanOfClicks):
    def full_sort_predict(self, interaction):
        return self.raise_items(self.scores(interaction), interaction[self.ITEM_ID])


class LooksSessionsUp(MeanOfClicks):
    """Looks the future of a session up in the data set, by the session's id."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        table = dataset.inter_feat
        self.future = {}
        for session, item in zip(table[self.USER_ID].tolist(), table[self.ITEM_ID].tolist()):
            self.future.setdefault(session, item)

    def full_sort_predict(self, interaction):
        items = [self.future.get(session, 0) for session in interaction[self.USER_ID].tolist()]
        return self.raise_items(self.scores(interaction), torch.tensor(items))


class MemorisesTheTest(MeanOfClicks):
    """Finds the test sessions at construction, in the local variables of whoever builds it."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        held = [value for frame in inspect.stack() for value in frame.frame.f_locals.values()]
        data = next((value for value in held if isinstance(value, SessionData)), None)
        counts = torch.zeros(self.n_items)
        if data is not None:
            counts += torch.bincount(torch.from_numpy(data.test.items).long(), minlength=self.n_items)
        self.register_buffer("counts", counts)

    def full_sort_predict(self, interaction):
        return self.scores(interaction) + self.counts


class ReadsTheFiles(MeanOfClicks):
    """Opens the test file by itself, and looks for the session there."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        file = Path(config["data_path"]) / config["dataset"] / f"{config['dataset']}.test.inter"
        self.future = {}
        names, ids = dataset.field2token_id[self.USER_ID], dataset.field2token_id[self.ITEM_ID]
        if file.exists():
            with open(file, encoding="utf-8") as lines:
                for line in list(lines)[1:]:
                    session, item, *_ = line.rstrip("\n").split("\t")
                    self.future[names[session]] = ids[item]

    full_sort_predict = LooksSessionsUp.full_sort_predict


class OpensTheFiles(ReadsTheFiles):
    def __init__(self, config, dataset):
        MeanOfClicks.__init__(self, config, dataset)
        folder = Path(config["data_path"]) / config["dataset"]
        self.lines = (folder / f"{config['dataset']}.test.inter").read_text(encoding="utf-8").count("\n")

    def full_sort_predict(self, interaction):
        return self.scores(interaction)


class StoresThenScores(MeanOfClicks):
    """Keeps the longest prefix of every session it was asked for; longer ones hold the answer."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.seen = {}

    def memory(self):
        return self.seen

    def store(self, interaction):
        clicks, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN].tolist()
        for row, length in enumerate(lengths):
            first = int(clicks[row, 0])
            if length > len(self.memory().get(first, ())):
                self.memory()[first] = clicks[row, :length].tolist()

    def answers(self, interaction):
        clicks, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN].tolist()
        found = [self.memory().get(int(row[0]), [])[length : length + 1] for row, length in zip(clicks, lengths)]
        return torch.tensor([item[0] if item else 0 for item in found])

    def full_sort_predict(self, interaction):
        self.store(interaction)
        return self.raise_items(self.scores(interaction), self.answers(interaction))


class ScoresThenStores(StoresThenScores):
    def full_sort_predict(self, interaction):
        scores = self.raise_items(self.scores(interaction), self.answers(interaction))
        self.store(interaction)
        return scores


class StoresOutsideItself(StoresThenScores):
    """Keeps them where a copy of the model finds them again."""

    seen_by_all: ClassVar = {}

    def memory(self):
        return self.seen_by_all


class NeighboursInTheBatch(MeanOfClicks):
    def full_sort_predict(self, interaction):
        clicks, session = interaction[self.ITEM_SEQ], F.normalize(self.encode(interaction), dim=1)
        weight, nearest = (session @ session.T).topk(min(3, len(session)))
        scores = self.scores(interaction)
        for i in range(nearest.shape[1]):
            scores = scores.scatter_add(1, clicks[nearest[:, i]], weight[:, [i]].expand(-1, clicks.shape[1]))
        return scores


class SameSessionInTheBatch(MeanOfClicks):
    """Looks for longer prefixes of its session in the batch, by the session's id."""

    def full_sort_predict(self, interaction):
        session, clicks = interaction[self.USER_ID], interaction[self.ITEM_SEQ]
        own = (session.unsqueeze(1) == session).float()
        clicked = torch.zeros(len(clicks), self.n_items).scatter_(1, clicks, 1.0)
        return self.scores(interaction) + 100 * own @ clicked


class BatchStatistics(MeanOfClicks):
    """Normalises by the batch's mean and deviation, in evaluation too."""

    def full_sort_predict(self, interaction):
        session = self.encode(interaction)
        if len(session) > 1:
            session = (session - session.mean(0)) / (session.std(0) + 1e-3)
        return session @ self.item_embedding.weight.T


class PreviousRow(MeanOfClicks):
    """In the field's order the row before is the next longer prefix of the session: its last click is the answer."""

    def full_sort_predict(self, interaction):
        clicks, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        last = clicks.gather(1, length.unsqueeze(1) - 1).squeeze(1)
        return self.raise_items(self.scores(interaction), torch.cat([last.new_zeros(1), last[:-1]]))


class WidthOfPadding(MeanOfClicks):
    """Learns from the width how long the longest session of the batch is."""

    def full_sort_predict(self, interaction):
        scores = self.scores(interaction)
        return scores + torch.arange(self.n_items) % (interaction[self.ITEM_SEQ].shape[1] + 1)


class DrawsWhileScoring(MeanOfClicks):
    def full_sort_predict(self, interaction):
        scores = self.scores(interaction)
        return scores + torch.randn_like(scores)


# Each cheat, and a word of what it is to be called.
CHEATS = {
    ReadsTheTarget: "reads the targets",
    LooksSessionsUp: "looks sessions up by their id",
    MemorisesTheTest: "knows the test sessions since it was built",
    ReadsTheFiles: "reads the data set's files itself",
    OpensTheFiles: "reads the data set's files itself",
    StoresThenScores: "keeps what it scores",
    ScoresThenStores: "keeps what it scores",
    StoresOutsideItself: "keeps what it scores",
    NeighboursInTheBatch: "reads its batch mates",
    SameSessionInTheBatch: "in the batch for instances with the same session id",
    BatchStatistics: "reads its batch mates",
    PreviousRow: "order of the batch",
    WidthOfPadding: "how far sessions are padded",
    DrawsWhileScoring: "draws random numbers",
}
