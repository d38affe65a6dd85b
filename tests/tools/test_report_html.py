# SPDX-License-Identifier: Apache-2.0
"""The page: complete with any part missing, self-contained, and safe with hostile names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from toolchain.measure.record import Kind, Measurement
from toolchain.report.html import render_html
from toolchain.report.report import Report, write_report

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">'\"`{{1234*4}}${1234*4}&lt;"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def sample(name: str) -> Report:
    """A report whose every text is `name`; all figures are made up for the test."""

    def figure(what: str, value: float, unit: str, kind: Kind, **more: object) -> Measurement:
        return Measurement(what, value, unit, kind, name, name, name, name, **more)  # type: ignore[arg-type]

    return Report(
        model=name,
        graph_digest="ab" * 32,
        accuracy=0.5,
        ladder=[{"rung": 3, "name": name, "vectors": 10, "mismatches": 0, "seconds": 1.0}],
        measurements=[
            figure("latency", 800.0, "ns", Kind.POST_ROUTE, clock_mhz=50.0),
            figure("throughput", 1e6, "inferences/s", Kind.POST_ROUTE, clock_mhz=50.0),
            figure("used_lut", 10, "LUT", Kind.POST_ROUTE),
            figure("utilisation_lut", 110.0, "%", Kind.POST_ROUTE),
            figure("latency_p50_batch_1", 20.0, "us", Kind.MEASURED),
            figure("latency_p99_batch_1", 30.0, "us", Kind.MEASURED),
            figure("throughput_batch_1", 5e4, "inferences/s", Kind.MEASURED),
            figure("throughput_batch_64", 9e5, "inferences/s", Kind.MEASURED),
            figure(name, 9e5, "cell", Kind.ESTIMATED),
        ],
        artefacts={name: name.replace("/", "_"), "digest": {"path": "a b.bit", "sha256": "cd" * 32}},
        confusion_matrix={"labels": [name, "b"], "counts": [[3, 1], [0, 4]]},
        checks=[{"name": name, "vectors": 1, "mismatches": 1, "seconds": 0.1}],
        graph=[{"name": name, "operation": name, "source": name, "shape": [2, 3], "type": name, "accumulator": name}],
        folding=[{"name": name, name: name, "pe": 2}],
        toolchain_version=name,
        backend=name,
        board=name,
        part=name,
        notes=[name],
        timings={name: 1.0},
    )


class Page(HTMLParser):
    """Tags with attributes, the text of each script, and all text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data


def test_hostile_names_stay_text() -> None:
    page = Page(render_html(sample(HOSTILE)))
    names = [tag for tag, _ in page.tags]
    assert "img" not in names
    assert names.count("script") == 3
    assert not [(tag, key) for tag, attributes in page.tags for key in attributes if key.startswith("on")]
    assert page.text.count(HOSTILE) > 15
    assert "{{1234*4}}" in page.text
    assert "4936" not in page.text
    # The data of the charts: no way out of its element, and plotly's own mark-up escaped.
    figures = json.loads(page.scripts[0])
    assert not set("<>&") & set(page.scripts[0])
    labels = figures["confusion"]["layout"]["xaxis"]["ticktext"] + [
        note["text"] for note in figures["latency"]["layout"]["annotations"]
    ]
    assert labels
    assert not [label for label in labels if "<img" in label or "</script" in label]


def test_links_stay_in_the_folder() -> None:
    report = Report("m", artefacts={"odd": "javascript:alert(1)", "plain": "a b/c.bit"})
    links = [attributes["href"] for tag, attributes in Page(render_html(report)).tags if tag == "a"]
    assert links == ["./javascript%3Aalert%281%29", "./a%20b/c.bit"]


def test_the_page_loads_nothing_and_runs_only_its_own_scripts() -> None:
    text = render_html(sample("plain"))
    page = Page(text)
    loading = [(tag, attributes) for tag, attributes in page.tags if {"src", "srcset", "data"} & set(attributes)]
    assert loading == []
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "embed", "base")]
    (policy,) = [a["content"] or "" for t, a in page.tags if t == "meta" and a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[1:]]
    assert sorted(allowed) == sorted(digests)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]


