"""Running other people's code, a plug-in file or its classes, and saying which of its lines is to blame."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from recbole_tme.errors import PluginError, UserError, WrongResult

# Packages whose code is not a plug-in's.
_NOT_FOREIGN = ("recbole_tme", "recbole", "torch", "builtins", "abc", "typing")
# Of the names of plug-ins' modules.
_PREFIX = "recbole_tme_plugin_"
_LONGEST = 300


def execute(path: Path) -> ModuleType:
    """Run a Python file as a module of its own, found by pickle under its name.

    Raises:
        UserError: the file is not Python, raises (names its line), or has the name of one that is loaded.
    """
    name = f"{_PREFIX}{path.stem}"
    if name in sys.modules:
        raise UserError(f"plugin {path}: a plugin called {path.stem} is loaded already; rename one of the files")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as an import would do: dataclasses and pickle look classes up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        del sys.modules[name]
        raise
    except BaseException as error:
        del sys.modules[name]
        place = _line_of_syntax_error(path, error) or _last_line(error, [path]) or str(path)
        raise PluginError(f"plugin {place}: {one_line(error)}") from error
    return module


def is_foreign(model_class: type) -> bool:
    """Whether a model, or its backbone, is neither this package's nor RecBole's."""
    return bool(foreign_files(model_class))


def foreign_files(model_class: type) -> list[Path]:
    """The files that define a model's classes, those of this package and of RecBole left out; the model's own first."""
    files = []
    for cls in model_class.__mro__:
        if cls.__module__.partition(".")[0] not in _NOT_FOREIGN:
            try:
                files.append(Path(inspect.getfile(cls)))
            except (TypeError, OSError):
                continue
    return list(dict.fromkeys(files))


@contextmanager
def blaming(model_class: type) -> Iterator[None]:
    """Turn what a foreign model raises into one line that names its file, line and class.

    The exceptions of this package's and RecBole's own models pass, as do a ``UserError``, which is one line already,
    an interrupt, and errors of the file system where no line of the model took part.

    Raises:
        PluginError: the model's code raised, or made other code raise that was given its results.
    """
    files = foreign_files(model_class)
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        place = _last_line(error, files)
        if not files or (place is None and not _may_be_the_models(error)):
            raise
        said = f"plugin {place or files[0]}: class {model_class.__name__}: {one_line(error)}"
        if place is None and not isinstance(error, WrongResult):
            # What it returned did not suit the code that it was returned to.
            said += f" (raised in {_innermost_line(error)})"
        raise PluginError(said) from error


def plugin_to_blame(error: BaseException) -> PluginError | None:
    """One line about an exception that a loaded plug-in file took part in, whoever called it; None for any other.

    For a command line's last resort: code that runs a model's methods for long has :func:`blaming` around it.
    """
    files = [module.__file__ for name, module in list(sys.modules.items()) if name.startswith(_PREFIX)]
    place = _last_line(error, [Path(file) for file in files if file])
    if place is None:
        return None
    found = PluginError(f"plugin {place}: {one_line(error)}")
    found.__cause__ = error
    return found


def one_line(error: BaseException) -> str:
    """An exception's type and text, in one line of bounded length."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    if _is_out_of_memory(error) or "can't allocate memory" in text:
        return "out of memory; lower train_batch_size or eval_batch_size, or the model's sizes"
    if isinstance(error, WrongResult):
        return text
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _may_be_the_models(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, OSError) and not _is_out_of_memory(error)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's by its name: this module is imported where torch is not.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _line_of_syntax_error(path: Path, error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename == str(path) and error.lineno:
        return f"{path}:{error.lineno}"
    return None


def _last_line(error: BaseException, files: Collection[Path]) -> str | None:
    """``file:line`` of the last line of some files that took part in an exception."""
    names = {str(path) for path in files}
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    return f"{lines[-1].filename}:{lines[-1].lineno}" if lines else None


def _innermost_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
