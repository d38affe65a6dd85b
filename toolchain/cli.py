# SPDX-License-Identifier: Apache-2.0
"""The command `bitwright`. Only click is imported at start; each command imports what it needs when it runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from toolchain import __version__
from toolchain.errors import ToolchainError, UsageError

_STAGES = ("graph", "hls", "rtl", "netlist", "bitstream")
_INTERRUPTED = 130


class _Commands(click.Group):
    """Shows the commands in the order of a user's work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _examples(*lines: str) -> str:
    """Help text that click must not re-wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_examples(
        "bitwright build digits --board ulx3s-85f --out build/digits   from a trained model to a bitstream and a report",
        "bitwright build my_model.h5 --until rtl --out build/mine      RTL, verified in simulation",
        "bitwright evaluate my_model.onnx --vectors v.npz --out y.npz  what the integer graph computes",
        "bitwright inspect my_model.h5 --out build/look                the integer graph: table, picture, file for Netron",
        "bitwright quantise float.onnx --calibration x.npz --out build/q  a plain float model, quantised after training",
        "bitwright doctor                                              which tools are there, and what is lost without them",
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name="bitwright")
def bitwright() -> None:
    """From a quantised neural network (QKeras, Brevitas, QONNX) to FPGA hardware, verified bit for bit."""


_model_argument = click.argument("model", metavar="MODEL")
_json_option = click.option("--json", "as_json", is_flag=True, help="Write the result to standard output as JSON.")


def _input_options(command: Any) -> Any:
    """The options that say what the model file leaves open: its weights, and what type a real input has in hardware."""
    for option in (
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Weights for a Keras model (.h5, .keras). Default: those in its file; of NAME.json, NAME_weights.h5 beside it.",
        ),
        click.option(
            "--input-bits",
            type=click.IntRange(2, 32),
            metavar="N",
            help="Widest type that samples may choose. Default: 16.",
        ),
        click.option(
            "--input-samples",
            type=click.Path(path_type=Path),
            metavar="FILE.npz",
            help="Instead: inputs x to choose the type from (x_NAME for each of several). What was chosen and what it clips is told.",
        ),
        click.option(
            "--input-type",
            metavar="[NAME=]TYPE",
            multiple=True,
            help="Type of the input, for a model that does not quantise its own: 'fixed<16,6>', 'uint8', 'uint8*1/255' (times "
            "a scale), 'fixed<8,3> saturate' (values beyond it are clipped, not refused). Repeatable, for input NAME.",
        ),
    ):
        command = option(command)
    return command


@bitwright.command(
    epilog=_examples(
        "bitwright build digits --board ulx3s-85f --out build/digits",
        "bitwright build models/digits_brevitas --until rtl --out build/brevitas",
        "bitwright build model.h5 --backend hls4ml --part xcvu13p-flga2577-2-e --out build/hls",
        "bitwright build model.onnx --vectors held_out.npz --cycles-per-frame 16 --out build/fast",
        "bitwright build mnist_cnn --board ulx3s-85f --frames-per-second 10000 --out build/camera",
        "bitwright build digits --board ulx3s-85f --latency-us 3 --budget LUT=8000 --out build/prompt",
        "bitwright build digits --board ulx3s-85f --budget device --out build/fastest   as fast as fits",
        "bitwright build digits --folding build/digits/rtl/folding.json --out build/edited   PE and SIMD by hand",
        "bitwright build model.onnx --input-type 'uint8*1/255' --out build/pixels     8-bit pixels from 0 to 1",
        "bitwright build model.onnx --input-samples train.npz --input-bits 8 --out build/sampled",
    )
)
@_model_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder of this build.")
@click.option("--board", metavar="NAME", help="Board to build for; `bitwright boards` lists them.")
@click.option("--part", metavar="PART", help="FPGA part, where no board is meant.")
@click.option(
    "--backend",
    type=click.Choice(["rtl", "hls4ml", "finn"]),
    default="rtl",
    show_default=True,
    help="rtl: the project's own streaming SystemVerilog. hls4ml: HLS C++. finn: FINN's dataflow RTL.",
)
@click.option(
    "--until",
    type=click.Choice(_STAGES),
    help="Last stage. Default: bitstream with --board, netlist with an ECP5 --part, else rtl; hls for hls4ml.",
)
@click.option("--vectors", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs x and labels y_true.")
@_input_options
@click.option(
    "--output",
    type=click.Choice(["auto", "class", "logits"]),
    default="auto",
    show_default=True,
    help="What the hardware gives out; auto: the class where the model is a classifier.",
)
@click.option(
    "--cycles-per-frame", type=click.IntRange(min=1), metavar="N", help="Largest clock cycles a layer may take."
)
@click.option(
    "--frames-per-second",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="F",
    help="Rate that every layer has to keep at the clock aimed for, in place of --cycles-per-frame.",
)
@click.option(
    "--latency-us",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="F",
    help="Longest time from a frame's first word to its result, at the clock aimed for.",
)
@click.option(
    "--budget",
    metavar="NAME=N,...",
    help="Most that the core may take: LUT, FF, DSP, BRAM, as in LUT=20000,DSP=50; or 'device', four fifths of its LUT and FF. "
    "Estimated before synthesis. Alone: the fastest that fits.",
)
@click.option(
    "--folding",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help='PE and SIMD of layers by hand, as in {"conv1": {"pe": 4, "simd": 9}}; what it leaves open is chosen as usual. Every '
    "build writes its own as DIR/rtl/folding.json, to be edited and given back. Not for hls4ml.",
)
@click.option(
    "--clock-mhz", type=click.FloatRange(min=1.0), metavar="F", help="Clock to aim for. Default: the board's."
)
@click.option(
    "--loadable-weights",
    is_flag=True,
    help="Let a host replace weights, biases and thresholds at run time over AXI4-Lite; see `bitwright weights`.",
)
@click.option(
    "--dsp-from-bits",
    type=click.IntRange(min=1),
    metavar="N",
    help="Products whose factors have N bits together, or more, go to DSP blocks, narrower ones to LUTs. Default: LUTs for weights "
    "of up to 4 bits times inputs of up to 8.",
)
@click.option(
    "--bulk-vectors",
    type=click.IntRange(min=1),
    metavar="N",
    help="Vectors of the bulk RTL simulation (rung 3). Default: as many as fit 8 million cycles, 1,000 to 100,000.",
)
@click.option(
    "--skip-rung", type=click.IntRange(2, 5), multiple=True, help="Leave a rung of the ladder out; repeatable."
)
@click.option(
    "--io-type",
    type=click.Choice(["io_parallel", "io_stream"]),
    help="Ports and inner tensors of the HLS project. Default: io_stream for networks with convolutions or pools.",
)
@click.option(
    "--strategy",
    type=click.Choice(["latency", "resource", "distributed_arithmetic"]),
    default="latency",
    show_default=True,
    help="How the HLS project multiplies; resource shares multipliers as far as --cycles-per-frame allows.",
)
@click.option(
    "--hls-flow",
    "hls_flows",
    multiple=True,
    type=click.Choice(["vitis", "vivado", "vivado_accelerator", "quartus", "catapult", "oneapi", "libero"]),
    help="Vendor's flow to write an HLS project for; repeatable. Default: vitis and vivado.",
)
@click.option(
    "--hls-cosim", is_flag=True, help="Cosimulate the HLS compiler's RTL too, where there is one; can take hours."
)
@click.option("--no-measure", is_flag=True, help="Do not time this machine's processors.")
@_json_option
def build(model: str, out: Path, as_json: bool, skip_rung: tuple[int, ...], no_measure: bool, **options: Any) -> None:
    """Build hardware for MODEL and verify it at every step.

    MODEL is a model file (.h5, .keras, .json with weights, .onnx, .bitwright), a folder with a model.toml, or the name of a bundled model.
    Finished stages are kept in DIR: the same command again resumes, or returns at once if nothing has changed.
    DIR/report.html is the page to look at, DIR/report.json the same for programs.
    """
    from toolchain.pipeline import build_hardware

    with _progress() as progress:
        result = build_hardware(
            model, out=out, skip_rungs=skip_rung, measure=not no_measure, progress=progress, **options
        )
    if as_json:
        _print_json(result.report)
        return
    from toolchain.report.terminal import print_report

    print_report(result.folder)


@bitwright.command(
    epilog=_examples(
        "bitwright quantise float.onnx --calibration train.npz --vectors test.npz --out build/q8",
        "bitwright quantise float.keras --calibration train.npz --weight-bits 4 --per-channel --bias-correction --out build/q4",
        "bitwright quantise float.onnx --calibration train.npz --input-type 'uint8*1/255' --out build/pixels",
        "bitwright build build/q8 --board ulx3s-85f --out build/hardware            the folder is a MODEL like any other",
    )
)
@_model_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Model folder to write.")
@click.option(
    "--calibration",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Inputs x that ranges are found from, some hundred of them.",
)
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Held-out inputs x and labels y_true for the accuracy before and after. Default: the calibration file's.",
)
@click.option(
    "--weight-bits", type=click.IntRange(2, 16), default=8, show_default=True, metavar="N", help="Bits of weights."
)
@click.option(
    "--activation-bits", type=click.IntRange(2, 16), default=8, show_default=True, metavar="N", help="Of activations."
)
@click.option(
    "--input-bits",
    type=click.IntRange(2, 16),
    metavar="N",
    help="Of the input. Default: 8, or --activation-bits if more.",
)
@click.option("--input-type", metavar="TYPE", help="Type of the input instead, as for build: 'uint8*1/255'.")
@click.option(
    "--per-channel/--per-tensor",
    default=False,
    help="A step for each output of a layer, or one for all. Default: one. The last layer always has one.",
)
@click.option(
    "--method",
    type=click.Choice(["mse", "minmax", "percentile", "entropy"]),
    default="mse",
    show_default=True,
    help="How ranges are found. mse: the least squared error; minmax: nothing clipped; percentile, entropy: ONNX Runtime's.",
)
@click.option(
    "--percentile",
    type=click.FloatRange(50, 100),
    default=99.99,
    show_default=True,
    metavar="F",
    help="Share of values that stays inside, for that method.",
)
@click.option(
    "--steps",
    type=click.Choice(["power-of-two", "any"]),
    default="power-of-two",
    show_default=True,
    help="Steps of powers of two make requantising a shift; any makes it a table of thresholds or a multiplication.",
)
@click.option("--bias-correction", is_flag=True, help="Let biases absorb the mean error of each channel.")
@_json_option
def quantise(model: str, out: Path, calibration: Path, steps: str, as_json: bool, **options: Any) -> None:
    """Quantise a float MODEL after its training, from samples of its inputs.

    MODEL is a plain float network: an ONNX file, a Keras file (.keras, .h5), a SavedModel folder, or a folder with a model.toml.
    Torch modules are quantised in Python (toolchain.quantise) or exported to ONNX first. DIR gets the quantised model.onnx,
    model.toml, quantisation.json (what became of each tensor) and the held-out vectors, and is a MODEL for every other command.
    """
    from toolchain.pipeline.quantisation import Calibration, quantise_model

    settings = Calibration(calibration, power_of_two=steps == "power-of-two", **options)
    with _progress() as progress:
        result = quantise_model(model, settings, out=out, progress=progress)
    if as_json:
        _print_json(result.record)
        return
    from toolchain.report.quantisation_table import print_quantisation

    print_quantisation(result.record, out)


@bitwright.command(epilog=_examples("bitwright evaluate digits --vectors models/digits/vectors.npz --out y.npz"))
@_model_argument
@click.option(
    "--vectors",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="x, and y_true; of several inputs x_NAME for each.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE.npz", help="Result file.")
@_input_options
@_json_option
def evaluate(model: str, vectors: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Run the integer graph of MODEL on the array x (real values) and write y, y_integer and the output's type.

    y is real (float64), y_integer the exact integers, y_type their type as text; y_class the class where y_true is given.
    """
    from toolchain.pipeline import evaluate as run_evaluate

    with _progress() as progress:
        summary = run_evaluate(model, vectors=vectors, out=out, progress=progress, **options)
    if as_json:
        _print_json(summary)
        return
    click.echo(f"{summary['vectors']} vectors, output type {', '.join(summary['types'].values())}, written to {out}")
    if summary["input"]:
        click.echo(summary["input"])
    if summary["saturated_inputs"]:
        click.echo(f"{summary['saturated_inputs']} input values were saturated by the model's own input quantiser")
    if summary["accuracy"] is not None:
        click.echo(f"accuracy {100 * summary['accuracy']:.2f} %")


