"""Files of the repository outside docs/: some are pages of the site, others are shown or copied where a page links."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# Source file -> its page on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security_policy.md",
    "dataset_atomic/README.md": "reference/data_sets.md",
    "benchmarks/RESULTS.md": "measured/speed.md",
    "benchmarks/seed_tests.md": "measured/seed_tests.md",
}
_SOURCES = {page: source for source, page in OUTSIDE.items()}
# A link or picture, not inside `code`; its target without a title.
_LINK = re.compile(r"(?P<code>`+[^`]*`+)|(?P<text>!?\[[^\]]*\]\()(?P<target>[^)\s]+)(?P<end>\))")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash", ".json": "json"}


class Repository:
    """Where the repository's files are on the site.

    Args:
        root: the repository.
        files: the site's files; what pages link to is added to them.
        config: the site's configuration.
    """

    def __init__(self, root: Path, files: Files, config: MkDocsConfig):
        self.root, self.files, self.config = root, files, config

    def add_what_is_linked(self, page: str, markdown: str) -> None:
        """Put every file or folder outside docs/ that a page links to on the site."""
        for target in self._targets(page, markdown):
            where = self._site_path(target)
            if where and self.files.get_file_from_path(where) is None:
                path = self.root / target
                if path.is_dir() or where.endswith(".md"):
                    self.files.append(File.generated(self.config, where, content=_listing(path)))
                else:
                    self.files.append(File.generated(self.config, where, abs_src_path=str(path)))

    def with_links(self, page: str, markdown: str) -> str:
        """The text of a page with its links to files of the repository as links within the site."""

        def replace(link: re.Match) -> str:
            if link["code"]:
                return link[0]
            path, sign, anchor = link["target"].partition("#")
            where = self._site_path(self._in_repository(page, path)) if path and "://" not in path else None
            if where is None:
                return link[0]
            relative = os.path.relpath(where, PurePosixPath(page).parent)
            return f"{link['text']}{relative}{sign}{anchor}{link['end']}"

        parts = _FENCE.split(markdown)
        return "".join(part if i % 2 else _LINK.sub(replace, part) for i, part in enumerate(parts))

    def _targets(self, page: str, markdown: str) -> set[str]:
        prose = "".join(_FENCE.split(markdown)[::2])
        paths = {link["target"].partition("#")[0] for link in _LINK.finditer(prose) if not link["code"]}
        inside = {self._in_repository(page, path) for path in paths if path and "://" not in path}
        return {path for path in inside if (self.root / path).exists()}

    def _in_repository(self, page: str, link: str) -> str:
        """The file that a link of a page means, from the repository's root."""
        source = _SOURCES.get(page, f"docs/{page}")
        return os.path.normpath(PurePosixPath(source).parent / link)

    def _site_path(self, path: str) -> str | None:
        """A repository file's place on the site; None where it does not exist, so that MkDocs reports the link."""
        if path in OUTSIDE:
            return OUTSIDE[path]
        if path.startswith("docs/"):
            return path.removeprefix("docs/")
        full = self.root / path
        if not full.exists():
            return None
        return f"files/{path}.md" if full.is_dir() or full.suffix in _LANGUAGES else f"files/{path}"


def _listing(path: Path) -> str:
    """A page that shows a text file, or the text files of a folder."""
    found = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    heads = [f"# {path.name}" if path.is_file() else f"# {path.name}/"]
    for file in found:
        language = _LANGUAGES.get(file.suffix, "text")
        shown = f"````{language}\n{file.read_text(encoding='utf-8').rstrip()}\n````"
        heads.append(shown if path.is_file() else f"## {file.name}\n\n{shown}")
    return "\n\n".join(heads) + "\n"
