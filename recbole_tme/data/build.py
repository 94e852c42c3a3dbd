"""A known data set from the recipe in its property file."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from recbole_tme.data.content import content_sha256
from recbole_tme.data.download import download, extract_zip
from recbole_tme.data.prepare import PrepareOptions, load_source
from recbole_tme.data.readers.movielens import movielens_sessions
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.synthetic import toy
from recbole_tme.errors import UserError
from recbole_tme.utils import terminal


def build(name: str, recipe: dict, offline: bool = False) -> tuple[SessionData, dict]:
    """Build a data set from the first of its sources that works.

    Args:
        name: the data set's name.
        recipe: its property file: ``sources``, and ``content_sha256`` that the result must have, where it is known.
        offline: download nothing.

    Returns:
        The data set, and where it comes from as plain data.

    Raises:
        UserError: no source works; the line gives the reason of each.
    """
    reasons = []
    for source in recipe["sources"]:
        try:
            data, provenance = _from_source(name, source, offline)
            _check_content(data, recipe.get("content_sha256"))
        except UserError as error:
            reasons.append(str(error))
            continue
        return data, provenance | {"recipe": fingerprint(source)}
    raise UserError("; ".join(reasons))


def fingerprint(source: dict) -> str:
    """One source of a recipe as a number, to tell whether a data set was built by today's recipe."""
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()


def by_hand(name: str, recipe: dict, data_path: Path) -> str:
    """What to do without network, as one line; empty where no source is downloaded."""
    for source in recipe["sources"]:
        if source["kind"] != "download":
            continue
        urls = [file["url"] for file in source["files"]]
        files = urls[0].rsplit("/", 1)[-1] if len(urls) == 1 else "FOLDER_WITH_THEM"
        options = "".join(f" --{key.replace('_', '-')} {value}" for key, value in source.get("prepare", {}).items())
        return (
            f"fetch {' and '.join(urls)} where there is network, bring it here and run: "
            f"recbole-tme prepare {files} --name {name} --out {data_path}{options}"
        )
    return ""


def _from_source(name: str, source: dict, offline: bool) -> tuple[SessionData, dict]:
    kind = source["kind"]
    if kind == "movielens":
        return movielens_sessions(name, **source["prepare"])
    if kind == "synthetic":
        data = toy(name, **source["toy"])
        return data, {"format": "synthetic", "settings": source["toy"], "content_sha256": content_sha256(data)}
    if kind == "download":
        return _downloaded(name, source, offline)
    raise UserError(f"data set {name}: unknown kind of source {kind!r}; movielens, synthetic or download")


def _downloaded(name: str, source: dict, offline: bool) -> tuple[SessionData, dict]:
    if offline:
        raise UserError(f"{source['files'][0]['url']}: not fetched, offline")
    fetched = []
    with tempfile.TemporaryDirectory() as folder:
        for file in source["files"]:
            url, expected = file["url"], file.get("sha256")
            target = Path(folder) / url.rsplit("/", 1)[-1]
            found = download(url, target, expected)
            if expected is None:
                terminal.say(f"{url}: SHA-256 {found} (none to compare it with)")
            fetched.append({"url": url, "sha256": found})
            if target.suffix == ".zip":
                extract_zip(target, Path(folder))
        data, provenance = load_source(Path(folder), name, PrepareOptions(**source.get("prepare", {})))
    return data, provenance | {"fetched": fetched}


def _check_content(data: SessionData, expected: str | None) -> None:
    found = content_sha256(data)
    if expected is not None and found != expected:
        raise UserError(
            f"data set {data.name}: the source holds other sessions than the standard split "
            f"(content SHA-256 {found}, expected {expected})"
        )