@bitwright.command(
    epilog=_examples(
        "bitwright build digits --loadable-weights --out build/digits",
        "bitwright weights retrained.h5 --build build/digits --out writes.csv",
    )
)
@_model_argument
@click.option(
    "--build",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of a build with --loadable-weights.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE.csv", help="List of writes.")
@_input_options
@click.option("--no-check", is_flag=True, help="Do not run the writes in the build's simulation.")
@_json_option
def weights(model: str, build: Path, out: Path, no_check: bool, as_json: bool, **options: Any) -> None:
    """Write down how the weights of MODEL get into hardware that was built from the same network with others.

    FILE.csv has a line for each write over AXI4-Lite, in order: byte address and word of 32 bits, both in hexadecimal. MODEL
    may differ from the build's in weights, biases and thresholds alone, and they have to fit the widths that were built. What
    the build's simulation computes with them is compared with the interpreter.
    """
    from toolchain.pipeline.weights import replace_weights

    with _progress() as progress:
        summary = replace_weights(model, build=build, out=out, check=not no_check, progress=progress, **options)
    if as_json:
        _print_json(summary)
        return
    checked = (
        f"{summary['checked_vectors']} vectors exact in simulation" if summary["checked_vectors"] else "not simulated"
    )
    click.echo(
        f"{summary['writes']} writes to {summary['memories']} memories, for the design that reads {summary['identification']} "
        f"at address 0; {checked}; written to {out}"
    )


@bitwright.command(
    epilog=_examples(
        "bitwright inspect digits",
        "bitwright inspect my_model.onnx --out build/look   graph.svg, graph.qonnx.onnx for Netron, inspect.json",
    )
)
@_model_argument
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the picture and the files.")
@_input_options
@_json_option
def inspect(model: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Show MODEL as an integer graph: types, widths, weights, MACs, bit operations and memory of every node.

    MODEL is what `bitwright build` takes. With --out also a picture (graph.svg), a file for Netron (graph.qonnx.onnx), the
    graph itself (graph.bitwright) and the figures (inspect.json). No hardware is built.
    """
    from toolchain.pipeline.inspection import inspect_model

    with _progress() as progress:
        inspection = inspect_model(model, out=out, progress=progress, **options)
    if as_json:
        _print_json(inspection.to_json())
        return
    from toolchain.report.inspection_table import print_inspection

    print_inspection(inspection, out)


@bitwright.command(
    epilog=_examples(
        "bitwright compare build/digits build/digits_brevitas",
        "bitwright compare build/rtl build/finn build/hls --out build/compare.html   the same with pictures",
    )
)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.html", help="Write a page with bar charts, too.")
@_json_option
def compare(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Put the reports of several builds side by side: exactness, resources, clock, cycles, time of all stages."""
    from toolchain.report.compare import compare_reports, print_comparison

    comparison = compare_reports(folders)
    if out is not None:
        from toolchain.report.compare_page import write_page

        write_page(comparison, out)
    if as_json:
        _print_json(comparison.to_json())
    else:
        print_comparison(comparison)


@bitwright.command()
@_json_option
def boards(as_json: bool) -> None:
    """List the boards that a bitstream can be built for."""
    from toolchain.target import board_names, find_board

    found = [find_board(name) for name in board_names()]
    rows = [
        {"name": b.name, "part": b.device.part, "core_clock_mhz": b.core_clock_mhz, "description": b.description}
        for b in found
    ]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:<16} {row['part']:<22} {row['core_clock_mhz']:>6g} MHz  {row['description']}")


@bitwright.command()
@_json_option
def doctor(as_json: bool) -> None:
    """List each tool, its version, where it was found, and what is lost without it.

    Status 4 if a tool is missing that a build needs.
    """
    from toolchain.build.tool import all_tools

    rows = []
    for tool in all_tools():
        found = tool.find()
        rows.append(
            {
                "name": tool.name,
                "found": found is not None,
                "version": found.version if found else None,
                "location": found.location if found else None,
                "lost_without": tool.lost,
                "install": tool.install,
                "optional": tool.optional,
            }
        )
    missing = [row for row in rows if not row["found"] and not row["optional"]]
    if as_json:
        _print_json({"version": __version__, "tools": rows})
    else:
        _print_doctor(rows, len(missing))
    if missing:
        sys.exit(4)


def _print_doctor(rows: Sequence[dict[str, Any]], missing: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("tool", "version", "where", "lost without it", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        where = row["location"] if row["found"] else f"not found; install: {row['install']}"
        cells = [row["name"], row["version"] or "-", where, row["lost_without"]]
        style = None if row["found"] else "yellow" if row["optional"] else "red"
        table.add_row(*(escape(str(cell)) for cell in cells), style=style)
    Console().print(table)
    needed = [row for row in rows if not row["optional"]]
    click.echo(f"\n{len(needed) - missing} of {len(needed)} tools that builds need were found")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def _progress() -> Any:
    from toolchain.progress import console_progress

    return console_progress()


def _fail(error: ToolchainError, as_json: bool) -> NoReturn:
    if as_json:
        _print_json({"error": {"type": type(error).__name__, "message": str(error)}})
    click.echo(f"bitwright: {error}", err=True)
    sys.exit(error.exit_status)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: every error a user can cause is one message and a status, without a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        bitwright.main(args=given, prog_name="bitwright", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        if "--json" in given:
            _print_json({"error": {"type": "UsageError", "message": error.format_message()}})
        error.show()
        sys.exit(UsageError.exit_status)
    except ToolchainError as error:
        _fail(error, "--json" in given)
    except BrokenPipeError:
        _leave(1)
    except (KeyboardInterrupt, click.Abort):
        from toolchain.build.runner import stop_all

        stop_all()
        click.echo("bitwright: stopped; finished stages are kept, the same command resumes", err=True)
        _leave(_INTERRUPTED)
    except MemoryError:
        click.echo("bitwright: out of memory; close other programs or build on a larger machine", err=True)
        _leave(1)
    except Exception as error:
        if os.environ.get("BITWRIGHT_TRACEBACK"):
            raise
        click.echo(
            f"bitwright: internal error, please report it: {type(error).__name__}: {error}\n"
            "Set BITWRIGHT_TRACEBACK=1 to see where it happened.",
            err=True,
        )
        _leave(70)


def _leave(status: int) -> NoReturn:
    """Leave without waiting for worker threads, which may sit in compiled code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