@pytest.mark.parametrize("absent", [field.name for field in fields(Report) if field.name != "model"])
def test_any_part_may_be_missing(absent: str, tmp_path: Path) -> None:
    empty = getattr(Report("m"), absent)
    write_report(replace(sample("plain"), **{absent: empty}), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    headings = {
        "confusion_matrix": "Classes", "graph": "Network", "folding": "Folding", "measurements": "Latency",
        "timings": "Time of the build", "artefacts": "Files",
    }  # fmt: skip
    for part, heading in headings.items():
        assert (f"\n{heading}\n" in page.text) == (part != absent)


def test_a_report_of_nothing_is_still_a_page() -> None:
    page = Page(render_html(Report("only a name")))
    assert "only a name" in page.text
    assert "No rung of the ladder holds" in page.text
    assert "No board ran this design." in page.text
    assert page.scripts == []


def test_only_processors_and_only_hardware() -> None:
    full = sample("plain")
    processors = [r for r in full.measurements if "batch" in r.name]
    text = Page(render_html(replace(full, measurements=processors))).text
    assert "Throughput" in text
    assert "static timing, not read from an instrument" not in text
    hardware = [r for r in full.measurements if r.name in ("latency", "throughput", "used_lut")]
    text = Page(render_html(replace(full, measurements=hardware))).text
    assert "static timing, not read from an instrument" in text
    assert "A processor's latency" not in text


def test_figures_and_verdicts_are_on_the_page() -> None:
    text = " ".join(Page(render_html(sample("plain"))).text.split())
    assert "Verified to rung 3 of 7, on 10 vectors" in text
    assert "Latency 800 ns post-route, at 50 MHz" in text
    assert "does not fit" in text
    assert "Also compared: plain, 1 vector, 1 differ" in text
    failed = replace(sample("plain"), ladder=[{"rung": 1, "name": "n", "vectors": 9, "mismatches": 2, "seconds": 1.0}])
    text = " ".join(Page(render_html(failed)).text.split())
    assert "No rung of the ladder holds" in text
    assert "different 9 vectors, 2 differ" in text
    assert "Rung 1 does not." in text


def test_explained_ties_are_said_in_words() -> None:
    entry = {"rung": 1, "name": "n", "vectors": 9, "mismatches": 0, "explained_ties": 2, "seconds": 1.0}
    check = {"name": "recorded", "vectors": 9, "mismatches": 0, "explained_ties": 1, "seconds": 1.0}
    text = " ".join(Page(render_html(replace(sample("plain"), ladder=[entry], checks=[check]))).text.split())
    assert "Verified to rung 1 of 7, on 9 vectors" in text
    assert "n equal but for float32 ties 9 vectors, 2 explained ties 1 s" in text
    assert "Also compared: recorded, 9 vectors, equal but for float32 ties, 1 explained tie (1 s)" in text
    assert "n: 2 values differ by the framework's own float32 rounding" in text
    assert "recorded: 1 value differs by the framework's own float32 rounding" in text
    assert "does not." not in text
    both = Page(render_html(replace(sample("plain"), ladder=[{**entry, "mismatches": 3}]))).text
    assert "different 9 vectors, 3 differ, 2 explained ties" in " ".join(both.split())


if BROWSER:  # a browser is no tool of the toolchain: where there is none, there is no such test

    @pytest.mark.parametrize("name", ["plain", HOSTILE])
    def test_a_browser_draws_the_charts(name: str, tmp_path: Path) -> None:
        write_report(sample(name), tmp_path)
        assert BROWSER
        finished = subprocess.run(
            [
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
                (tmp_path / "report.html").as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        drawn = Page(finished.stdout)
        classes = " ".join(attributes.get("class") or "" for _, attributes in drawn.tags)
        assert classes.count("main-svg") >= 3
        assert "img" not in [tag for tag, _ in drawn.tags]
        assert "<title>owned" not in finished.stdout
