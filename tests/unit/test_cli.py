# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: help, wrong arguments, bad files; one message, the right status, no traceback."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from toolchain.cli import main
from toolchain.ir import Dense, GraphBuilder, Input, IntegerType, load_graph, save_graph


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    builder = GraphBuilder("tiny")
    x = builder.add(Input((4,), IntegerType(False, 4, 2)), name="x")
    builder.output(builder.add(Dense(np.arange(8).reshape(4, 2) - 3, 1), x, name="dense"))
    return save_graph(builder.build(), tmp_path / "tiny.bitwright")


def test_help_names_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for command in ("build", "quantise", "evaluate", "inspect", "compare", "boards", "doctor"):
        assert f"\n  {command} " in out
        assert run(capsys, command, "--help")[0] == 0
    assert "bitwright build digits --board ulx3s-85f" in out


def test_start_up_imports_no_heavy_package() -> None:
    code = (
        "import sys, toolchain.cli\n"
        "heavy = {'numpy', 'tensorflow', 'torch', 'rich', 'plotly', 'onnx', 'qonnx', 'jinja2', 'hls4ml', 'cocotb'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["bulid"], 2, "No such command 'bulid'"),
        (["build"], 2, "Missing argument 'MODEL'"),
        (["build", "digits"], 2, "Missing option '--out'"),
        (["build", "digits", "--out", "o", "--until", "moon"], 2, "'moon' is not one of"),
        (["build", "digits", "--out", "o", "--cycles-per-frame", "0"], 2, "0 is not in the range x>=1"),
        (["build", "digits", "--out", "o", "--board", "ulx3s"], 2, "board 'ulx3s' is not known; nearest: ulx3s-85f"),
        (["build", "digits", "--out", "o", "--part", "LFE5U-84F-6BG381C"], 2, "nearest: LFE5U-85F-6BG381C"),
        (
            ["build", "digits", "--out", "o", "--board", "ulx3s-85f", "--part", "x"],
            2,
            "give --board or --part, not both",
        ),
        (["build", "digits", "--out", "o", "--until", "bitstream"], 2, "stage bitstream needs a --board"),
        (["build", "digits", "--out", "o", "--until", "netlist", "--part", "xc7z020clg400-1"], 2, "of family xc7"),
        (
            ["build", "digits", "--out", "o", "--backend", "hls4ml", "--until", "rtl"],
            2,
            "needs the vendor's HLS compiler",
        ),
        (["build", "absent.h5", "--out", "o"], 2, "absent.h5"),
        (["evaluate", "digits", "--vectors", "absent.npz", "--out", "y.npz"], 2, "absent.npz"),
        (["inspect"], 2, "Missing argument 'MODEL'"),
        (["inspect", "absent.h5"], 2, "absent.h5"),
        (["inspect", "absent.h5", "--out", "folder"], 2, "absent.h5"),
        (["compare", "nowhere", "elsewhere"], 2, "there is no report"),
        (["compare", "nowhere"], 2, "at least two"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *arguments)
    assert message in err
    assert (found, out) == (status, "")
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"
    # With --json the same message is also there for programs.
    found, out, err = run(capsys, *arguments, "--json")
    assert found == status
    assert message.split("'")[0] in json.loads(out)["error"]["message"]


def test_files_that_are_no_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, content in (
        ("notes.txt", b"hello"),
        ("empty.bitwright", b""),
        ("random.bitwright", np.random.default_rng(0).bytes(1000)),
        ("zip.bitwright", b""),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        if name.startswith("zip"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("other.txt", "x")
        status, _, err = run(capsys, "build", path, "--until", "graph", "--out", tmp_path / f"out_{name}")
        assert status == 2, err
        assert name in err


def evaluate(capsys: pytest.CaptureFixture[str], graph: Path, folder: Path, x: np.ndarray) -> tuple[int, str]:
    np.savez(folder / "v.npz", x=x)
    status, _, err = run(capsys, "evaluate", graph, "--vectors", folder / "v.npz", "--out", folder / "y.npz")
    return status, err


def test_evaluate_a_graph_file(capsys: pytest.CaptureFixture[str], graph_file: Path, tmp_path: Path) -> None:
    status, err = evaluate(capsys, graph_file, tmp_path, np.array([[0.25, 0.5, 3.75, 0.0]]))
    assert (status, "failed" in err) == (0, False)
    with np.load(tmp_path / "y.npz", allow_pickle=False) as result:
        assert result["y_integer"].tolist() == [[1 * -3 + 2 * -1 + 15 * 1, 1 * -2 + 2 * 0 + 15 * 2]]
        assert (result["y"] * 8 == result["y_integer"]).all()
        assert str(result["y_type"]).startswith("fixed<")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 5)), "expected an array of shape (samples, 4), found (3, 5)"),
        (np.full((3, 4), 4.0), "12 of 12 values lie outside [0, 3.75]"),
        (np.full((3, 4), np.nan), "nan"),
        (np.full((3, 4), np.inf), "inf"),
        (np.array([["a", "b", "c", "d"]]), "x"),
    ],
)
def test_bad_vectors(
    x: np.ndarray, message: str, capsys: pytest.CaptureFixture[str], graph_file: Path, tmp_path: Path
) -> None:
    status, err = evaluate(capsys, graph_file, tmp_path, x)
    assert status == 2
    assert message in err
    assert not (tmp_path / "y.npz").exists()


