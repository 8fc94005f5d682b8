"""The Dataset page with the keyboard alone: from a file to its tokens, report, a new version and Train."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import keep_picture
from tests.support.hub_server import FakeHub, FakeRepository, serving
from tests.support.reflex_socket import ReflexSocket
from tests.support.ui_server import ROOT, UiServer

EXAMPLES = ROOT / "examples"
DATA = "reflex___state____state.backprop_app___states___dataset____dataset_state"
WORK = "reflex___state____state.backprop_app___states___dataset_work____dataset_work_state"
LARGE_ROWS = 200_000
LARGE_S = 20.0


def address(path: Path | str) -> str:
    return f"/dataset?file={quote(str(path), safe='')}"


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until `wanted` has the focus."""
    for _ in range(120):
        if wanted.evaluate("item => item === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {wanted}")


def microscope(page: Page) -> Locator:
    return page.get_by_role("region", name="Mask microscope")


def figure(page: Page, label: str) -> Locator:
    return page.locator(".figs > div").filter(has=page.get_by_text(label, exact=True)).locator(".fig")


def test_five_rows_from_the_list_to_train_with_the_keyboard_alone(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dataset")
    expect(page.get_by_role("link", name="quickstart.jsonl")).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="quickstart.jsonl")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("quickstart.jsonl")
    expect(microscope(page).locator(".toks .y").last).to_have_text("<|im_end|>")
    expect(microscope(page)).to_contain_text("row 1")
    expect(microscope(page)).to_contain_text("The stop token is learnt.")
    expect(figure(page, "Rows")).to_have_text("5")
    expect(page.get_by_text("Only 5 rows: a model learns little but their words.")).to_be_visible()
    expect(page.locator(".cli code")).to_contain_text("report")
    keep_picture(page, "dataset-quickstart")

    page.keyboard.press("]")
    expect(microscope(page)).to_contain_text("row 2")
    page.keyboard.press("[")
    page.keyboard.press("[")
    expect(microscope(page)).to_contain_text("row 1")
    tab_to(page, page.get_by_role("button", name="Row 1", exact=True))
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(microscope(page)).to_contain_text("row 3")
    tab_to(page, page.get_by_role("radio", name="Chat"))
    page.keyboard.press("Enter")
    expect(microscope(page).locator(".said").first).to_be_visible()

    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Train")
    expect(page.get_by_role("button", name="Data:")).to_contain_text("quickstart.jsonl")


def test_two_hundred_thousand_rows_stay_quick_with_the_keyboard_alone(app: UiServer, watch, tmp_path) -> None:
    file = tmp_path / "large.jsonl"
    with file.open("w") as stream:
        for number in range(1, LARGE_ROWS + 1):
            turns = [
                {"role": "user", "content": f"Q{number}"},
                {"role": "assistant", "content": f"A{number}"},
            ]
            stream.write(json.dumps({"messages": turns}) + "\n")
    page = watch(app).open("/dataset")
    link = page.get_by_role("link", name="large.jsonl")
    expect(link).to_be_visible()
    tab_to(page, link)
    began = time.monotonic()
    page.keyboard.press("Enter")
    expect(microscope(page).locator(".toks .y").first).to_be_visible()
    first_s = time.monotonic() - began
    expect(figure(page, "Rows")).to_have_text("200,000")
    expect(page.get_by_text("about, sampled")).to_be_visible()
    tab_to(page, page.get_by_label("Go to row"))
    page.keyboard.type("199,995")
    page.keyboard.press("Enter")
    expect(microscope(page)).to_contain_text("row 199,995")
    tab_to(page, page.get_by_role("button", name="Row 199,995"))
    page.keyboard.press("]")
    expect(microscope(page)).to_contain_text("row 199,996")
    whole_s = time.monotonic() - began
    keep_picture(page, "dataset-large")
    assert whole_s < LARGE_S, f"{whole_s:.1f} s, of them {first_s:.1f} s to the first mask"


def test_a_report_of_a_large_file_tells_its_progress_and_can_be_cancelled(app, watch, tmp_path) -> None:
    row = {
        "messages": [{"role": "user", "content": "Why? " * 20}, {"role": "assistant", "content": "So. " * 40}]
    }
    (tmp_path / "slow.jsonl").write_text((json.dumps(row) + "\n") * 60_000)
    page = watch(app).open(address(tmp_path / "slow.jsonl"))
    make = page.get_by_role("button", name="Make the report")
    expect(make).to_be_enabled()
    tab_to(page, make)
    page.keyboard.press("Enter")
    cancel = page.get_by_role("button", name="Cancel")
    expect(page.get_by_text("of 60,000 rows")).to_be_visible()
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    expect(make).to_be_visible()
    expect(page.get_by_text("Not made yet")).to_be_visible()


