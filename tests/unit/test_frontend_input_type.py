# SPDX-License-Identifier: Apache-2.0
"""Types of real inputs: how they are written, how samples choose one, and the whole message for what is refused."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from toolchain.cli import main
from toolchain.errors import InputError, UsageError
from toolchain.frontends import load_model, read_model_folder
from toolchain.frontends.input_samples import choose_input_type, effect_of
from toolchain.frontends.input_types import InputTypes, input_types
from toolchain.frontends.real_input import InputType
from toolchain.ir import IntegerType, OutOfRange, interpret, quantise_input, real_values


@pytest.mark.parametrize(
    ("text", "element", "scale", "saturates", "shown"),
    [
        ("fixed<16,6>", IntegerType(True, 16, 10), Fraction(1), False, "fixed<16,6>"),
        ("uint8", IntegerType(False, 8), Fraction(1), False, "uint8"),
        (" uint8 * 1 / 255 ", IntegerType(False, 8), Fraction(1, 255), False, "uint8*1/255"),
        ("int8*0.1", IntegerType(True, 8), Fraction(1, 10), False, "int8*1/10"),
        ("int<12>*2**-7 saturate", IntegerType(True, 12), Fraction(1, 128), True, "int12*1/128 saturate"),
        ("ufixed<8,0>*3  saturate", IntegerType(False, 8, 8), Fraction(3), True, "ufixed<8,0>*3 saturate"),
    ],
)
def test_input_types_as_text(text: str, element: IntegerType, scale: Fraction, saturates: bool, shown: str) -> None:
    named = InputType.parse(text)
    assert named == InputType(element, scale, saturates)
    assert str(named) == shown
    assert InputType.parse(shown) == named


HOW = (
    "write TYPE, TYPE*SCALE or either followed by ' saturate', for example 'fixed<16,6>', 'uint8', 'uint8*1/255' or "
    "'fixed<8,3> saturate'"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uint8*", f"input type 'uint8*': scale '' is not understood; {HOW}"),
        ("uint8*-1", f"input type 'uint8*-1': scale '-1' is not understood; {HOW}"),
        ("uint8*1/0", f"input type 'uint8*1/0': scale '1/0' is not understood; {HOW}"),
        ("uint8*1e-3", f"input type 'uint8*1e-3': scale '1e-3' is not understood; {HOW}"),
        ("uint8*0", "input type 'uint8*0': scale is 0; allowed are 2**-64 to 2**64"),
        ("uint8*2**-65", "input type 'uint8*2**-65': scale is 2.71051e-20; allowed are 2**-64 to 2**64"),
        (
            "float",
            "input type: type 'float' is not understood; write 'fixed<WIDTH,INTEGER_BITS>', 'ufixed<WIDTH,INTEGER_BITS>', "
            "'int<WIDTH>' or 'uint<WIDTH>', for example 'fixed<16,6>'; with a scale: 'uint8*1/255'",
        ),
    ],
)
def test_input_types_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        InputType.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("values", "bits", "chosen"),
    [
        (np.array([3, 9], np.uint8), 16, "uint8"),
        (np.array([3, 9], np.int16), 16, "int16"),
        (np.array([3, 9], np.int16), 8, "uint4"),
        (np.array([3, 9]), 16, "uint4"),
        (np.array([-3, 9]), 16, "int5"),
        (np.array([16, 32]), 16, "uint6"),
        (np.array([1024, 4096]), 4, "ufixed<3,13>"),
        (np.array([0.5, -2.25]), 8, "fixed<5,3>"),
        (np.array([0.0, 0.0]), 8, "uint1"),
        (np.array([True, False]), 8, "uint1"),
        (np.array([1 / 3, 0.9]), 8, "ufixed<8,0>"),
        (np.array([1 / 3, -0.9]), 8, "fixed<8,1>"),
        (np.array([1 / 3, 1000.0]), 6, "ufixed<6,10>"),
    ],
)
def test_the_rule_that_chooses_a_type(values: np.ndarray, bits: int, chosen: str) -> None:
    assert str(choose_input_type(values.reshape(-1, 1), bits).type) == chosen


def test_the_chosen_type_has_the_least_error(random: np.random.Generator) -> None:
    """Against a search over all binary points; with one far value among 2000, clipping it is worth its while."""
    for spread in (0.01, 1.0, 40.0):
        x = spread * random.normal(size=(500, 4))
        x[0, 0] = 10 * spread
        found = choose_input_type(x, 6)
        errors = {}
        for fraction in range(-12, 20):
            steps = np.clip(np.rint(x * 2.0**fraction), -32, 31)
            errors[fraction] = float(np.mean((steps / 2.0**fraction - x) ** 2))
        assert found.type.element.width == 6
        assert found.type.element.fraction == min(errors, key=lambda key: (errors[key], key))
        beyond = np.abs(np.rint(x * 2.0**found.type.element.fraction) + 0.5) > 32
        assert (found.clipped, found.values, found.samples) == (int(beyond.sum()), 2000, 500)
        assert found.clipped > 0
        assert found.type.saturates
        assert found.largest_rounding <= float(found.type.step) / 2 < found.largest_error


def test_what_a_type_does_to_samples_is_told() -> None:
    x = np.array([[0.0], [0.5], [300 / 255], [1.0]])
    assert str(effect_of(InputType.parse("uint8*1/255"), x)) == (
        "input type 'uint8*1/255' on 4 samples: 1 of 4 values (25 %) beyond its range, which is refused, largest error 0.176 "
        "(0.00196 by rounding alone), step 0.00392157"
    )
    assert str(effect_of(InputType.parse("fixed<4,2> saturate"), np.array([[9.1]]))) == (
        "input type 'fixed<4,2> saturate' on 1 sample: 1 of 1 values (100 %) clipped, largest error 7.35 (0 by rounding alone), "
        "step 0.25"
    )
    assert str(choose_input_type(x[:2], 8)) == (
        "input type 'ufixed<1,0>' chosen from 2 samples: it holds every value exactly"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (None, None, 8),
            "input_bits (--input-bits) belongs to samples to choose the input type from (--input-samples)",
        ),
        (
            ("uint8", np.ones((1, 1)), 8),
            "input_bits (--input-bits 8) chooses a type, and one is named already: 'uint8'",
        ),
        ((None, np.ones((1, 1)), 33), "input_bits must be 2 to 32, found 33"),
        (
            (None, np.array([[np.nan]]), None),
            "input_samples must be one or more finite numbers, found shape (1, 1) of float64",
        ),
        (
            (None, np.array([[1e30]]), None),
            "input_samples reach 1e+30; types are chosen for largest values from 2**-64 to 2**64: scale the inputs",
        ),
    ],
)
def test_samples_that_are_refused(given: tuple[str | None, np.ndarray | None, int | None], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        input_types(*given)
    assert str(caught.value) == message


def pixel_model(path: Path) -> Path:
    """A network that does not quantise its input: two products with whole-number weights, a bias, and a rectifier."""
    onnx = pytest.importorskip("onnx")
    from onnx import numpy_helper

    weights = np.array([[1.0, -2.0], [3.0, 0.0], [-1.0, 1.0]], np.float32)
    constants = {
        "scale": np.float32(0.25), "zero": np.float32(0), "bits": np.float32(4), "weights": weights / 4,
        "bias": np.array([0.5, -0.25], np.float32),
    }  # fmt: skip
    make = onnx.helper.make_node
    nodes = [
        make(
            "Quant",
            ["weights", "scale", "zero", "bits"],
            ["w"],
            "weight_quant",
            domain="qonnx.custom_op.general",
            signed=1,
            narrow=0,
            rounding_mode="ROUND",
        ),
        make("MatMul", ["x", "w"], ["product"], "product"),
        make("Add", ["product", "bias"], ["sum"], "bias_add"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "pixels",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3])],
        [onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("qonnx.custom_op.general", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), path)
    return path


def test_pixels_with_a_scale_are_exact(tmp_path: Path) -> None:
    """8-bit pixels as real numbers from 0 to 1: the graph computes with the whole numbers, and its result is exact."""
    model = load_model(pixel_model(tmp_path / "m.onnx"), input_type="uint8*1/255")
    source, output = model.graph.inputs[0], model.graph.outputs[0]
    assert not model.quantises_input
    assert model.graph.types[source.name].element == IntegerType(False, 8)
    pixels = np.array([[0, 128, 255], [255, 255, 255], [1, 2, 3], [254, 0, 1]])
    given = quantise_input(source, (pixels / 255).astype(np.float32))
    assert np.array_equal(given.integers, pixels)
    result = interpret(model.graph, given.integers)[output.tensor]
    real = real_values(output, model.graph.types[output.tensor].element, result)
    weights = [[1, -2], [3, 0], [-1, 1]]
    for row, found in zip(pixels, real, strict=True):
        for column, bias in enumerate((Fraction(1, 2), Fraction(-1, 4))):
            exact = sum(Fraction(int(p) * weights[i][column], 4 * 255) for i, p in enumerate(row)) + bias
            assert found[column] == pytest.approx(float(exact), rel=2e-15)  # the output's scale is a float64
            assert Fraction(int(result[pixels.tolist().index(row.tolist())][column])) == exact * 4 * 255
    with pytest.raises(InputError, match="1 of 3 values lie outside"):
        quantise_input(source, np.array([[0.5, 1.5, 0.0]]))


def test_a_type_that_saturates(tmp_path: Path) -> None:
    model = load_model(pixel_model(tmp_path / "m.onnx"), input_type="uint8*1/255 saturate")
    operation = model.graph.inputs[0].operation
    assert operation.out_of_range is OutOfRange.SATURATE  # type: ignore[attr-defined]
    assert quantise_input(model.graph.inputs[0], np.array([[0.5, 1.5, -1.0]])).integers.tolist() == [[128, 255, 0]]


def test_samples_choose_the_type_of_a_model(tmp_path: Path) -> None:
    file = pixel_model(tmp_path / "m.onnx")
    np.savez(tmp_path / "samples.npz", x=np.array([[0.5, 1.25, -3.0]]))
    model = load_model(file, input_samples=tmp_path / "samples.npz", input_bits=8)
    assert model.input_remarks == ["input type 'fixed<5,3>' chosen from 1 sample: it holds every value exactly"]
    named = load_model(file, input_type="fixed<5,3>")
    assert not named.sampled_inputs
    assert named.graph.digest == model.graph.digest


def test_samples_of_another_shape_are_refused(tmp_path: Path) -> None:
    file = pixel_model(tmp_path / "m.onnx")
    for input_type in (None, "fixed<5,3>"):
        with pytest.raises(InputError) as caught:
            load_model(file, input_type=input_type, input_samples=np.zeros((4, 7)))
        assert str(caught.value) == (
            "input_samples (--input-samples) are of shape (7,) each; input 'x' takes (3,): give samples of this model's inputs"
        )
    # Single values, of no shape of their own, choose a type as well.
    assert load_model(file, input_samples=np.array([0.5, 1.0])).sampled_inputs


def test_the_type_in_model_toml(tmp_path: Path) -> None:
    pixel_model(tmp_path / "m.onnx")
    text = '[model]\nname="t"\nframework="onnx"\nfile="m.onnx"\n[input]\ntype="uint8*1/255"\n'
    toml = tmp_path / "model.toml"
    toml.write_text(text)
    assert read_model_folder(tmp_path).input_type == "uint8*1/255"
    model = load_model(tmp_path)
    assert model.graph.digest == load_model(tmp_path / "m.onnx", input_type="uint8*1/255").graph.digest
    # What the caller names counts more.
    assert load_model(tmp_path, input_type="uint4").graph.types["x"].element == IntegerType(False, 4)
    # With a range beside it the type shrinks to that.
    toml.write_text(text + "minimum=0\nmaximum=0.5\n")
    assert load_model(tmp_path).graph.types["x"].element == IntegerType(False, 8, 0, 0, 128)
    toml.write_text(text.replace("uint8", "byte"))
    with pytest.raises(InputError) as caught:
        read_model_folder(tmp_path)
    assert str(caught.value).startswith(f"{toml}: [input] type: input type: type 'byte' is not understood")


def test_every_command_takes_the_input_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pixel_model(tmp_path / "m.onnx")
    samples, told = (
        tmp_path / "samples.npz",
        "nput type 'fixed<5,3>' chosen from 1 sample: it holds every value exactly",
    )
    np.savez(samples, x=np.array([[0.5, 1.25, -3.0]]))

    def run(*arguments: object) -> tuple[int, str]:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().out

    options = ("--input-samples", samples, "--input-bits", 8)
    evaluation = ("evaluate", file, "--vectors", samples, "--out", tmp_path / "y.npz")
    status, err = run(*evaluation)
    assert status == 2
    assert (
        "give the type that the inputs have in hardware with input_type (--input-type on the command line; x=TYPE"
        in err
    )
    assert "(--input-samples FILE.npz)" in err
    status, out = run(*evaluation, *options)
    assert (status, out.splitlines()[1:]) == (0, [f"i{told}"])
    status, out = run("inspect", file, *options, "--json")
    assert (status, json.loads(out)["notes"]) == (0, [f"i{told}"])
    status, out = run(
        "build", file, "--until", "graph", "--out", tmp_path / "b", "--vectors", samples, *options, "--json"
    )
    assert (status, json.loads(out)["notes"]) == (0, [f"I{told}."])
    assert json.loads(out)["graph"][0]["type"] == "fixed<5,3>"
    assert run("inspect", file, "--input-bits", 8)[0] == 2
    assert run("inspect", file, "--input-samples", tmp_path / "absent.npz")[0] == 2


# ---- several inputs --------------------------------------------------------------------------------------------------
def two_inputs(path: Path) -> Path:
    """`left * 0.5 + right`, a rectifier of both; `left` is quantised by the model to steps of 1/4, `right` is not."""
    onnx = pytest.importorskip("onnx")
    from onnx import numpy_helper

    constants = {"quarter": np.float32(0.25), "zero": np.float32(0), "bits": np.float32(4), "half": np.float32(0.5)}
    make = onnx.helper.make_node
    nodes = [
        make("Quant", ["left", "quarter", "zero", "bits"], ["l"], "left_quant", domain="qonnx.custom_op.general", signed=1, narrow=0,
             rounding_mode="ROUND"),
        make("Mul", ["l", "half"], ["halved"], "halve"),
        make("Add", ["halved", "right"], ["sum"], "add"),
        make("Relu", ["sum"], ["y"], "relu"),
    ]  # fmt: skip
    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "pair",
        [onnx.helper.make_tensor_value_info(name, real, ["batch", 3]) for name in ("left", "right")],
        [onnx.helper.make_tensor_value_info("y", real, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("qonnx.custom_op.general", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), path)
    return path


LEFT = np.array([[0.5, -1.0, 9.0], [0.1, 0.3, -0.25]])
RIGHT = np.array([[0.25, 0.5, 1.0], [-1.0, 0.0, 1.5]])
#: Steps of 1/4 by the rule for ties to even, saturated at 1.75, halved, plus the other, rectified.
EXPECTED = np.array([[0.5, 0.0, 1.875], [0.0, 0.125, 1.375]])


def element_texts(file: Path, **options: object) -> dict[str, str]:
    model = load_model(file, **options)  # type: ignore[arg-type]
    return {node.name: str(model.graph.types[node.name].element) for node in model.graph.inputs}


def test_types_of_several_inputs(tmp_path: Path) -> None:
    file = two_inputs(tmp_path / "two.onnx")
    with pytest.raises(UsageError, match="right=TYPE where there are several inputs"):
        load_model(file)
    # Without a name: of the input that the model does not quantise; with one: of that input.
    assert element_texts(file, input_type="fixed<6,3>") == {"left": "fixed<4,2>", "right": "fixed<6,3>"}
    assert element_texts(file, input_type=["right=fixed<6,3>"]) == {"left": "fixed<4,2>", "right": "fixed<6,3>"}
    assert element_texts(file, input_type=["left=fixed<7,4>", "fixed<6,3>"]) == {
        "left": "fixed<7,4>",
        "right": "fixed<6,3>",
    }
    # One input: the model's own quantiser is a step of the graph.
    assert element_texts(pixel_model(tmp_path / "one.onnx"), input_type="x=uint8") == {"x": "ufixed<8,8>"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["uint8", "int8"], "input type 'int8': is the second one without an input's name; give one"),
        (["left=uint8", "left=int8"], "input type 'left=int8': is the second one for input 'left'; give one"),
        ("=uint8", "input type '=uint8': the name of an input is missing before '='; write NAME=TYPE, or TYPE alone"),
        (
            "rihgt=uint8",
            "{file}: has no input 'rihgt', for which an input type is named; its inputs: 'left', 'right'",
        ),
    ],
)
def test_named_types_that_are_refused(tmp_path: Path, given: str | list[str], message: str) -> None:
    file = two_inputs(tmp_path / "two.onnx")
    with pytest.raises(UsageError) as caught:
        load_model(file, input_type=given)
    assert str(caught.value) == message.format(file=file)


def test_samples_of_several_inputs(tmp_path: Path) -> None:
    file = two_inputs(tmp_path / "two.onnx")
    samples = tmp_path / "samples.npz"
    np.savez(samples, x_left=LEFT, x_right=RIGHT, y_true=np.array([0, 1]))
    model = load_model(file, input_samples=samples, input_bits=8)
    assert model.input_remarks == [
        "input 'right': input type 'fixed<4,2>' chosen from 2 samples: it holds every value exactly"
    ]
    assert element_texts(file, input_samples=samples) == {"left": "fixed<4,2>", "right": "fixed<4,2>"}
    # By their own names, and beside a type that is named.
    np.savez(samples, right=RIGHT)
    told = load_model(file, input_type="right=fixed<3,1>", input_samples=samples).input_remarks
    assert told == [
        "input 'right': input type 'fixed<3,1>' on 2 samples: 2 of 6 values (33.3 %) beyond its range, which is refused, largest "
        "error 0.75 (0 by rounding alone), step 0.25"
    ]
    with pytest.raises(UsageError) as caught:
        load_model(file, input_type="right=fixed<3,1>", input_samples=samples, input_bits=8)
    assert str(caught.value) == (
        f"{file}: input_bits (--input-bits 8) chooses a type, and one is named already for every input that has samples"
    )
    # Of one array all inputs that need it take their type.
    assert element_texts(file, input_samples=np.array([[0.5]])) == {"left": "fixed<4,2>", "right": "ufixed<1,0>"}
    np.savez(samples, x_rihgt=RIGHT)
    with pytest.raises(UsageError) as caught:
        load_model(file, input_samples=samples)
    assert str(caught.value) == (
        f"{file}: input_samples (--input-samples) hold ['x_rihgt'], none of which is of an input; the model's inputs: 'left', "
        "'right'. Name each array as its input, or x_NAME, or for a single input x"
    )
    np.savez(samples, right=np.zeros((2, 4)))
    with pytest.raises(InputError) as refused:
        load_model(file, input_samples=samples)
    assert str(refused.value) == (
        "input_samples (--input-samples) are of shape (4,) each; input 'right' takes (3,): give samples of this model's inputs"
    )


def test_a_type_for_an_input_of_integers(tmp_path: Path) -> None:
    """What the file declares to be integers keeps its type; the type without a name is for the other input."""
    onnx = pytest.importorskip("onnx")
    path = two_inputs(tmp_path / "two.onnx")
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT8
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["right"], ["cast"], "cast", to=onnx.TensorProto.FLOAT))
    model.graph.node[3].input[1] = "cast"
    onnx.save(model, path)
    assert element_texts(path) == {"left": "fixed<4,2>", "right": "fixed<8,8>"}
    assert element_texts(path, input_type="fixed<9,4>") == {"left": "fixed<9,4>", "right": "fixed<8,8>"}
    with pytest.raises(UsageError) as caught:
        load_model(path, input_type=["right=uint8"])
    assert str(caught.value) == f"{path}: input 'right' holds integers already; leave its input type out"


def test_types_that_decide_a_stage_are_told_apart() -> None:
    given: list[InputTypes] = [
        InputTypes.of(None), InputTypes.of("uint8"), InputTypes.of("a=uint8"), InputTypes.of("b=uint8"),
        input_types(None, np.ones((1, 1))), input_types("uint8", np.ones((1, 1))),
        InputTypes(samples={"a": np.ones(3)}), InputTypes(samples={"a": np.ones((3, 1))}), InputTypes(samples={"b": np.ones(3)}),
        InputTypes(samples={"a": np.ones(3)}, bits=5),
    ]  # fmt: skip
    assert len({tuple(types.identity) for types in given}) == len(given)


def run_evaluate(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> tuple[int, str]:
    """(status, what was told) of evaluate on folder/two.onnx and folder/v.npz into folder/y.npz."""
    arguments = ["evaluate", folder / "two.onnx", "--vectors", folder / "v.npz", "--out", folder / "y.npz", *options]
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.err if status else captured.out


def test_evaluate_several_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_inputs(tmp_path / "two.onnx")
    typed = ("--input-type", "right=fixed<4,2>")
    for names in (("x_left", "x_right"), ("left", "right"), ("left", "x_right")):
        np.savez(
            tmp_path / "v.npz",
            **{names[0]: LEFT.astype(np.float32), names[1]: RIGHT, "y_true": np.array([2, 2])},  # type: ignore[arg-type]
        )
        status, out = run_evaluate(capsys, tmp_path, *typed)
        assert (status, out.splitlines()[1:]) == (
            0,
            ["1 input values were saturated by the model's own input quantiser", "accuracy 100.00 %"],
        )
        with np.load(tmp_path / "y.npz") as y:
            assert np.array_equal(y["y"], EXPECTED)
            assert y["y_class"].tolist() == [2, 2]
    # The same option again for the other input, whose own quantiser is a step of the graph then.
    assert run_evaluate(capsys, tmp_path, *typed, "--input-type", "left=fixed<16,8> saturate")[0] == 0
    with np.load(tmp_path / "y.npz") as y:
        assert np.array_equal(y["y"], EXPECTED)
    status, out = run_evaluate(capsys, tmp_path, "--input-samples", str(tmp_path / "v.npz"))
    assert "input 'right': input type 'fixed<4,2>' chosen from 2 samples: it holds every value exactly" in out


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x_left": LEFT},
            "holds no array for input 'right' (found ['x_left']); the model's inputs: 'right', 'left'. Save the samples of this one as "
            "'x_right'",
        ),
        (
            {"x": LEFT},
            "holds no array for input 'right' (found ['x']); the model's inputs: 'right', 'left'. Save the samples of this one as "
            "'x_right'",
        ),
        (
            {"left": LEFT, "right": RIGHT, "x_rihgt": RIGHT},
            "array 'x_rihgt' is of an input that the model does not have; its inputs: 'right', 'left'. Rename the array, or leave it out",
        ),
        ({"left": LEFT, "right": RIGHT[:1]}, "'right' has 1 samples and 'left' has 2; they must agree"),
        (
            {"left": LEFT, "right": RIGHT[0]},
            "'right' must have shape (samples, ...) with at least one sample, found (3,)",
        ),
        (
            {"left": LEFT, "x_right": np.full((2, 3), np.inf)},
            "'x_right' holds inf in sample 0 at index [0]; all must be finite",
        ),
        (
            {"left": LEFT, "right": RIGHT, "y_true": np.array([1])},
            "'right' has 2 samples and 'y_true' has 1; they must agree",
        ),
    ],
)
def test_vectors_of_several_inputs_that_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray], message: str
) -> None:
    two_inputs(tmp_path / "two.onnx")
    np.savez(tmp_path / "v.npz", **arrays)  # type: ignore[arg-type]
    status, told = run_evaluate(capsys, tmp_path, "--input-type", "fixed<4,2>")
    assert status == 2
    assert told.splitlines()[-1] == f"bitwright: {tmp_path / 'v.npz'}: {message}"
    assert not (tmp_path / "y.npz").exists()
