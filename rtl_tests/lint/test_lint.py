# SPDX-License-Identifier: Apache-2.0
"""Every kernel is clean under Verilator's lint and accepted by both of Yosys's SystemVerilog frontends.

The parameter sets are those of the benches, plus some for the modules that only stand inside others.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case
from rtl_tests.common.simulate import LIBRARY, literal, missing_tool, verilator_environment

BENCHES = (
    "add_bias",
    "argmax",
    "insert_zeros",
    "lookup",
    "matrix_vector_unit",
    "pad",
    "parallel_window",
    "relu",
    "requantise",
    "scale",
    "skid_buffer",
    "sliding_window",
    "stream_combine",
    "stream_concatenate",
    "stream_fifo",
    "stream_fork",
    "stream_slice",
    "stream_width_converter",
    "threshold",
    "top_k",
    "upsample",
    "window_reduce",
)

#: Modules without a bench of their own here, as tops of their own.
INNER: dict[str, list[dict[str, int | str]]] = {
    "axi_lite_load": [
        {},
        {"ADDRESS_WIDTH": 3, "FIRST": 1, "LAST": 1},
        {"ADDRESS_WIDTH": 32, "FIRST": 1 << 20, "LAST": (1 << 29) - 1},
    ],
    "add_subtract": [{"WIDTH": width} for width in (1, 2, 9)],
    "adder_tree": [
        {"OPERANDS": n, "LEVELS_PER_STAGE": k, "SUBTRACTS": subtracts}
        for n, k in ((1, 1), (2, 1), (4, 1), (11, 2))
        for subtracts in (0, 1)
    ],
    "align": [
        {"WIDTH": w, "SIGNED": s, "SHIFT": shift, "OUTPUT_WIDTH": o}
        for w, s, shift, o in ((4, 1, 0, 4), (4, 0, 3, 9), (1, 1, 2, 2), (6, 1, 0, 64))
    ],
    "border_counter": [
        {"BEFORE": b, "INNER": i, "AFTER": a} for b, i, a in ((0, 1, 0), (0, 3, 2), (2, 1, 0), (1, 4, 3))
    ],
    "column_sum_counts": [
        {"SIMD": simd, "PE": pe, "SUM_WIDTH": w} for simd, pe, w in ((1, 1, 2), (7, 9, 5), (4, 2, 3))
    ],
    "column_sum_digits": [
        {
            "SIMD": simd,
            "PE": pe,
            "INPUT_WIDTH": i,
            "INPUT_SIGNED": i % 2,
            "WEIGHT_WIDTH": w,
            "WEIGHT_KIND": k,
            "SUM_WIDTH": total,
        }
        for simd, pe, i, w, k, total in (
            (1, 1, 1, 1, 0, 1),
            (1, 1, 2, 1, 1, 4),
            (3, 9, 5, 2, 2, 9),
            (4, 2, 4, 3, 0, 3),
            (4, 2, 4, 4, 0, 10),
        )
    ],
    "column_sum_magnitudes": [
        {"SIMD": simd, "PE": pe, "INPUT_WIDTH": i, "INPUT_SIGNED": i % 2, "SUM_WIDTH": total, "SIGNED_SUMS": signed}
        for simd, pe, i, total, signed in ((1, 1, 1, 4, 1), (3, 9, 5, 9, 0), (4, 2, 4, 3, 1))
    ],
    "column_sum_multipliers": [
        {"SIMD": 3, "PE": pe, "INPUT_WIDTH": i, "INPUT_SIGNED": i % 2, "STYLE": style, "DSP_WIDTH": dsp}
        for pe, i, style, dsp in ((1, 8, 0, 0), (3, 5, 1, 0), (5, 4, 2, 25), (2, 3, 0, 18))
    ],
    "constant_memory": [
        {"DATA_WIDTH": width, "DEPTH": depth, "FILE": "words.hex", **load}
        for width, load in (
            (8, {}),
            *((width, {"LOADABLE": 1, "LOAD_BASE": 1024}) for width in (8, 32, 40, 150)),
        )
        for depth in (1, 16, 100)
    ],
    "element_multiples": [{"SIMD": 3, "INPUT_WIDTH": w, "INPUT_SIGNED": s} for w in (1, 4) for s in (0, 1)],
    "gap_counter": [{"COUNT": count, "FACTOR": factor} for count, factor in ((1, 3), (4, 1), (1, 1), (2, 2), (5, 4))],
    "multiplier": [
        {"A_WIDTH": a, "B_WIDTH": b, "PRODUCT_WIDTH": p, "STYLE": style}
        for style in (0, 1, 2)
        for a, b, p in ((6, 4, 10), (1, 1, 2), (5, 7, 9))
    ],
    "packed_multiplier": [
        {"COUNT": n, "A_WIDTH": a, "B_WIDTH": b, "PRODUCT_WIDTH": p}
        for n, a, b, p in ((1, 4, 3, 7), (2, 6, 5, 9), (3, 4, 3, 8))
    ],
    "result_queue": [{"SLOTS": slots} for slots in (1, 2, 3, 9)],
    "saturate": [{"OVERFLOW": code} for code in range(4)],
    "slice_counter": [
        {"COUNT": count, "START": start, "STOP": stop, "STEP": step}
        for count, start, stop, step in ((1, 0, 1, 1), (6, 0, 6, 2), (6, 3, 5, 3), (9, 4, 8, 2), (5, 2, 5, 9))
    ],
    "stream_narrow": [{"FACTOR": 3}],
    "stride_counter": [
        {"COUNT": count, "FIRST": first, "STRIDE": stride}
        for count, first, stride in ((1, 0, 1), (1, 0, 3), (5, 0, 1), (5, 0, 2), (6, 2, 1), (7, 6, 9), (9, 3, 2))
    ],
    "stream_widen": [{"FACTOR": 3}],
    "wrap_counter": [{"COUNT": count} for count in (1, 2, 5)],
}

#: Faulty parameters, and the values that the message has to name.
FAULTY: list[tuple[str, dict[str, int | str], str]] = [
    ("matrix_vector_unit", {"INPUT_SIZE": 16, "SIMD": 5, "WEIGHT_FILE": "words.hex"}, "5 of 16"),
    ("matrix_vector_unit", {"INPUT_WIDTH": 65, "WEIGHT_FILE": "words.hex"}, "65"),
    ("matrix_vector_unit", {"WEIGHT_KIND": 1, "WEIGHT_WIDTH": 2, "WEIGHT_FILE": "words.hex"}, "1 with 2"),
    ("matrix_vector_unit", {"WEIGHT_KIND": 3, "WEIGHT_WIDTH": 4, "WEIGHT_FILE": "words.hex"}, "3 with 4"),
    ("threshold", {"CHANNELS": 8, "PE": 3, "THRESHOLD_FILE": "words.hex"}, "3 and 8"),
    ("stream_fifo", {"DEPTH": 1}, "got 8 and 1"),
    ("argmax", {"CHANNELS": 10, "INDEX_WIDTH": 3}, "3 bits for 10 channels"),
    ("requantise", {"OVERFLOW": 3, "OUTPUT_SIGNED": 0}, "OUTPUT_SIGNED 0"),
    ("sliding_window", {"CHANNELS": 6, "SIMD": 4}, "4, 6 and 8"),
    ("sliding_window", {"HEIGHT": 4, "KERNEL_HEIGHT": 3, "DILATION_HEIGHT": 2}, "5 x 3 pixels, the frame has 4 x 8"),
    ("sliding_window", {"BUFFER_BEATS": 37}, "at least 38"),
    ("sliding_window", {"STRIDE_WIDTH": 0}, "1 x 0"),
    ("window_reduce", {"CHANNELS": 8, "PE": 3}, "3, 8 and 4"),
    ("window_reduce", {"OPERATION": 0, "OUTPUT_WIDTH": 7}, "INPUT_WIDTH for maxima; got 7"),
    ("window_reduce", {"OPERATION": 2}, "8 and 2"),
    ("parallel_window", {"SLOTS": 0}, "1, 8 and 0"),
    ("parallel_window", {"HEIGHT": 2}, "3 x 3 pixels, the frame has 2 x 8"),
    ("axi_lite_load", {"ADDRESS_WIDTH": 33}, "got 33"),
    ("axi_lite_load", {"FIRST": 0}, "0, 1023 and 12"),
    ("axi_lite_load", {"LAST": 1024}, "16, 1024 and 12"),
    ("axi_lite_load", {"FIRST": 7, "LAST": 6}, "7, 6 and 12"),
    (
        "constant_memory",
        {"DATA_WIDTH": 33, "DEPTH": 5, "FILE": "words.hex", "LOADABLE": 1, "LOAD_BASE": 24},
        "16; got 24",
    ),
    ("pad", {"CHANNELS": 5, "SIMD": 2}, "2, 5 and 8"),
    ("pad", {"VALUE": -129}, "-129 and 8"),
    ("pad", {"VALUE": 256}, "256 and 8"),
    ("stream_fork", {"DATA_WIDTH": 0}, "got 0"),
    ("stream_combine", {"A_WIDTH": 65}, "65 and 8"),
    ("stream_combine", {"OPERATION": 3}, "3 and 0"),
    ("stream_combine", {"OPERATION": 2, "B_SHIFT": 1}, "0 and 1"),
    ("stream_concatenate", {"B_BEATS": 0}, "1 and 0"),
    ("stream_concatenate", {"PE": 0}, "0, 8, 8 and 8"),
    ("stream_slice", {"START_WIDTH": 3, "STOP_WIDTH": 3}, "3, 3, 4 and 1"),
    ("stream_slice", {"STOP_HEIGHT": 5}, "0, 5, 4 and 1"),
    ("stream_slice", {"STEP_CF": 0}, "0, 1, 1 and 0"),
    ("relu", {"NEGATIVE_SLOPE_SHIFT": -2}, "-2"),
    ("scale", {"INPUT_WIDTH": 65, "FACTOR_FILE": "words.hex"}, "65 and 8"),
    ("scale", {"MULTIPLIER_STYLE": 3, "FACTOR_FILE": "words.hex"}, "got 3"),
    ("lookup", {"CHANNELS": 8, "PE": 3, "TABLE_FILE": "words.hex"}, "3 and 8"),
    ("lookup", {"CHANNELS": 8, "ROWS": 2, "TABLE_FILE": "words.hex"}, "2 and 8"),
    ("upsample", {"CHANNELS": 6, "PE": 4}, "4, 6 and 8"),
    ("upsample", {"BUFFER_BEATS": 15}, "at least 16"),
    ("upsample", {"FACTOR_HEIGHT": 1, "BUFFER_BEATS": 1}, "at least 2"),
    ("upsample", {"FACTOR_WIDTH": 0}, "8, 8, 2 and 0"),
    ("insert_zeros", {"CHANNELS": 5, "SIMD": 2}, "2, 5 and 8"),
    ("insert_zeros", {"FACTOR_HEIGHT": 0}, "8, 8, 0 and 2"),
    ("top_k", {"PE": 2}, "2 and 8"),
    ("top_k", {"CHANNELS": 4, "K": 5}, "5 and 4"),
    ("top_k", {"CHANNELS": 20}, "4 bits for 20 channels"),
]

#: Modules with a bench of their own whose memories can be loaded.
LOADABLE = {"add_bias", "matrix_vector_unit", "scale", "threshold"}

#: Parameters of 64 bits: Verilator's -G takes an unsized number for one of 32.
LONG = {"OUTPUT_MAXIMUM", "OUTPUT_MINIMUM", "UPPER_BOUND", "VALUE"}

TOP = "lint_top"
WORDS = 4096


def cases_of(bench: str) -> list[Case]:
    return importlib.import_module(f"rtl_tests.{bench}.test_{bench}").CASES


def parameter_sets(module: str, folder: Path) -> list[dict[str, int | str]]:
    if module in INNER:
        (folder / "words.hex").write_text("00\n" * 100)
        return INNER[module]
    sets = []
    for case in cases_of(module):
        parameters = dict(case.parameters)
        for parameter, (_, words) in case.files.items():
            path = folder / f"{case.name}_{parameter.lower()}.hex"
            path.write_text("".join(f"{word:x}\n" for word in words))
            parameters[parameter] = path.name
        sets.append(parameters)
    return [*sets, {**sets[-1], "LOADABLE": 1}] if module in LOADABLE else sets


def verilator_lint(module: str, parameters: dict[str, int | str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = verilator_environment()
    program = Path(environment["VERILATOR_ROOT"]) / "bin" / "verilator"
    values = [
        f"-G{name}=64'sh{int(value) & (1 << 64) - 1:x}" if name in LONG else f"-G{name}={literal(value)}"
        for name, value in parameters.items()
    ]
    command = ["perl", str(program), "--lint-only", "-Wall", "-y", str(LIBRARY), "+libext+.sv", "--top-module", module]
    return subprocess.run(
        [*command, *values, str(LIBRARY / f"{module}.sv")],
        cwd=folder,
        env={"PATH": environment["PATH"], "VERILATOR_ROOT": environment["VERILATOR_ROOT"]},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def yosys(script: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Yosys commands in a process of its own: a frontend error ends the process."""
    code = "import sys\nfrom pyosys import libyosys as ys\nd = ys.Design()\nfor c in sys.argv[1:]: ys.run_pass(c, d)\n"
    return subprocess.run(
        [sys.executable, "-c", code, *script], cwd=folder, capture_output=True, check=False, text=True, timeout=600
    )