def test_inspect_a_graph_file(capsys: pytest.CaptureFixture[str], graph_file: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    status, out, _ = run(capsys, "inspect", graph_file)
    assert status == 0
    assert "input x: 4, ufixed<4,2>; 2^-2 a step" in out
    # 8 weights of 4 bits, one of them 0; 8 products of 4 by 4 bits, 4 a sum; sums of 8 bits.
    row = next(line.split() for line in out.splitlines() if line.startswith(" dense"))
    assert row == "dense dense 2 ufixed<4,2> fixed<8,5> 8 8 12 % 8 208 32".split()
    assert set(tmp_path.iterdir()) == before, "without --out nothing is written"


def test_inspect_writes_picture_and_files(capsys: pytest.CaptureFixture[str], graph_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    status, out, _ = run(capsys, "inspect", graph_file, "--out", folder, "--json")
    figures = json.loads(out)
    assert status == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(figures["files"].values())
    assert figures["files"] == {
        "picture": "graph.svg", "qonnx": "graph.qonnx.onnx", "graph": "graph.bitwright", "figures": "inspect.json",
    }  # fmt: skip
    assert json.loads((folder / "inspect.json").read_text()) == figures
    assert figures["totals"]["bit_operations"] == 208
    assert (folder / "graph.svg").read_text().startswith("<?xml")
    assert load_graph(folder / "graph.bitwright").digest == figures["graph_digest"]
    # A second run, and a run on what the first wrote, give the same figures and the same bytes.
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(run(capsys, "inspect", folder / "graph.bitwright", "--out", folder, "--json")[1]) == figures
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_inspect_says_which_file_a_model_cannot_have(
    capsys: pytest.CaptureFixture[str], graph_file: Path, tmp_path: Path
) -> None:
    builder = GraphBuilder("wide")
    x = builder.add(Input((4,), IntegerType(False, 20)), name="x")
    builder.output(builder.add(Dense(np.full((4, 2), 12345)), x, name="dense"))
    wide = save_graph(builder.build(), tmp_path / "wide.bitwright")
    folder = tmp_path / "out"
    run(capsys, "inspect", graph_file, "--out", folder)
    assert (folder / "graph.qonnx.onnx").exists()
    status, out, _ = run(capsys, "inspect", wide, "--out", folder)
    assert status == 0
    assert "Note: no graph.qonnx.onnx: dense (dense): its" in out
    assert "float32" in out
    assert sorted(path.name for path in folder.iterdir()) == ["graph.bitwright", "graph.svg", "inspect.json"]


def test_inspect_into_a_place_that_is_no_folder(
    capsys: pytest.CaptureFixture[str], graph_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    for target in ("taken", "taken/below"):
        status, _, err = run(capsys, "inspect", graph_file, "--out", tmp_path / target)
        assert status == 2
        assert "cannot be written; --out takes a folder" in err
    assert (tmp_path / "taken").read_text() == "mine"


def test_doctor_says_what_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "doctor", "--json")
    tools = json.loads(out)["tools"]
    assert {"Verilator", "hls4ml"} <= {tool["name"] for tool in tools}
    assert all(tool["lost_without"] and tool["install"] for tool in tools)
    assert status == (0 if all(tool["found"] for tool in tools if not tool["optional"]) else 4)


def test_boards(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "boards", "--json")
    assert status == 0
    assert "ulx3s-85f" in [board["name"] for board in json.loads(out)]


def test_a_result_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills while it is written: a message, and nothing half-written."""
    import numpy as np

    from toolchain.errors import InputError
    from toolchain.pipeline import evaluation

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match=r"y\.npz: cannot be written \(No space left on device\)"):
        evaluation._write(tmp_path / "y.npz", {"y": np.zeros(3)})
    assert not list(tmp_path.iterdir())
