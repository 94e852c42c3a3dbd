"""Running a user's Python file, and saying which of its lines is to blame."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from recbole_tme.errors import UserError


def execute(path: Path) -> ModuleType:
    """Run a Python file as a module of its own, found by pickle under its name.

    Raises:
        UserError: the file is not Python, raises (names its line), or has the name of one that is loaded.
    """
    name = f"recbole_tme_plugin_{path.stem}"
    if name in sys.modules:
        raise UserError(f"plugin {path}: a plugin called {path.stem} is loaded already; rename one of the files")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"plugin {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as an import would do: dataclasses and pickle look classes up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"plugin {_blamed_line(path, error)}: {type(error).__name__}: {error}") from error
    return module


def _blamed_line(path: Path, error: BaseException) -> str:
    """``file:line`` of the plugin's last line that took part in an exception."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
