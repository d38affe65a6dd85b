# SPDX-License-Identifier: Apache-2.0
"""What a build is asked for: paces given as rates, and what cannot go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import InputError, UsageError
from toolchain.ir import GraphBuilder, Input, IntegerType, Relu, save_graph
from toolchain.pipeline.request import make_request
from toolchain.target import GivenFolding


@pytest.fixture
def model(tmp_path: Path) -> Path:
    builder = GraphBuilder("model")
    builder.output(builder.add(Relu(), builder.add(Input((4,), IntegerType(True, 4)), name="x"), name="y"))
    save_graph(builder.build(), tmp_path / "model.bitwright")
    return tmp_path / "model.bitwright"


@pytest.mark.parametrize(
    ("clock_mhz", "rate", "cycles"), [(100.0, 1e6, 100), (None, 250_000, 400), (30.0, 7e6, 4), (25.0, 0.5, 50_000_000)]
)
def test_a_rate_leaves_so_many_whole_cycles(model: Path, clock_mhz: float | None, rate: float, cycles: int) -> None:
    request = make_request(model, out="out", frames_per_second=rate, clock_mhz=clock_mhz)
    assert request.target.cycles_per_frame == cycles
    assert request.target.clock_mhz * 1e6 / cycles >= rate


def test_without_a_pace_the_backend_chooses(model: Path) -> None:
    assert make_request(model, out="out").target.cycles_per_frame is None
    assert make_request(model, out="out", cycles_per_frame=7).target.cycles_per_frame == 7


@pytest.mark.parametrize("rate", [0.0, -5.0, 2e8, float("nan"), float("inf")])
def test_rates_that_no_clock_gives(model: Path, rate: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and at most one a cycle, 100,000,000 at 100 MHz; found"):
        make_request(model, out="out", frames_per_second=rate)


def test_one_pace_only(model: Path) -> None:
    with pytest.raises(UsageError, match=r"--frames-per-second or --cycles-per-frame, not both \(found 1000 and 64\)"):
        make_request(model, out="out", frames_per_second=1000, cycles_per_frame=64)


@pytest.mark.parametrize(
    ("clock_mhz", "latency_us", "cycles"), [(None, 2.5, 250), (25.0, 0.05, 1), (30.0, 0.1, 3), (None, 0.019, 1)]
)
def test_a_latency_leaves_so_many_whole_cycles(
    model: Path, clock_mhz: float | None, latency_us: float, cycles: int
) -> None:
    request = make_request(model, out="out", latency_us=latency_us, clock_mhz=clock_mhz)
    assert request.target.latency_cycles == cycles


@pytest.mark.parametrize("latency_us", [0.0, -1.0, 0.009, 2e9, float("nan")])
def test_latencies_that_no_clock_gives(model: Path, latency_us: float) -> None:
    with pytest.raises(
        UsageError, match=r"at least one cycle, 0.01 us at 100 MHz, and at most 1,000,000,000.* us; found"
    ):
        make_request(model, out="out", latency_us=latency_us)


@pytest.mark.parametrize(
    ("budget", "found"),
    [
        (None, {}),
        ("LUT=20000, dsp=50,BRAM=30", {"LUT": 20000, "DSP": 50, "block RAM": 30}),
        ({"LUT": 7, "block RAM": 0, "FF": 3}, {"LUT": 7, "block RAM": 0, "FF": 3}),
        ("device", {"LUT": 66912, "FF": 66912, "DSP": 156, "block RAM": 208}),
    ],
)
def test_budgets(model: Path, budget: str | dict[str, int] | None, found: dict[str, int]) -> None:
    assert make_request(model, out="out", board="ulx3s-85f", budget=budget).target.budget == found


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("LUT", "budget: 'LUT' is not NAME=COUNT; write for example LUT=20000,DSP=50,BRAM=30, or device"),
        ("", "budget: '' is not NAME=COUNT; write for example LUT=20000,DSP=50,BRAM=30, or device"),
        ("LAB=3", "budget: resource 'LAB' is not known; allowed: LUT, FF, DSP, BRAM, BLOCK RAM, or device"),
        ("LUT=-3", "budget: LUT must be a whole number of at least 0, found '-3'"),
        ("LUT=2.5", "budget: LUT must be a whole number of at least 0, found '2.5'"),
        ({"DSP": True}, "budget: DSP must be a whole number of at least 0, found True"),
        ("BRAM=3,block RAM=4", "budget: block RAM is given twice"),
        (
            "device",
            "budget 'device' needs --board, or a --part whose resources are known, such as LFE5U-85F-6BG381C or xc7z020clg400-1; "
            "found no board or part",
        ),
    ],
)
def test_budgets_that_cannot_be(model: Path, budget: str | dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        make_request(model, out="out", budget=budget)
    assert str(error.value) == message


@pytest.mark.parametrize("backend", ["hls4ml", "finn"])
def test_only_the_rtl_backend_has_a_latency_and_a_budget(backend: str, model: Path) -> None:
    for options in ({"latency_us": 5.0}, {"budget": "LUT=100"}):
        with pytest.raises(UsageError) as error:
            make_request(model, out="out", backend=backend, **options)
        assert str(error.value) == (
            f"latency_us and budget are targets of backend 'rtl'; found backend '{backend}'. Give that one a pace with "
            "--cycles-per-frame or --frames-per-second, or use --backend rtl"
        )


def test_budget_of_an_amd_device(model: Path) -> None:
    found = make_request(model, out="out", part="xc7z020clg400-1", budget="device").target.budget
    assert found == {"LUT": 42560, "FF": 85120, "DSP": 220, "block RAM": 280}
    with pytest.raises(UsageError, match=r"xc7z020clg400-1; found part 'xcvc1902-vsva2197-2mp-e-s'$"):
        make_request(model, out="out", part="xcvc1902-vsva2197-2mp-e-s", budget="device")


@pytest.mark.parametrize("clock_mhz", [0, 0.5, -5.0, float("nan"), float("inf")])
@pytest.mark.parametrize("board", [None, "ulx3s-85f"])
def test_clocks_that_cannot_be(model: Path, board: str | None, clock_mhz: float) -> None:
    with pytest.raises(UsageError) as error:
        make_request(model, out="out", board=board, clock_mhz=clock_mhz)
    assert str(error.value) == f"clock_mhz must be a number of at least 1, found {clock_mhz!r}"


@pytest.mark.parametrize("cycles", [0, -3, 2.5, True])
def test_paces_that_cannot_be(model: Path, cycles: object) -> None:
    with pytest.raises(UsageError) as error:
        make_request(model, out="out", cycles_per_frame=cycles)  # type: ignore[arg-type]
    assert str(error.value) == f"cycles_per_frame must be a whole number of at least 1, found {cycles!r}"


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_numbers_of_vectors_that_cannot_be(model: Path, count: object) -> None:
    with pytest.raises(UsageError, match=r"^bulk_vectors must be a whole number of at least 1, found "):
        make_request(model, out="out", bulk_vectors=count)  # type: ignore[arg-type]


# ---- Folding by hand --------------------------------------------------------------------------------------------------


def test_folding_from_a_file_and_from_python(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text('{"größe": {"pe": 4, "simd": 9}, "fc": {"pe": 2}, "y": {"simd": 1}}', encoding="utf-8")
    wanted = {"größe": GivenFolding(4, 9), "fc": GivenFolding(2, None), "y": GivenFolding(None, 1)}
    assert make_request(model, out="out", folding=path).target.folding == wanted
    given = {"größe": {"pe": 4, "simd": 9}, "fc": {"pe": 2}, "y": {"simd": 1}}
    assert make_request(model, out="out", folding=given, backend="finn").target.folding == wanted
    assert make_request(model, out="out").target.folding == {}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("{", InputError, "line 1, column 2: not JSON (Expecting property name enclosed in double quotes); write for example "
         '{"conv1": {"pe": 4, "simd": 9}}'),
        ("[1]", UsageError, 'must be an object from layers to their folding, such as {"conv1": {"pe": 4, "simd": 9}}; found [1]'),
        ('{"fc": 4}', UsageError, 'layer \'fc\' must have an object such as {"pe": 4, "simd": 9}; found 4'),
        ('{"fc": {"PE": 4}}', UsageError, "layer 'fc' may have pe and simd, and needs one of them; found 'PE'"),
        ('{"fc": {}}', UsageError, "layer 'fc' may have pe and simd, and needs one of them; found neither"),
        ('{"fc": {"pe": "4"}}', UsageError, "layer 'fc': pe must be a whole number of at least 1; found '4'"),
        ('{"fc": {"pe": 2.0}}', UsageError, "layer 'fc': pe must be a whole number of at least 1; found 2.0"),
        ('{"fc": {"simd": true}}', UsageError, "layer 'fc': simd must be a whole number of at least 1; found True"),
        ('{"fc": {"simd": 0}}', UsageError, "layer 'fc': simd must be a whole number of at least 1; found 0"),
        ('{"fc": {"pe": 1}, "fc": {"pe": 2}}', UsageError, "'fc' is given twice in one object; give it once"),
        ('{"fc": {"pe": 1, "pe": 2}}', UsageError, "'pe' is given twice in one object; give it once"),
    ],
)  # fmt: skip
def test_foldings_that_are_not_of_the_form(
    model: Path, tmp_path: Path, text: str, kind: type[Exception], message: str
) -> None:
    path = tmp_path / "folding.json"
    path.write_text(text)
    with pytest.raises(kind) as error:
        make_request(model, out="out", folding=path)
    assert str(error.value) == f"{path}: {message}"


def test_foldings_that_cannot_be_read(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: the folding cannot be read: No such file or directory$"):
        make_request(model, out="out", folding=tmp_path / "absent.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match=r"bytes\.json: the folding cannot be read: it is not UTF-8 text$"):
        make_request(model, out="out", folding=tmp_path / "bytes.json")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"deep\.json: nested too deeply; write"):
        make_request(model, out="out", folding=tmp_path / "deep.json")
    with pytest.raises(UsageError, match=r"^folding: layers are named by text; found 3$"):
        make_request(model, out="out", folding={3: {"pe": 1}})  # type: ignore[dict-item]


def test_hls4ml_has_no_folding(model: Path) -> None:
    with pytest.raises(UsageError) as error:
        make_request(model, out="out", backend="hls4ml", folding={"y": {"pe": 1}})
    assert str(error.value) == (
        "folding gives PE and SIMD, which hls4ml's layers do not have; found backend 'hls4ml'. Use --strategy resource with "
        "--cycles-per-frame, from which each layer's reuse factor follows, or backend rtl or finn"
    )