def modules() -> list[str]:
    return sorted(path.stem for path in LIBRARY.glob("*.sv"))


def test_every_module_is_listed() -> None:
    assert modules() == sorted({*BENCHES, *INNER})


@pytest.mark.parametrize("module", sorted({*BENCHES, *INNER}))
def test_verilator_lint_is_clean(module: str, tmp_path: Path) -> None:
    if (tool := missing_tool()) is not None:
        pytest.skip(f"needs {tool}")
    for parameters in parameter_sets(module, tmp_path):
        result = verilator_lint(module, parameters, tmp_path)
        assert result.returncode == 0, f"{module} {parameters}:\n{result.stderr}"
        assert "%Warning" not in result.stderr, f"{module} {parameters}:\n{result.stderr}"


def sources() -> str:
    return " ".join(str(path) for path in sorted(LIBRARY.glob("*.sv")))


def yosys_script(
    frontend: str, module: str, parameters: dict[str, int | str], finish: list[str], folder: Path
) -> list[str]:
    """Read the kernel with its parameters as the top, in either frontend's own way."""
    if frontend == "read_slang":
        # read_slang takes parameters as name=value, strings in quotes.
        values = " ".join(f"-G {name}={literal(value)}" for name, value in parameters.items())
        return [f"read_slang --top {module} {values} {sources()}", *finish]
    values = ", ".join(f".{name}({literal(value)})" for name, value in parameters.items())
    (folder / "top.sv").write_text(f"module {TOP};\n  {module} #({values}) u ();\nendmodule\n")
    # Deferred: a memory file has no default, so a module is read only with its parameters. The module that is derived with
    # them becomes the top.
    return [
        f"read_verilog -sv -defer {sources()} top.sv",
        f"hierarchy -check -top {TOP}",
        f"delete {TOP}",
        "hierarchy -check -auto-top",
        *finish,
    ]


