"""Slow readings of the definitions of the models without training: scores by item id from plain lists."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

from helpers.training_free import N_ITEMS


def loop_ties(train) -> list[float]:
    last, n = [0] * (N_ITEMS + 1), 0
    for clicks in train:
        for item in clicks:
            n += 1
            last[item] = n
    return [1 + 1e-5 * position / n for position in last]


def loop_popularity(train) -> Counter:
    return Counter(item for clicks in train for item in clicks)


def loop_below(train) -> list[float]:
    popularity = loop_popularity(train)
    counts = [popularity[item] for item in range(N_ITEMS + 1)]
    steps = sorted({0, *counts})
    return [steps.index(count) / len(steps) for count in counts]


def loop_own_items(train, session) -> list[float]:
    scores = loop_below(train)
    oldest_first = sorted(set(session), key=lambda item: max(p for p, x in enumerate(session) if x == item))
    for rank, item in enumerate(oldest_first, start=1):
        scores[item] = rank
    return scores


def loop_spop_order(train, session, tie_break) -> list[int]:
    popularity = loop_popularity(train)

    def key(item):
        recency = max(p for p, x in enumerate(session) if x == item)
        middle = popularity[item] if tie_break == "popularity" else 0
        return session.count(item), middle, recency

    return sorted(set(session), key=key)


def loop_spop(train, session, tie_break="recency") -> list[float]:
    scores = loop_below(train)
    for rank, item in enumerate(loop_spop_order(train, session, tie_break), start=1):
        scores[item] = rank
    return scores


def loop_strongest(row: dict, train, n: int) -> list[float]:
    ties, scores = loop_ties(train), [0.0] * (N_ITEMS + 1)
    weighted = {item: value * ties[item] for item, value in row.items() if value > 0}
    for item in sorted(weighted, key=lambda item: -weighted[item])[:n]:
        scores[item] = weighted[item]
    return scores


def loop_sr(train, session, max_steps=10, n_rules=20, weighting="reciprocal") -> list[float]:
    row = defaultdict(float)
    # The definition adds 1/1 of all pairs first, then 1/2, ...: the order matters for the last bit of a sum.
    for step in range(1, max_steps + 1):
        for clicks in train:
            for first, second in zip(clicks, clicks[step:]):
                if first == session[-1]:
                    row[second] += 1 / step if weighting == "reciprocal" else 1 / math.log10(step + 1.7)
    return loop_strongest(row, train, n_rules)


def loop_last_item_knn(train, session, k=100, shrink=20.0) -> list[float]:
    last = session[-1]
    with_item = Counter(item for clicks in train for item in set(clicks))
    both = Counter(item for clicks in train if last in clicks for item in set(clicks) - {last})
    row = {b: n / math.sqrt((with_item[last] + shrink) * (with_item[b] + shrink)) for b, n in both.items()}
    return loop_strongest(row, train, k)


def loop_neighbours(train, session, k, sample_size, weight, similarity, part, idf_weight) -> list[float]:
    """What VSKNN, STAN and VSTAN share; ``part(similarity, clicks, item, here, there)`` is a neighbour's part."""
    length = len(session)
    position = {item: p for p, item in enumerate(session, start=1)}
    weights = {item: weight(p, length) for item, p in sorted(position.items(), key=lambda pair: pair[1])}
    found = [s for s, clicks in enumerate(train) if set(clicks) & set(session)][-sample_size:]
    ranked = []
    for s in found:
        shared = sum(w for item, w in weights.items() if item in train[s])
        ranked.append((similarity(shared, weights, s, train), s))
    ranked = sorted(ranked, key=lambda pair: (-pair[0], -pair[1]))[:k]
    scores = [0.0] * (N_ITEMS + 1)
    for value, s in ranked:
        clicks = train[s]
        latest = {item: p for p, item in enumerate(clicks, start=1)}
        match = max((item for item in position if item in latest), key=position.get)
        for item in latest:
            scores[item] += part(value, abs(latest[item] - latest[match]), length - position[match])
    ties, with_item = loop_ties(train), Counter(item for clicks in train for item in set(clicks))
    for item in range(1, N_ITEMS + 1):
        rarity = 1 + idf_weight * math.log(len(train) / with_item[item]) if with_item[item] else 1
        scores[item] *= rarity * ties[item]
    return scores