def test_a_new_version_is_made_opened_and_undone_with_the_keyboard_alone(app: UiServer, watch) -> None:
    source = EXAMPLES / "quickstart.jsonl"
    before = source.read_bytes()
    page = watch(app).open(address(source))
    sample = page.get_by_role("radio", name="Sample")
    expect(sample).to_be_visible()
    tab_to(page, sample)
    page.keyboard.press("Enter")
    rows = page.get_by_label("Rows", exact=True).and_(page.locator("input"))
    expect(rows).to_be_visible()
    tab_to(page, rows)
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("quickstart.v2.jsonl")
    expect(figure(page, "Rows")).to_have_text("3")
    expect(page.get_by_text("Version 2 of 2, source untouched.")).to_be_visible()
    made = app.home / "ui-outputs" / "datasets"
    assert sorted(path.name for path in made.iterdir()) == [
        "quickstart.v2.jsonl",
        "quickstart.v2.recipe.json",
    ]
    assert source.read_bytes() == before

    older = page.get_by_role("table", name="Versions").get_by_role("link", name="quickstart.jsonl")
    tab_to(page, older)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("quickstart.jsonl")
    expect(page.get_by_text("Version 1 of 2")).to_be_visible()


def test_a_wrong_field_is_told_beneath_the_form(app: UiServer, watch) -> None:
    page = watch(app).open(address(EXAMPLES / "quickstart.jsonl"))
    page.get_by_label("Must match", exact=True).fill("(")
    page.keyboard.press("Enter")
    expect(page.locator("form .help.bad")).to_contain_text("is not a regular expression")
    assert list((app.home / "ui-outputs" / "datasets").iterdir()) == []


def test_pasted_rows_become_a_file(app: UiServer, watch) -> None:
    page = watch(app).open("/dataset")
    paste = page.get_by_role("button", name="Paste rows")
    expect(paste).to_be_visible()
    tab_to(page, paste)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Rows", exact=True)).to_be_focused()
    page.keyboard.type('{"a": 1}')
    tab_to(page, page.get_by_role("button", name="Keep as a file"))
    page.keyboard.press("Enter")
    expect(page.locator(".help.bad")).to_contain_text("can be learned from")
    page.get_by_label("Rows", exact=True).fill('{"prompt": "Hello", "completion": "Good day"}')
    page.get_by_label("Name of the file").fill("../../greet")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("greet-")
    expect(figure(page, "Rows")).to_have_text("1")


def test_planted_faults_are_named(app: UiServer, watch, tmp_path) -> None:
    good = {"messages": [{"role": "user", "content": "Name it."}, {"role": "assistant", "content": "Wren."}]}
    forged = {
        "messages": [{"role": "user", "content": "x<|im_end|>"}, {"role": "assistant", "content": "No."}]
    }
    wrong = {"messages": [{"role": "user", "content": "Who?"}, {"role": "narrator", "content": "They."}]}
    rows = [good, good, forged, wrong, {"messages": [{"role": "user", "content": "Only a question"}]}]
    (tmp_path / "planted.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = watch(app).open(address(tmp_path / "planted.jsonl"))
    for sentence in (
        "2 of 5 rows cannot be used",
        "1 rows repeat another one exactly",
        "1 rows hold control tokens in their text",
    ):
        expect(page.get_by_text(sentence)).to_be_visible()
    page.get_by_role("radio", name="Unusable").click()
    expect(page.get_by_role("table", name="Rows").locator("tbody tr")).to_have_count(2)
    expect(microscope(page)).to_contain_text("This row is left out")


def test_without_the_model_the_page_shows_turns_and_says_what_is_missing(shared_app, watch) -> None:
    page = watch(shared_app).open(address(EXAMPLES / "quickstart.jsonl"))
    expect(microscope(page).locator(".toks .y").first).to_be_visible()
    page.get_by_label("Tokens and template of").select_option("qwen2.5-7b")
    expect(microscope(page)).to_contain_text("need Qwen2.5-7B-Instruct, which must be fetched first")
    expect(microscope(page).locator(".said").first).to_be_visible()
    expect(page.get_by_role("button", name="Make the report")).to_be_disabled()


def test_the_train_page_leads_to_the_mask(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/")
    page.get_by_role("link", name="See the mask").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("quickstart.jsonl")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "../../x.jsonl", "http://169.254.169.254/", "file:///etc/passwd"],
)
def test_a_file_outside_is_refused_on_the_page(shared_app: UiServer, watch, path) -> None:
    page = watch(shared_app).open(address(path))
    expect(page.get_by_text("is not in a folder that the app may read").first).to_be_visible()
    expect(page.get_by_role("button", name="Train with this")).to_be_disabled()
    expect(page.locator(".turns")).to_have_count(0)


OUTSIDE = (
    "/etc/passwd",
    "/proc/self/environ",
    "../../x.jsonl",
    "http://169.254.169.254/",
    "file:///etc/passwd",
)


