"""The gallery: it shows every model, runs nothing but its own script, and is replaced as a whole."""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.errors import UsageError
from anybit.reporting.describe import describe
from anybit.zoo import site as module
from anybit.zoo.card import CardCost, Claim, DataSet, Quantization, Source
from anybit.zoo.catalogue import open_catalogue
from anybit.zoo.chart import chart, charts
from anybit.zoo.entry import Entry
from anybit.zoo.errors import CatalogueError
from anybit.zoo.picture import picture
from anybit.zoo.site import write_site
from anybit.zoo.store import Store
from tests.models import PROJECT, model, parameters, quant
from tests.zoo.server import card_of, file_of

EVIL = "</script><script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">{{ 7*7 }}"


class Page(HTMLParser):
    """The tags and links of a page; every tag that is opened must be closed."""

    VOID = frozenset(("meta", "link", "img", "input", "br", "line", "circle", "rect"))

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]
        assert not [key for key, _ in attrs if key.startswith("on") or key == "style"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def cards():
    return list(open_catalogue().cards.values())


def test_every_model_has_a_row_and_a_page(tmp_path, cards, own_cache):
    seen = []
    written = write_site(cards, tmp_path / "site", store=Store(), progress=seen.append)
    shipped = [c.name for c in cards if c.judging]
    assert (written.pages, written.reports, written.without_report) == (len(cards) + 1, len(shipped), ())
    assert len(seen) == len(cards)
    index = Page(tmp_path / "site" / "index.html")
    assert not index.open
    for card in cards:
        assert f"models/{card.name}.html" in index.links
        page = Page(tmp_path / "site" / "models" / f"{card.name}.html")
        assert not page.open
        text = (tmp_path / "site" / "models" / f"{card.name}.html").read_text()
        assert card.licence in text
        assert all((f.sha256 or "not pinned") in text for f in card.files)
        assert (f"../reports/{card.name}.html" in page.links) == (card.name in shipped)
    for path in (tmp_path / "site").rglob("*.html"):
        local = (
            [link for link in Page(path).links if not link.startswith("http")] if path.parent.name != "reports" else []
        )
        assert [link for link in local if not (path.parent / link).resolve().is_file()] == []


def test_nothing_of_a_card_runs(tmp_path):
    card = card_of(
        file_of(b"x", "model.onnx"),
        task=EVIL,
        data_set=DataSet(name=EVIL, url='https://example.org/"onmouseover=alert(1)'),
        source=Source(name=EVIL),
        quantization=Quantization(weights=EVIL[:190], activations=EVIL[:190], note=EVIL),
        licence=EVIL,
        input=EVIL,
        framework=EVIL,
        summary=EVIL,
        claim=Claim(metric="accuracy", value=0.5),
        cost=CardCost(bit_operations=10),
    )
    write_site([card], tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.html"):
        page = Page(path)
        assert not page.open
        assert "img" not in page.tags
        assert page.tags.count("script") == (1 if path.name == "index.html" else 0)
        assert "{{ 7*7 }}" in path.read_text()


def test_only_an_earlier_site_is_replaced(tmp_path, cards):
    target = tmp_path / "site"
    target.mkdir()
    write_site(cards[:2], target)
    write_site(cards[1:2], target)
    assert [p.name for p in (target / "models").iterdir()] == [f"{cards[1].name}.html"]
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="no earlier site"):
        write_site(cards, tmp_path / "papers")
    with pytest.raises(UsageError, match="no earlier site"):
        write_site(cards, tmp_path / "papers" / "thesis.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["papers", "site"]


def test_a_full_disk_leaves_the_earlier_site(tmp_path, cards, monkeypatch):
    write_site(cards[:1], tmp_path / "site")
    before = (tmp_path / "site" / "index.html").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_model", full)
    with pytest.raises(CatalogueError, match="No space left"):
        write_site(cards, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_model_that_cannot_be_reported_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    card = card_of(file_of(b"no model", (tmp_path / "model.onnx").as_uri()), name="broken")
    written = write_site([card], tmp_path / "site", store=Store())
    assert written.reports == 0
    assert "broken: no report: " in written.without_report[0]


@pytest.mark.parametrize(
    ("weights", "bits", "css"),
    [
        ("BIPOLAR", "1 bit", "w1"),
        ("TERNARY", "2 bits", "w2"),
        ("INT2", "2 bits", "w2"),
        ("INT5, INT8", "5 bits", "w6"),
        ("UINT16", "16 bits", "w16"),
        ("4 bits, narrow range", "4 bits", "w4"),
        ("8-bit float, e4m3", "float", "float"),
        ("FLOAT<4,3,7>", "float", "float"),
        ("whatever", "float", "float"),
    ],
)
def test_bits_of_the_weights(weights, bits, css):
    card = card_of(file_of(b"x", "m"), quantization=Quantization(weights=weights, activations="INT2"))
    assert (Entry(card).bits, Entry(card).css) == (bits, css)


def _entry(cost, value, metric="accuracy", name="net"):
    claim = Claim(metric=metric, value=value)
    return Entry(card_of(file_of(b"x", "m"), name=name, claim=claim, cost=CardCost(bit_operations=cost)))


def test_points_stand_where_their_figures_say():
    drawn = chart([_entry(1000, 0.8), _entry(100_000, 0.9), _entry(0, 0.5), _entry(10, 0.3, "squared-error")])
    low, high = sorted(drawn.points, key=lambda p: p.x)
    assert (low.x, high.x) == (drawn.left, drawn.right)
    assert [t.label for t in drawn.x_ticks] == ["1k", "10k", "100k"]
    ticks = {t.label: t.at for t in drawn.y_ticks}
    assert (low.y, high.y) == (ticks["80 %"], ticks["90 %"])
    assert not chart([]).points
    for value in (0.0, 1.0, 0.97):
        (point,) = chart([_entry(7, value)]).points
        assert drawn.top <= point.y <= drawn.bottom


def test_names_lie_on_no_point_and_on_no_other_name():
    rng = np.random.default_rng(0)
    figures = zip(rng.integers(1000, 10**6, 30), rng.uniform(0.9, 1, 30), strict=True)
    drawn = chart([_entry(int(cost), value, name=f"net{i}") for i, (cost, value) in enumerate(figures)])
    boxes = [(p.x - 6, p.x + 6, p.y - 6, p.y + 6) for p in drawn.points]
    for point in (p for p in drawn.points if p.label_y is not None):
        width = 6 * len(point.entry.card.name)
        left = point.label_x - (width if point.anchor == "end" else 0)
        boxes.append((left, left + width, point.label_y - 8, point.label_y))
    assert len(boxes) > 50
    names = boxes[30:]
    for i, (left, right, top, bottom) in enumerate(names):
        others = boxes[:30] + names[:i]
        assert not [b for b in others if left < b[1] and b[0] < right and top < b[3] and b[2] < bottom]
    assert not [p for p in chart([_entry(1000, 0.9)] * 41).points if p.label_y is not None]


def test_accuracies_of_different_tasks_share_no_axis():
    def entry(name, data, task, value):
        claim = Claim(metric="accuracy", value=value)
        card = card_of(file_of(b"x", "m"), name=name, task=task, data_set=DataSet(name=data), claim=claim)
        return Entry(card, CardCost(bit_operations=1000))

    rows = (("a", "X", "t", 0.9), ("b", "Y", "t", 0.5), ("c", "Y", "t", 0.6), ("d", "X", "u", 1))
    drawn = charts([entry(*row) for row in rows])
    assert [(c.title, sorted(p.entry.card.name for p in c.points)) for c in drawn] == [
        ("Y, t", ["b", "c"]),
        ("X, t", ["a"]),
        ("X, u", ["d"]),
    ]
    assert drawn[0].y_ticks != drawn[1].y_ticks


def test_what_is_counted_on_the_file_comes_before_what_was_published(tmp_path):
    path = PROJECT / "src" / "anybit" / "zoo" / "models" / "digits_mlp_2w2a" / "model.onnx"
    card = card_of(file_of(path.read_bytes(), path.as_uri()), cost=CardCost(bit_operations=7, verified=False))
    write_site([card], tmp_path / "known", store=Store())
    counted = f"{anybit.cost(path).dense.bit_operations:,}"
    assert counted in (tmp_path / "known" / "index.html").read_text("utf-8")
    text = (tmp_path / "known" / "models" / "net.html").read_text("utf-8")
    assert counted in text
    assert "as published" not in text.split("<h2>")[0]
    write_site([card], tmp_path / "unknown")
    assert counted not in (tmp_path / "unknown" / "index.html").read_text("utf-8")


def test_a_page_has_the_graph_the_files_and_how_to_run_it(tmp_path):
    path = tmp_path / "source" / "model.onnx"
    path.parent.mkdir()
    nodes = [quant("x", "q"), quant("w", "wq", narrow=1)]
    nodes += [helper.make_node("MatMul", [a, "wq"], [b], name=b) for a, b in (("q", "first"), ("first", "second"))]
    nodes += [helper.make_node("Add", ["second", "q"], ["sum"]), quant("sum", "y")]  # a branch around two layers
    constants = {"w": np.eye(4, dtype=np.float32)} | parameters("q") | parameters("wq") | parameters("y")
    onnx.save(model(nodes, constants, inputs={"x": [1, 4]}, outputs=["y"]), path)
    card = card_of(file_of(path.read_bytes(), path.as_uri()))
    write_site([card], tmp_path / "site", store=Store())
    page = Page(tmp_path / "site" / "models" / "net.html")
    described = describe(path)
    assert len(described.blocks) > 3
    assert len(described.edges) > len(described.blocks) - 1
    assert page.tags.count("rect") == len(described.blocks)
    assert page.tags.count("line") == len(described.edges)
    copies = [link for link in page.links if link.startswith("../files/")]
    assert [(tmp_path / "site" / "models" / c).resolve().read_bytes() for c in copies] == [path.read_bytes()]
    assert str(path.parent) not in (tmp_path / "site" / "models" / "net.html").read_text("utf-8")
    drawn = picture(described)
    places = {(b.x, b.y) for b in drawn.boxes}
    assert len(places) == len(drawn.boxes)
    assert all(line.x1 < line.x2 for line in drawn.lines)


def test_the_program_of_a_page_runs(cards, tmp_path, own_cache):
    card = next(c for c in cards if c.name == "digits_mlp_2w2a")
    write_site([card], tmp_path / "site")
    text = (tmp_path / "site" / "models" / f"{card.name}.html").read_text("utf-8")
    program = html.unescape(text.rpartition("<code>import numpy")[2].partition("</code>")[0])
    np.savez(tmp_path / "INPUTS.npz", pixels=np.zeros((2, 64), np.float32))
    program = f"import numpy{program}\nprint([len(v) for v in outputs.values()])"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[2]\n", "")


needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs Chromium and its driver"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-component-update disable-sync"
    for flag in (*flags.split(), "disable-background-networking", "window-size=1280,1000"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def _names(browser):
    rows = browser.find_elements("css selector", "tbody tr:not([hidden])")
    return [row.get_attribute("data-name") for row in rows]


@pytest.mark.slow
@needs_browser
def test_it_is_filtered_and_sorted_in_the_browser(tmp_path, cards, browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    write_site(cards, tmp_path / "site", store=Store())
    browser.get((tmp_path / "site" / "index.html").as_uri())
    body = browser.find_element("tag name", "body")
    assert _names(browser) == [c.name for c in cards]

    body.send_keys("/")
    browser.switch_to.active_element.send_keys("tfc 1w")
    assert _names(browser) == ["TFC_1W1A", "TFC_1W2A"]
    assert browser.find_element("id", "count").text == f"2 of {len(cards)} models"
    points = browser.find_elements("css selector", ".chart [data-name]:not([hidden])")
    assert {p.get_attribute("data-name") for p in points} == {"TFC_1W1A", "TFC_1W2A"}
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert len(_names(browser)) == len(cards)

    Select(browser.find_element("css selector", "[data-field=data]")).select_by_visible_text("MNIST")
    header = next(b for b in browser.find_elements("css selector", "thead button") if b.text == "reaches")
    header.send_keys(Keys.ENTER)
    assert _names(browser) == ["TFC_1W1A", "TFC_1W2A", "TFC_2W2A", "LFC_1W1A", "LFC_1W2A"]
    header.send_keys(Keys.SPACE)
    assert _names(browser) == ["LFC_1W2A", "LFC_1W1A", "TFC_2W2A", "TFC_1W2A", "TFC_1W1A"]
    assert header.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    header = next(b for b in browser.find_elements("css selector", "thead button") if b.text == "bit operations")
    for _ in range(2):
        header.click()
        assert {_names(browser)[-1], _names(browser)[-2]} == {"LFC_1W1A", "LFC_1W2A"}  # no figure: last

    browser.find_element("css selector", ".chart [data-name=TFC_2W2A]").send_keys(Keys.ENTER)
    assert browser.title == "TFC_2W2A: model zoo"
    browser.get((tmp_path / "site" / "models" / "digits_mlp_2w2a.html").as_uri())
    browser.find_element("partial link text", "Report").click()
    assert "digits_mlp_2w2a" in browser.title
    assert browser.get_log("browser") == []


@pytest.mark.slow
@needs_browser
def test_nothing_of_a_card_runs_in_the_browser(tmp_path, browser):
    card = card_of(file_of(b"x", "model.onnx"), task=EVIL, summary=EVIL, source=Source(name=EVIL))
    write_site([card], tmp_path / "site")
    for path in ("index.html", "models/net.html"):
        browser.get((tmp_path / "site" / path).as_uri())
        assert "caught" not in browser.title
        assert browser.get_log("browser") == []


@pytest.mark.slow
@needs_browser
def test_a_thousand_models_stay_quick(tmp_path, cards, browser):
    many = [msgspec.structs.replace(cards[i % len(cards)], name=f"net{i}") for i in range(1000)]
    write_site(many, tmp_path / "site")
    browser.get((tmp_path / "site" / "index.html").as_uri())
    timing = "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime"
    assert browser.execute_script(timing) < 6000  # generous: tests share the machine
    script = "const t = performance.now(); document.querySelector('thead button').click(); return performance.now() - t"
    assert browser.execute_script(script) < 1500
    assert len(_names(browser)) == 1000


def test_what_cannot_be_printed_is_shown(tmp_path):
    steering = "\x1b[2J\u202e\u2066\x9b\x7f\u2028"
    card = card_of(
        file_of(b"x", "http://localhost/x"), summary=f"first\n{steering}", input=steering, task="turned \u202e around"
    )
    write_site([card], tmp_path / "site")
    texts = [p.read_text("utf-8") for p in (tmp_path / "site").rglob("*.html")]
    assert len(texts) == 2
    for text in texts:
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        assert "turned \\u202e around" in text
    assert any("first\n\\x1b[2J\\u202e" in text for text in texts)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 1024, 390])
def test_nothing_leaves_the_screen(tmp_path, cards, browser, width, scheme):
    """Each kind of page at each size, with a picture to look at under pytest's folder of temporary files."""
    write_site(cards, tmp_path / "site")
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    try:
        for path in ("index.html", "models/TFC_2W2A.html"):
            browser.get((tmp_path / "site" / path).as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), path
            assert browser.save_screenshot(str(tmp_path / f"{Path(path).stem}.png"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
