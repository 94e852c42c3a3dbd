"""Files from the network, whole and checked or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import stat
import urllib.error
import urllib.request
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from recbole_tme.data.compressed import most_bytes
from recbole_tme.errors import UserError, in_one_line
from recbole_tme.utils import terminal

_BLOCK = 1 << 18


def download(url: str, target: Path, sha256: str | None = None, timeout: float = 30.0) -> str:
    """Fetch a file, with a progress bar on a terminal.

    The file is written beside its place and renamed into it when its length and checksum are right.

    Args:
        url: an http or https address.
        target: the file to write; its folder must exist.
        sha256: what the file must hash to, or None where that is not known.
        timeout: seconds without a byte after which the server is given up.

    Returns:
        The file's SHA-256.

    Raises:
        UserError: the server cannot be reached, refuses, stops half-way, or sends another file.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url}: not an http or https address")
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        found = _fetch(url, part, timeout)
        if sha256 is not None and found != sha256:
            raise UserError(
                f"{url}: wrong checksum: SHA-256 is {found}, expected {sha256}; "
                "the file was changed or damaged on its way, try again or fetch it by hand"
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return found


def _fetch(url: str, part: Path, timeout: float) -> str:
    # The caller has seen that it is http or https.
    request = urllib.request.Request(url, headers={"User-Agent": "recbole-tme"})  # noqa: S310
    digest = hashlib.sha256()
    received = 0
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response, open(part, "wb") as file:  # noqa: S310
            length = response.headers.get("Content-Length")
            total = int(length) if length is not None and length.isdigit() else None
            shown_total = None if total is None else total / 1e6
            with terminal.bar(f"fetching {url.rsplit('/', 1)[-1]}", shown_total, "MB") as shown:
                while block := response.read(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    received += len(block)
                    shown.advance(len(block) / 1e6)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise UserError(f"{url}: cannot be reached ({error.reason})") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise UserError(f"{url}: no address that can be asked ({error})") from None
    except (http.client.HTTPException, OSError) as error:
        raise UserError(f"{url}: the transfer broke off after {received} bytes ({error}); try again") from None
    if total is not None and received != total:
        raise UserError(f"{url}: the transfer broke off after {received} of {total} bytes; try again")
    return digest.hexdigest()


def extract_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip file into a folder, and nothing outside it.

    Raises:
        UserError: not a whole zip file, or a member that would lie outside the folder or is a link.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            unpacked, packed = sum(member.file_size for member in content.infolist()), archive.stat().st_size
            if unpacked > most_bytes(packed):
                raise UserError(
                    f"{archive}: {packed:,} bytes that unpack to {unpacked:,} are no log; unpack it yourself if it is"
                )
            for member in content.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in str(path).split("/")[0]:
                    raise UserError(f"{archive}: member {member.filename!r} would lie outside its folder; not unpacked")
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise UserError(f"{archive}: member {member.filename!r} is a link; not unpacked")
            content.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"{archive}: a damaged or incomplete zip file ({in_one_line(error)}); fetch it again") from None
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked ({error.strerror or error})") from None