def loop_idf(train, item, power) -> float:
    n_with = sum(item in clicks for clicks in train)
    return max(math.log(len(train) / n_with), 1e-6) ** power if n_with else 0


def loop_vsknn(
    train,
    session,
    k=500,
    sample_size=2500,
    weighting="linear",
    idf_weight=5.0,
    idf_power=0.0,
    norm_power=0.0,
    since_last_match=True,
) -> list[float]:
    power = {"linear": 1, "quadratic": 2, "none": 0}[weighting]

    def similarity(shared, weights, s, train):
        weighted = sum(w * loop_idf(train, item, idf_power) for item, w in weights.items() if item in train[s])
        return weighted / len(session) ** power / len(set(train[s])) ** norm_power

    return loop_neighbours(
        train,
        session,
        k,
        sample_size,
        weight=lambda p, length: p**power,
        similarity=similarity,
        part=lambda value, distance, since: value / (1 + since if since_last_match else 1),
        idf_weight=idf_weight,
    )


def loop_sknn(train, session, k=1000, sample_size=10**6, idf_power=2.0, norm_power=0.5) -> list[float]:
    return loop_vsknn(train, session, k, sample_size, "none", 0.0, idf_power, norm_power, since_last_match=False)


def loop_stan(
    train,
    session,
    k=500,
    sample_size=2500,
    lambda_spw=2.5,
    lambda_snh=0.0,
    lambda_inh=4.0,
    lambda_ipw=math.inf,
    idf_weight=0.0,
) -> list[float]:
    def similarity(shared, weights, s, train):
        norm = math.sqrt(sum(w * w for w in weights.values()))
        age = (len(train) - s) / len(train)
        return shared / (norm * math.sqrt(len(train[s]))) * (math.exp(-age / lambda_snh) if lambda_snh else 1)

    return loop_neighbours(
        train,
        session,
        k,
        sample_size,
        weight=lambda p, length: math.exp((p - length) / lambda_spw),
        similarity=similarity,
        part=lambda value, distance, since: value * math.exp(-distance / lambda_inh) * math.exp(-since / lambda_ipw),
        idf_weight=idf_weight,
    )


def loop_vstan(train, session, lambda_ipw=10.0, idf_weight=5.0, **rest) -> list[float]:
    return loop_stan(train, session, lambda_ipw=lambda_ipw, idf_weight=idf_weight, **rest)


def loop_spop_stan(train, session, tie_break="recency", **rest) -> list[float]:
    scores = loop_stan(train, session, **rest)
    highest = max(scores) or 1
    scores = [score / highest for score in scores]
    for rank, item in enumerate(loop_spop_order(train, session, tie_break), start=1):
        scores[item] = 1 + rank
    return scores


def loop_sfsknn(train, session, k=500, sample_size=2500, idf_power=0.0, norm_power=0.5) -> list[float]:
    scores = loop_sknn(train, session, k, sample_size, idf_power, norm_power)
    followers = {b for clicks in train for a, b in itertools.pairwise(clicks) if a == session[-1]}
    return [score if item in followers else 0.0 for item, score in enumerate(scores)]


PART_LOOPS = {"SKNN": loop_sknn, "STAN": loop_stan, "VSTAN": loop_vstan, "SR": loop_sr}


def loop_sum(train, session, first, second, second_weight, without=()) -> list[float]:
    total = [0.0] * (N_ITEMS + 1)
    for name, weight in ((first, 1.0), (second, second_weight)):
        if name == "none":
            continue
        given = {"n_rules": 100} if name == "SR" else {}
        scores = [0.0 if item in without else s for item, s in enumerate(PART_LOOPS[name](train, session, **given))]
        total = [old + weight * score / (max(scores) or 1) for old, score in zip(total, scores)]
    return total


def loop_mix(
    train, session, first="STAN", second="SR", second_weight=1.0, own_weight=0.0, tie_break="recency"
) -> list[float]:
    scores = loop_sum(train, session, first, second, second_weight)
    for place, item in enumerate(reversed(loop_spop_order(train, session, tie_break)), start=1):
        scores[item] += own_weight / place
    return scores


def loop_own_items_first(
    train, session, first="SKNN", second="none", second_weight=1.0, tie_break="recency"
) -> list[float]:
    scores = loop_sum(train, session, first, second, second_weight, without=set(session))
    for rank, item in enumerate(loop_spop_order(train, session, tie_break), start=1):
        scores[item] = 1 + second_weight + rank
    return scores