@pytest.mark.parametrize("frontend", ["read_slang", "read_verilog"])
@pytest.mark.parametrize("module", sorted({*BENCHES, *INNER}))
def test_yosys_accepts(module: str, frontend: str, tmp_path: Path) -> None:
    """Elaborates to a netlist without latches, multiple drivers or undriven nets (`check -assert`)."""
    if importlib.util.find_spec("pyosys") is None:
        pytest.skip("needs pyosys (Python package)")
    sets = parameter_sets(module, tmp_path)
    # Every set is a pass over all files: the first, the last and every fourth in between.
    for parameters in [*sets[:-1:4], sets[-1]]:
        finish = ["proc", "flatten", "opt_clean", "select -assert-none t:$dlatch t:$_DLATCH_*", "check -assert"]
        result = yosys(yosys_script(frontend, module, parameters, finish, tmp_path), tmp_path)
        assert result.returncode == 0, f"{module} {parameters}:\n{(result.stdout + result.stderr)[-2000:]}"


@pytest.mark.parametrize(("module", "parameters", "values"), FAULTY)
def test_faulty_parameters_are_refused(
    module: str, parameters: dict[str, int | str], values: str, tmp_path: Path
) -> None:
    if (tool := missing_tool()) is not None:
        pytest.skip(f"needs {tool}")
    (tmp_path / "words.hex").write_text("0\n" * WORDS)
    result = verilator_lint(module, parameters, tmp_path)
    assert result.returncode != 0
    assert "USERFATAL" in result.stderr
    assert values in result.stderr, result.stderr
