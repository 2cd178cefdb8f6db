"""Every page in a real browser, at three widths: all images are drawn and nothing is cut off."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from made_up import make_run
from PIL import Image

from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.report.runs_page import write_comparison

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--hide-scrollbars"]
WIDTHS = (390, 760, 1280)  # a phone, a tablet, a desk
HOSTILE = ["<script>document.title = 'broken'</script>", "w" * 300, '"quotes" & more', "حصان عربي أصيل"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("drawn"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian's package is called chromium"),
]

# what sticks out of an image (but for what is clipped on purpose) or of the page has been cut off
MEASURE = """
function measure(frame) {
  const inner = frame.contentWindow, page = frame.contentDocument, name = e => e.outerHTML.slice(0, 120);
  const shown = e => e.getBoundingClientRect().width > 0;
  const out = (e, box) => { const r = e.getBoundingClientRect();
    const across = r.left < box.left - 1 || r.right > box.right + 1, down = r.top < box.top - 1 || r.bottom > box.bottom + 1;
    return r.width + r.height > 0 && (across || down); };
  const svgs = [...page.querySelectorAll("svg")].filter(shown);
  const cut = svgs.flatMap(svg => [...svg.querySelectorAll("use, path, image")]
    .filter(e => !e.closest("[clip-path], defs") && out(e, svg.getBoundingClientRect())));
  const wide = [...page.body.querySelectorAll("*")].filter(e => !e.closest("svg") && shown(e) &&
    (e.getBoundingClientRect().right > inner.innerWidth + 1 || (e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)));
  return {width: inner.innerWidth, scroll: page.documentElement.scrollWidth, title: page.title,
    drawn: svgs.filter(s => s.querySelectorAll("use, path").length > 5 && s.getBoundingClientRect().height > 40).length,
    images: [...page.images].map(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().height > 10),
    scripts: page.scripts.length, cut: cut.map(name), wide: wide.map(name), dark: getComputedStyle(page.body).backgroundColor};
}
window.addEventListener("load", () => {
  document.body.innerHTML = "<pre>" + JSON.stringify([...document.querySelectorAll("iframe")].map(measure))
    .replace(/&/g, "&amp;").replace(/</g, "&lt;") + "</pre>";
});
"""


def looked_at(page: Path, *flags: str) -> list[dict[str, Any]]:
    """What the browser makes of a page at each width; frames have exactly the width asked for, windows may not."""
    source = html.escape(page.read_text(encoding="utf-8"))
    frames = "".join(
        f'<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{source}"></iframe>' for width in WIDTHS
    )
    frame = page.with_name("frame.html")
    frame.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{frames}<script>{MEASURE}</script>", encoding="utf-8")
    profile = page.with_name("profile")
    command = [
        str(CHROMIUM),
        *FLAGS,
        *flags,
        f"--user-data-dir={profile}",
        "--window-size=1400,1000",
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r"<pre>(.*)</pre>", done.stdout, flags=re.S)
    assert found, done.stdout[:500]
    return list(json.loads(html.unescape(found[1])))


def check_page(page: Path, plots: int, images: int = 0) -> None:
    for seen, width in zip(looked_at(page), WIDTHS, strict=True):
        assert seen["width"] == width
        assert seen["scroll"] <= width
        assert seen["drawn"] == plots
        assert seen["images"] == [True] * images
        assert (seen["cut"], seen["wide"]) == ([], [])
        assert seen["scripts"] == 0
        assert seen["title"].endswith("– biotune")


def test_a_run_with_hostile_names_is_whole(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    Image.new("RGB", (400, 300), (9, 90, 200)).save(root / "0005.png")
    blocks = ["stem", *(f"features.denseblock{at}.conv" for at in range(12)), "<b>head</b>"]
    folder = make_run(tmp_path / "run", generations=10, candidates=20, blocks=blocks, classes=HOSTILE, root=root, complete=True)
    check_page(write_report(read_run(folder)), plots=11, images=1)


@pytest.mark.parametrize(
    "size",
    [
        {"generations": 0, "candidates": 1, "blocks": 1, "folds": 1, "seeds": 1, "confirmed": 1, "classes": ["a", "b"]},
        {"blocks": 50, "classes": [f"breed number {at}" for at in range(120)], "tests": 600, "folds": 5, "confirmed": 10},
    ],
)
def test_the_smallest_and_a_large_run_are_whole(size: dict[str, Any], tmp_path: Path) -> None:
    check_page(write_report(read_run(make_run(tmp_path / "run", complete=True, **size))), plots=11)


def test_ten_runs_side_by_side_are_whole(tmp_path: Path) -> None:
    runs = [
        read_run(make_run(tmp_path / f"{'a rather long name of a run ' * at}{at}", generations=10, blocks=14, seed=at))
        for at in range(9)
    ]
    runs.append(read_run(make_run(tmp_path / "trained", command="train", overrides=["a=" + "b" * 200])))
    check_page(write_comparison(runs, tmp_path / "page.html"), plots=3)


@pytest.mark.slow
def test_the_page_is_dark_where_the_reader_likes_it_dark(tmp_path: Path) -> None:
    page = write_report(read_run(make_run(tmp_path / "run", generations=1)))
    light, dark = looked_at(page)[0], looked_at(page, "--blink-settings=preferredColorScheme=0")[0]
    assert light["dark"] == "rgb(255, 255, 255)"
    assert dark["dark"] == "rgb(20, 23, 28)"
