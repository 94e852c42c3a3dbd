"""What MkDocs calls while it builds the site: pages made from the code, the other pages, and links.

    mkdocs build --strict        (with the extra docs)

Pages that are made here have no file in docs/: one per model, the commands, the settings, the messages, the API and the
notebooks. A comment such as ``<!-- made: recbole_keys -->`` in a page of docs/ is replaced by a part that is made.
"""

from __future__ import annotations

import re
from pathlib import Path

from api_pages import api_page, building_blocks_page, plain_roles
from command_pages import commands_page
from key_pages import recbole_keys, settings_page
from message_pages import messages_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Page
from model_pages import builtin_page, index_page, model_names, model_page
from notebook_pages import notebook_page
from repository_pages import OUTSIDE, Repository

ROOT = Path(__file__).parents[2]
PARTS = {"recbole_keys": recbole_keys}
_ERRORS = re.compile(r'<div class="(?=highlight"><pre>(?:<[^>]*>)*error: )')
_MARK = re.compile(r"<!-- made: (\w+) -->")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the models' pages in the navigation, in the order in which they are listed."""
    for entry in config.nav or []:
        if "Models" in entry:
            entry["Models"] += [{name: f"models/{name}.md"} for name in model_names()]
            entry["Models"].append({"RecBole's own": "models/recbole.md"})
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and those of the repository's files outside docs/."""
    made = {
        "models/index.md": index_page(),
        "models/recbole.md": builtin_page(),
        **{f"models/{name}.md": model_page(name) for name in model_names()},
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/messages.md": messages_page(),
        "reference/api.md": api_page(),
        "reference/building_blocks.md": building_blocks_page(),
    }
    for file in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{file.stem}.md"] = notebook_page(file)
    made |= {page: (ROOT / source).read_text(encoding="utf-8") for source, page in OUTSIDE.items()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    repository = Repository(ROOT, files, config)
    for file in list(files.documentation_pages()):
        repository.add_what_is_linked(file.src_uri, made.get(file.src_uri) or file.content_string)
    config.extra["repository"] = repository
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the parts that are made, and point links at files of the repository to their place on the site."""
    filled = _MARK.sub(lambda mark: PARTS[mark[1]](), markdown)
    return config.extra["repository"].with_links(page.file.src_uri, filled)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show the names alone where docstrings refer to other objects in Sphinx's way, and mark blocks of messages."""
    return _ERRORS.sub('<div class="message ', plain_roles(html))
