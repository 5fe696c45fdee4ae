"""The page in Chromium, from file://: it draws, searches, follows clicks and keys, and complains about nothing."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from anybit.quantization import Divergence, Front, FrontPoint, Sensitivity, TensorSensitivity
from anybit.reporting.describe import describe
from anybit.reporting.page import report
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import mlp, model, samples
from tests.reporting.browser import browser
from tests.reporting.models import HOSTILE, chain, hostile

pytestmark = pytest.mark.slow

LAYER = 2  # index of the second convolution of a chain


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def file(folder):
    path = folder / "chain.html"
    path.write_text(report(chain(8), name="chain"), "utf-8")
    return path


@pytest.fixture
def page(chromium, file):
    chromium.open(file)
    yield chromium
    assert chromium.console() == []


def test_every_block_and_edge_is_drawn(page):
    assert len(page.all(".node")) == 14  # 8 convolutions, 4 additions, both ends
    assert len(page.all(".edge")) == 17
    assert page.find("h1").text == "chain"
    assert "8" in page.find("#figures").text
    assert page.all("#map .dot")
    assert not page.find("#waiting").is_displayed()


def test_blocks_do_not_overlap_and_come_from_top_to_bottom(page):
    boxes = page.run("""return [...document.querySelectorAll(".node .box")].map((b) => {
        const r = b.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; })""")
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    tops = [b[1] for b in boxes]
    assert tops[0] == min(tops)
    assert tops[-1] == max(tops)


def test_a_click_shows_the_details_of_a_block(page):
    assert "Written by" in page.detail
    page.node(LAYER).click()
    detail = page.detail
    for text in ("Conv", "/block1/conv", "INT2", "Accumulator", "by weights", "Bit operations", "then Relu", "Range"):
        assert text in detail
    assert page.find("#detail .chart title").get_attribute("textContent").startswith("-1: ")
    assert len(page.all(".node.selected")) == 1
    page.find("#graph").click()  # the middle of the graph may hold a block: only the background clears
    page.press("\ue00c")
    assert "Written by" in page.detail


def test_bit_widths_are_told_by_colour_and_by_text(page):
    label = page.node(LAYER).get_attribute("aria-label")
    assert "weights 2 bits, inputs 1 bits, output UINT2" in label
    assert page.node(LAYER).get_attribute("data-bits") == "w2"
    assert page.find(f'.node[data-index="{LAYER}"] .chip text').text == "W2 A1"
    assert "2 bit" in page.find("#classes").text
    page.find("#colour").send_keys("input bits")
    assert page.node(LAYER).get_attribute("data-bits") == "a1"


def test_search_finds_and_goes(page):
    page.press("/")
    assert page.run("return document.activeElement.id") == "search"
    page.press("block5")
    found = page.all(".node.found")
    assert [n.get_attribute("aria-label").split(",")[0] for n in found] == ["Conv /block5/conv", "Add /block5/add"]
    assert page.find("#matches [aria-selected=true]").text == "Conv /block5/conv"
    page.press("\ue015", "\ue007")  # down, enter
    assert "/block5" in page.detail
    assert page.find(".node.selected").get_attribute("aria-label").startswith(("Conv /block5", "Add /block5"))
    page.press("\ue00c")  # escape
    assert page.all(".node.found") == []
    page.press("/", "no such thing")
    assert "Nothing by this name" in page.find("#matches").text
    page.press("\ue00c")


def test_a_match_can_be_clicked(page):
    page.find("#search").send_keys("wq3")
    page.find("#matches [role=option]").click()
    assert "/block3/conv" in page.detail


def test_the_graph_is_walked_by_keys(page):
    page.run("document.querySelector('.node[tabindex=\"0\"]').focus()")
    assert page.focused == "0"
    page.press("\ue015")  # down
    assert page.focused == "1"
    assert "/block0/conv" in page.detail
    page.press("\ue015", "\ue015", "\ue013")  # down, down, up
    assert page.focused == "2"
    page.press("\ue010")  # end
    assert page.focused == str(len(page.all(".node")) - 1)
    page.press("\ue011")  # home
    assert page.focused == "0"
    assert [n.get_attribute("data-index") for n in page.all('.node[tabindex="0"]')] == ["0"]
    stroke = page.run("return getComputedStyle(document.activeElement.querySelector('.box')).strokeWidth")
    assert stroke == "3.5px"  # the focus can be seen


def test_tab_reaches_every_part_and_comes_back(page):
    seen = set()
    for _ in range(40):
        page.press("\ue004")
        seen.add(page.run("const a = document.activeElement; return a.id || a.getAttribute('class') || a.tagName"))
    assert {"theme", "tab-graph", "search", "colour", "zoom-in", "zoom-out", "zoom-fit", "detail"} <= seen
    assert any(s.startswith("node") for s in seen)
    assert "tab-cost" not in seen  # arrows move between tabs


def test_zoom_and_pan(page):
    start = page.view
    page.find("#zoom-in").click()
    assert page.view != start
    page.find("#zoom-fit").click()
    for _ in range(6):
        page.find("#zoom-out").click()
    whole = page.view
    assert page.find("#graph").get_attribute("data-distance") == "far"
    assert page.find(f'.node[data-index="{LAYER}"] .numeral').is_displayed()
    page.node(LAYER).click()
    page.press("+", "+", "+", "+", "+", "+", "+", "+")
    assert page.view != whole
    assert not page.find(f'.node[data-index="{LAYER}"] .numeral').is_displayed()
    before = page.view
    page.drag("#graph", 0, 60)
    assert page.view != before


def test_views_open_by_tabs_and_lead_back_to_the_graph(page):
    page.find("#tab-cost").click()
    assert len(page.all(".cost tbody tr")) == 8
    page.find(".cost thead th:nth-child(5) button").click()
    assert page.find(".cost thead th:nth-child(5)").get_attribute("aria-sort") == "descending"
    assert "/block4/conv" in page.find(".cost tbody tr").text  # float by 5 bits: the dearest
    page.find("#tab-cost").send_keys("\ue014")  # arrow right
    assert page.find("#view-targets").is_displayed()
    assert "QDQ refuses" in page.find("#view-targets").text
    page.find("#view-targets .link").click()
    assert page.find("#view-graph").is_displayed()
    assert len(page.all(".node.selected")) == 1
    page.find("#tab-findings").click()
    assert "Nothing was found" in page.find("#view-findings").text


def test_dark_and_light(page):
    def background():
        return page.run("return getComputedStyle(document.body).backgroundColor")

    colours = {"auto": background()}
    for name in ("light", "dark"):
        page.find("#theme").click()
        colours[name] = background()
        assert page.find("#theme").text == name.capitalize()
    assert colours["light"] != colours["dark"]
    assert colours["auto"] in (colours["light"], colours["dark"])


def test_ranges_on_data_stand_beside_proven_ones(chromium, folder):
    (folder / "data.html").write_text(report(mlp(), {"x": samples(64, 6)}), "utf-8")
    chromium.open(folder / "data.html")
    chromium.node(1).click()
    assert "on data: -" in chromium.detail
    assert chromium.all("#detail .proven")
    assert chromium.all("#detail .data")
    assert chromium.console() == []


def test_nothing_in_a_name_is_executed(chromium, folder):
    (folder / "hostile.html").write_text(report(hostile(), name=HOSTILE[0]), "utf-8")
    chromium.open(folder / "hostile.html")
    assert chromium.find("h1").text == HOSTILE[0]
    assert chromium.find("#view-findings").is_displayed()  # one of its operators is unknown
    chromium.find("#tab-graph").click()
    for index in range(len(chromium.all(".node"))):
        chromium.run("document.querySelector(`.node[data-index='${arguments[0]}']`).focus()", index)
        assert chromium.detail
    for tab in ("cost", "targets", "plan", "findings"):
        chromium.find(f"#tab-{tab}").click()
    chromium.find("#search").send_keys("window.pwned")
    assert chromium.all("#matches [role=option]")
    assert chromium.run("return window.pwned === undefined")
    assert chromium.run("return document.querySelectorAll('img, iframe, object, embed, link, base').length") == 0
    assert chromium.run("return document.scripts.length") == 4
    assert chromium.console() == []


def test_long_names_are_whole_on_demand(chromium, folder):
    (folder / "hostile.html").write_text(report(hostile()), "utf-8")
    chromium.open(folder / "hostile.html")
    chromium.find("#tab-graph").click()
    chromium.find("#search").send_keys("nnnnnnnnnn", "\ue007")
    assert "n" * 200 not in chromium.detail
    chromium.find("#detail .name .link").click()
    assert "n" * 2000 + "… (5,000 characters)" in chromium.detail
    assert chromium.run("const d = document.getElementById('detail'); return d.scrollWidth <= d.clientWidth")


def test_scripts_of_others_are_not_run(chromium, folder):
    """Where markup did get into a page, its policy would stop it."""
    page = report(chain(2)).replace("<noscript>", "<script>window.pwned = 1</script><img src=x onerror='pwned=1'>", 1)
    (folder / "injected.html").write_text(page, "utf-8")
    chromium.open(folder / "injected.html")
    assert chromium.run("return window.pwned === undefined")
    assert any("Content Security Policy" in message for message in chromium.console())


def test_a_thousand_nodes(chromium, folder):
    path = folder / "deep.html"
    path.write_text(report(chain(240), targets=False), "utf-8")
    milliseconds = chromium.open(path)
    assert len(chromium.all(".node")) == 362
    assert path.stat().st_size < 5_000_000
    assert milliseconds < 30_000  # about 2,000 on a quiet machine
    chromium.find("#search").send_keys("block200/conv", "\ue007")
    assert "/block200/conv" in chromium.detail
    box = chromium.run(
        "const r = document.querySelector('.selected').getBoundingClientRect(); return [r.top, r.bottom]"
    )
    assert 0 < box[0] < box[1] < 800  # it came into view
    assert chromium.console() == []


def middle(page, index):
    """How far the middle of a block is from that of the view, across and down, as shares of the view."""
    return page.run(
        """const v = document.getElementById("graph").getBoundingClientRect();
        const b = document.querySelector(`#graph .node[data-index="${arguments[0]}"] .box`).getBoundingClientRect();
        return [(b.left + b.width / 2 - v.left) / v.width - 0.5, (b.top + b.height / 2 - v.top) / v.height - 0.5];""",
        index,
    )


def inside(page):
    """Whether every block is in view."""
    return page.run("""const v = document.getElementById("graph").getBoundingClientRect();
        return [...document.querySelectorAll("#graph .node .box")].every((n) => { const b = n.getBoundingClientRect();
            return b.left >= v.left && b.top >= v.top && b.right <= v.right && b.bottom <= v.bottom; });""")


def test_fit_shows_all_of_a_deep_graph(chromium, folder):
    (folder / "deep.html").write_text(report(chain(60), targets=False), "utf-8")
    chromium.open(folder / "deep.html")
    assert not inside(chromium)
    chromium.find("#zoom-fit").click()
    assert inside(chromium)
    assert not chromium.find("#map").is_displayed()  # all of it is in view


def test_the_map_stands_beside_the_graph_and_is_small_for_a_small_one(chromium, folder, file):
    def map_and_graph():
        return chromium.run("""return ["map", "graph"].map((id) => {
            const r = document.getElementById(id).getBoundingClientRect();
            return [r.left, r.right, r.width, r.height]; })""")

    chromium.open(file)
    small, graph = map_and_graph()
    assert graph[1] <= small[0]
    (folder / "deep.html").write_text(report(chain(60), targets=False), "utf-8")
    chromium.open(folder / "deep.html")
    large, graph = map_and_graph()
    assert graph[1] <= large[0]
    assert small[3] < large[3]
    (folder / "one.html").write_text(report(chain(1)), "utf-8")
    chromium.open(folder / "one.html")
    assert not chromium.find("#map").is_displayed()


def test_search_brings_the_hit_to_the_middle(page):
    page.press("/", "block6/conv")
    hit = page.run("return document.querySelector('.node.found').dataset.index")
    assert middle(page, hit) == pytest.approx([0, 0], abs=0.02)  # before it is chosen, too
    page.press("\ue007")
    assert middle(page, hit) == pytest.approx([0, 0], abs=0.02)


def test_names_are_shortened_in_the_middle_and_longer_nearby(chromium, folder):
    proto = chain(1)
    name = "/encoder/layers.0/attention/projection/weighted/conv"
    next(n for n in proto.graph.node if n.op_type == "Conv").name = name
    (folder / "long.html").write_text(report(proto), "utf-8")
    chromium.open(folder / "long.html")
    shown = chromium.find('.node[data-index="1"] .shortened').text
    head, tail = shown.split("…")
    assert (name.startswith(head), name.endswith(tail), len(shown)) == (True, True, 30)
    chromium.node(1).click()
    chromium.press(*["+"] * 7)
    assert chromium.find('.node[data-index="1"] .shortened').text == name


def test_every_chart_has_a_legend(page):
    page.node(LAYER).click()
    assert page.find("#detail .chart + .legend-list").text.startswith("2 bit")
    page.find("#tab-cost").click()
    charts = page.all("#view-cost figure")
    assert [c.find_element("css selector", "figcaption").text for c in charts] == [
        "Weights: bits stored, by width",
        "Activations: bits read, by width",
        "Bit operations, by width of the weights",
        "Bit operations, by number formats (activation \N{MULTIPLICATION SIGN} weight)",
    ]
    assert all(c.find_elements("css selector", ".legend-list .swatch") for c in charts)
    assert "Accumulator" in page.find(".cost thead").text
    row = page.find(f'.cost tr[data-index="{LAYER}"]').text
    accumulator = describe(chain(8)).blocks[LAYER].operations[0].accumulators[0].bounds[-1]
    assert f"{accumulator.bits} bits" in row


def test_what_targets_take_and_what_runs_natively(page):
    page.find("#tab-targets").click()
    rows = [r.text.split() for r in page.all(".tools tbody tr")]
    described = describe(chain(8))
    assert [r[0] for r in rows] == [t.name for t in described.tools] == ["FINN", "hls4ml", "da4ml", "C"]
    assert ["not" not in r for r in rows] == [t.ready for t in described.tools]
    page.find("#tab-plan").click()
    assert len(page.all(".plan tbody tr")) == len(described.plan.steps)


def test_a_broken_file_opens_with_its_findings_first(chromium, folder):
    nodes = [helper.make_node("Add", ["x", "nowhere"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [1]}, outputs=["y"])
    (folder / "broken.html").write_text(report(proto), "utf-8")
    chromium.open(folder / "broken.html")
    assert chromium.find("[role=tab]").text.startswith("Findings")
    assert "comes from nowhere" in chromium.find("#view-findings").text
    assert chromium.console() == []


def test_free_dimensions_make_no_broken_file(chromium, folder):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])]
    proto = model(nodes, {"w": np.ones((4, 3, 3, 3), np.float32)}, inputs={"x": [1, 3, "H", "W"]}, outputs=["y"])
    (folder / "free.html").write_text(report(proto), "utf-8")
    chromium.open(folder / "free.html")
    assert chromium.find("[role=tab][aria-selected=true]").text.startswith("Graph")
    assert "108*(H - 2)*(W - 2)" in chromium.detail
    assert chromium.console() == []


def test_sensitivity_is_a_colour_a_column_and_a_table_and_a_front_is_a_plot(chromium, folder):
    rows = [("a0", False, 8, 1e-4), ("wq1", True, 4, 0.05), ("wq1", True, 2, 0.5)]
    losses = Sensitivity(16, tuple(TensorSensitivity(n, w, b, Divergence(0.1, e, 0.25)) for n, w, b, e in rows))
    front = Front((FrontPoint(0.5, {"bops": 100}, {"a": 2}), FrontPoint(0.1, {"bops": 900}, {"a": 8})))
    page = report(chain(2), sensitivity=losses, front=front)
    (folder / "losses.html").write_text(page, "utf-8")
    chromium.open(folder / "losses.html")
    chromium.find("#colour").send_keys("sensitivity at 4 bit")
    assert [n.get_attribute("data-bits") for n in chromium.all(".node")] == ["none", "none", "a3", "none", "none"]
    assert "10 to 20 dB" in chromium.find("#classes").text
    chromium.node(LAYER).click()
    assert "weight, 4 bits" in chromium.detail
    assert "13.0 dB" in chromium.detail
    chromium.find("#tab-cost").click()
    assert "3.0 dB" in chromium.find(f'.cost tr[data-index="{LAYER}"]').text  # at the narrowest width
    chromium.find("#tab-loss").click()
    assert len(chromium.all(".frontpoint")) == 2
    assert [r.text for r in chromium.all(".losses tbody tr")] == [
        "a0 activation \N{EN DASH} \N{EN DASH} 40.0",
        "wq1 weight 3.0 13.0 \N{EN DASH}",
    ]
    assert chromium.console() == []


def test_two_models_side_by_side(chromium, folder):
    before, after = chain(4), chain(4)
    bits = next(t for t in after.graph.initializer if t.name == "wq2_bits")
    bits.CopyFrom(numpy_helper.from_array(np.array(2.0, np.float32), bits.name))
    (folder / "two.html").write_text(report(after, before=before), "utf-8")
    chromium.open(folder / "two.html")
    changes = chromium.find("#view-changes").text
    assert "W3 Af → W2 Af" in changes
    assert "The first tensor that departs is wq2" in changes
    chromium.find("#view-changes .changes .link").click()
    panes = [f"#graph{suffix} .node.selected" for suffix in ("-before", "")]
    assert [chromium.find(p).get_attribute("data-index") for p in panes] == ["4", "4"]
    assert "W3 Af → W2 Af" in chromium.detail
    chromium.find("#zoom-fit").click()
    chromium.find('#graph-before .node[data-index="2"]').click()
    assert [chromium.find(p).get_attribute("data-index") for p in panes] == ["2", "2"]
    assert "As in the earlier model." in chromium.detail
    chromium.find("#tab-changes").click()
    with chromium.screen(390, 844, "light"):
        table, view = (chromium.find(s).rect for s in (".changes", "#view-changes"))
        assert table["width"] <= view["width"] <= 390
    assert chromium.console() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 1024, 390])
def test_nothing_leaves_the_screen(chromium, file, tmp_path, width, scheme):
    """Each view at each size, with a picture to look at under pytest's folder of temporary files."""
    with chromium.screen(width, 844 if width < 500 else 800, scheme):
        chromium.open(file)
        for tab in ("graph", "cost", "targets", "plan", "findings"):
            chromium.find(f"#tab-{tab}").click()
            assert chromium.run("return document.documentElement.scrollWidth <= window.innerWidth"), tab
            assert chromium.driver.save_screenshot(str(tmp_path / f"{tab}.png"))
    assert chromium.console() == []


@needs_corpus
@pytest.mark.parametrize("name", ["resnet18_4w4a", "transformer_4w8a"])
def test_real_models(chromium, folder, name):
    path = folder / f"{name}.html"
    path.write_text(report(CORPUS / name / "model.onnx"), "utf-8")
    milliseconds = chromium.open(path)
    assert milliseconds < 30_000  # about 500 on a quiet machine
    assert path.stat().st_size < 5_000_000
    assert len(chromium.all(".node")) >= 17
    assert chromium.console() == []