def test_handlers_called_directly_read_and_write_nothing_outside(app: UiServer) -> None:
    home = app.home / "ui-outputs"

    async def attack() -> list[str]:
        socket = await ReflexSocket.open(app.port)
        for path in OUTSIDE:
            await socket.call(f"{WORK}.load", {}, wait_s=1.0, address=address(path))
            await socket.call(f"{WORK}.make", {"values": {"rows": "3"}}, wait_s=1.0)
            await socket.call(f"{DATA}.train_on_this", {}, wait_s=1.0)
        await socket.call(f"{WORK}.load", {}, wait_s=2.0, address=address(EXAMPLES / "quickstart.jsonl"))
        for path in OUTSIDE:
            await socket.call(f"{WORK}.choose_heldout", {"path": path}, wait_s=1.0)
            await socket.call(f"{WORK}.choose_model", {"key": path}, wait_s=1.0)
        for number in (-(10**9), 10**9):
            await socket.call(f"{DATA}.choose_row", {"index": number})
            await socket.call(f"{DATA}.go_to_page", {"page": number}, wait_s=1.0)
        await socket.call(f"{WORK}.choose_operation", {"key": "../../x"})
        await socket.call(
            f"{WORK}.paste", {"values": {"name": "../../x", "rows": '{"text": "one"}'}}, wait_s=1.0
        )
        await socket.close()
        return [json.dumps(update) for update in socket.updates]

    # The browser of the other tests keeps a loop of its own in this thread.
    with ThreadPoolExecutor(1) as apart:
        heard = "".join(apart.submit(lambda: asyncio.run(attack())).result())
    assert heard.count("is not in a folder that the app may read") >= len(OUTSIDE)
    assert "root:" not in heard
    assert "BACKPROPAGATE_HOME" not in heard
    [pasted] = (home / "datasets").iterdir()
    assert pasted.name.startswith("x-")
    assert not list(app.home.parent.glob("x-*"))
    assert app.answers()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 800), (820, 1180), (390, 844)])
def test_the_page_fits_every_width(shared_app: UiServer, watch, width, height) -> None:
    page = watch(shared_app, viewport={"width": width, "height": height}).open(
        address(EXAMPLES / "support.jsonl")
    )
    expect(page.get_by_text("Ready to train")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a")]
            .filter((item) => item.getClientRects().length > 0)
            .filter((item) => !(item.innerText || "").trim() && !item.getAttribute("aria-label")
                && !(item.labels && item.labels.length))
            .map((item) => item.outerHTML)"""
    )
    assert nameless == []
    keep_picture(page, f"dataset-{width}")


def test_columns_named_by_hand_make_an_unknown_file_usable_and_the_report_can_be_kept(
    app: UiServer, watch, tmp_path
) -> None:
    rows = [{"frage": f"How old is tree {number}?", "antwort": f"{number} years."} for number in range(30)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = watch(app).open(address(tmp_path / "odd.jsonl"))
    expect(page.get_by_role("alert").filter(has_text="None of the 30 rows")).to_be_visible()
    # The form for it is open already, with the columns of the file.
    questions = page.get_by_label("Column of questions")
    expect(questions.locator("option")).to_have_text(["As found", "frage", "antwort"])
    questions.select_option("frage")
    page.get_by_label("Column of answers").select_option("antwort")
    keep_picture(page, "dataset-columns")
    page.get_by_role("button", name="Make a new version").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("odd.v2.jsonl")
    expect(figure(page, "Rows")).to_have_text("30")

    with page.expect_download() as kept:
        page.get_by_role("link", name="JSON", exact=True).click()
    report = json.loads(Path(kept.value.path()).read_text())
    assert (report["schema_version"], report["file"], report["summary"]["rows"]) == (1, "odd.v2.jsonl", 30)


def test_a_data_set_of_the_hub_is_fetched_and_opened(bundle, models, watch, tmp_path) -> None:
    rows = "".join(json.dumps({"prompt": f"{n}?", "completion": f"{n}!"}) + "\n" for n in range(12))
    hub = FakeHub({"owner/talks": FakeRepository({"train.jsonl": rows.encode()})})
    with serving(hub):
        online = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        app = UiServer(tmp_path / "app", models=models, environ=online).start()
        try:
            page = watch(app).open("/dataset")
            page.get_by_role("button", name="From the hub").click()
            page.get_by_label("Data set", exact=True).fill("owner/nothing")
            page.keyboard.press("Enter")
            expect(page.locator(".help.bad")).to_contain_text("owner/nothing")
            page.get_by_label("Data set", exact=True).fill("owner/talks")
            page.get_by_label("Rows", exact=True).fill("10")
            keep_picture(page, "dataset-hub")
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text("owner--talks-train.jsonl")
            expect(figure(page, "Rows")).to_have_text("10")
        finally:
            app.stop()
