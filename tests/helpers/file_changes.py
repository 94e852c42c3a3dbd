"""Every place of the package that makes, changes or removes a file or a folder, found in its source."""

import ast
from collections.abc import Iterator
from pathlib import Path

# By the last word of the call; of words that other things have too, the whole call.
CHANGES = {
    *(
        "mkdir",
        "makedirs",
        "unlink",
        "rmdir",
        "rmtree",
        "write_text",
        "write_bytes",
        "touch",
        "symlink_to",
        "hardlink_to",
    ),
    *("truncate", "fsync", "chmod", "mkstemp", "mkdtemp", "TemporaryDirectory", "NamedTemporaryFile", "extractall"),
    *("savefig", "savez", "savez_compressed", "save_file", "to_csv", "to_parquet", "ParquetWriter", "write_table"),
    *("FileHandler", "SummaryWriter", "renameat2", "tofile", "copyfile", "copytree", "copyfileobj"),
    *("os.replace", "os.rename", "os.remove", "os.link", "os.symlink", "os.open", "shutil.move", "shutil.copy"),
    *("np.save", "torch.save", "torch.export.save", "torch.onnx.export"),
}


def changes(package: Path) -> set[str]:
    """The places, as ``utils/files.py:replacing``: module and innermost function."""
    return {
        f"{file.relative_to(package)}:{function}"
        for file in sorted(package.rglob("*.py"))
        for function in _changing(ast.parse(file.read_text(encoding="utf-8")), "<module>")
    }


def _changing(node: ast.AST, function: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        inner = "<lambda>" if isinstance(child, ast.Lambda) else inner
        if isinstance(child, ast.Call) and _changes(child):
            yield function
        yield from _changing(child, inner)


def _changes(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    last = called.rpartition(".")[2]
    if called == "os.open":
        return "O_CREAT" in ast.unparse(call)
    if last in ("open", "memmap"):
        words = [one.value for one in [*call.args, *(k.value for k in call.keywords)] if isinstance(one, ast.Constant)]
        modes = [word for word in words if isinstance(word, str) and set(word) <= set("rwxabt+")]
        return any(set(mode) & set("wxa+") for mode in modes)
    return last in CHANGES or called in CHANGES


def declared() -> dict[str, str]:
    """What ``fault_points.txt`` says of each place that changes files."""
    text = (Path(__file__).parents[1] / "attack" / "fault_points.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {place: how.strip() for place, _, how in (line.partition(" ") for line in lines)}


def check_declared(name: str, points: list[str]) -> None:
    """Refuse a list that is not true of the fault points which a command passes."""
    reached = {point.partition(" @")[2] for point in points}
    said = {place for place, how in declared().items() if how.startswith("killed in ") and name in how.split(" ")}
    assert said <= reached, f"{name} passes no fault point in {sorted(said - reached)}, as fault_points.txt has it"
    unsaid = {place for place in reached - said if not declared().get(place, "").startswith("killed in ")}
    assert not unsaid, f"{name} passes fault points in {sorted(unsaid)}, of which fault_points.txt knows nothing"
