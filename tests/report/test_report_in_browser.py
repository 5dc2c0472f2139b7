"""The report in headless Chromium, opened from disk as a person does."""

import json
import shutil
import time

import pytest

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, reported):
    """Opens the report; at the end nothing may have been asked of the network or been complained about."""
    contexts, requests, complaints = [], [], []

    def open_report(width=1280, height=900, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(reported.page.as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()
    asked = [url for url in requests if not url.startswith("data:")]
    assert asked == [reported.page.as_uri()] * len(contexts)
    assert complaints == []


def until(page, condition, seconds=30.0):
    """Wait for a JavaScript condition. Asked from outside: the page's policy forbids to evaluate strings inside it."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def shown(page):
    """Expressions of the cards that are visible, in order."""
    return page.eval_on_selector_all(
        ".card", "cards => cards.filter(c => c.checkVisibility()).map(c => c.querySelector('h3').textContent)"
    )


def visible_frame(page, card):
    """Title of the frame that the player of a card shows."""
    return page.evaluate(
        "card => card.querySelector('.player .picture:not(.waiting)').title", page.query_selector(card)
    )


def count(page):
    return page.inner_text("output[name=count]")


def test_search_and_filters_narrow_the_gallery_down(open_page, reported):
    page = open_page()
    total = reported.summary.shown
    assert count(page) == f"{total} shown"
    page.locator("[name=search]").fill("UNICORN")
    assert shown(page) == ["a unicorn"]
    assert count(page) == f"1 of {total} shown"
    page.locator("[name=search]").fill("nothing has this text")
    assert shown(page) == []
    assert page.locator("#nothing").is_visible()
    page.get_by_role("button", name="Reset").click()
    until(page, f"document.querySelector('output').value === '{total} shown'")
    page.locator("[name=status]").select_option("failed")
    assert shown(page) == ["the dog"]
    page.locator("[name=status]").select_option("")
    page.locator("[name=from]").fill("0.15")
    page.locator("[name=to]").fill("0.25")
    assert "both of them" in shown(page)
    assert 0 < len(shown(page)) < total
    page.get_by_role("button", name="Reset").click()
    until(page, f"document.querySelector('output').value === '{total} shown'")
    page.locator("[name=presence-from]").fill("0.15")
    page.locator("[name=presence-to]").fill("0.35")
    values = "cards => cards.filter(c => c.checkVisibility()).map(c => c.dataset.presence)"
    assert sorted(map(float, page.eval_on_selector_all(".card", values))) == pytest.approx([0.2, 0.3])


def test_sorting(open_page):
    page = open_page()
    scores = "cards => cards.map(c => c.dataset.score).filter(Boolean).map(Number)"
    for choice, reverse in (("score-low", False), ("score-high", True)):
        page.locator("[name=sort]").select_option(choice)
        values = page.eval_on_selector_all(".card", scores)
        assert values == sorted(values, reverse=reverse)
        assert len(set(values)) > 3
    page.locator("[name=sort]").select_option("presence-low")
    values = page.eval_on_selector_all(".card", scores.replace("score", "presence"))
    assert values == sorted(values)
    assert len(values) > 3
    page.locator("[name=sort]").select_option("jf-low")
    values = page.eval_on_selector_all(".card", scores.replace("score", "jf"))
    assert values == sorted(values)


def test_pictures_have_texts_and_come_only_when_near(open_page):
    page = open_page(height=700)
    assert page.locator(".card").count() > 8
    page.locator(".card").first.scroll_into_view_if_needed()
    page.locator(".player .picture img").first.wait_for(state="attached")
    near = page.locator(".card:has(img)").count()
    assert 0 < near < page.locator(".card[data-pictures^=item]").count()
    assert page.eval_on_selector_all("img", "images => images.every(i => i.alt.trim())")
    page.locator(".card").last.scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('.card')[0].querySelectorAll('img').length === 0")
    broken = "images => Promise.all(images.map(i => i.decode().then(() => 0, () => 1))).then(all => all.some(Boolean))"
    assert page.eval_on_selector_all("img", broken) is False


def test_hover_plays_and_leaving_stops(open_page):
    page = open_page()
    player = page.locator(".card .player").first
    player.scroll_into_view_if_needed()
    player.hover()
    page.wait_for_selector(".player.playing")
    before = visible_frame(page, ".card:has(.playing)")
    until(page, f"document.querySelector('.playing .picture:not(.waiting)').title !== {json.dumps(before)}")
    page.mouse.move(5, 5)
    page.wait_for_selector(".player.playing", state="detached")


def test_a_tap_plays_and_a_second_one_pauses(open_page):
    page = open_page(width=390, height=844, has_touch=True, is_mobile=True)
    player = page.locator(".card .player").first
    player.scroll_into_view_if_needed()
    player.tap()
    page.wait_for_selector(".player.playing[aria-pressed=true]")
    player.tap()
    page.wait_for_selector(".player.playing", state="detached")


def test_with_reduced_motion_pictures_play_on_request_only(open_page):
    page = open_page(reduced_motion="reduce")
    player = page.locator(".card .player").first
    player.scroll_into_view_if_needed()
    player.hover()
    page.wait_for_timeout(400)
    assert page.locator(".player.playing").count() == 0
    player.click()
    page.wait_for_selector(".player.playing")


def test_the_keyboard_reaches_everything(open_page):
    page = open_page()
    wanted = page.eval_on_selector_all(
        "a[href], button, input, select, summary, .scroll",
        "all => all.filter(e => e.checkVisibility() && !e.closest('details:not([open]) > :not(summary)')).length",
    )
    reached = set()
    mark = """n => {
        const element = document.activeElement;
        element.dataset.tab ??= n;
        return element === document.body ? "" : element.dataset.tab;
    }"""
    for number in range(wanted + 40):
        page.keyboard.press("Tab")
        name = page.evaluate(mark, str(number))
        if not name or (name in reached and len(reached) >= wanted):
            break
        reached.add(name)
    assert len(reached) >= wanted


def test_the_keyboard_plays_pauses_and_steps(open_page):
    page = open_page()
    page.locator(".copy").first.focus()
    page.locator(".player").first.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    page.wait_for_selector(".player.playing:focus-visible")
    page.keyboard.press("Enter")
    page.wait_for_selector(".player.playing", state="detached")
    before = visible_frame(page, ".card:has(.player:focus)")
    page.keyboard.press("ArrowRight")
    after = visible_frame(page, ".card:has(.player:focus)")
    page.keyboard.press("ArrowLeft")
    assert before != after
    assert visible_frame(page, ".card:has(.player:focus)") == before


def test_masks_and_truth_can_be_hidden(open_page):
    page = open_page()
    page.locator(".mask").first.wait_for(state="visible")
    assert page.locator(".truth").first.is_visible()
    page.get_by_label("masks").uncheck()
    assert not page.locator(".mask").first.is_visible()
    page.get_by_label("truth").uncheck()
    assert not page.locator(".truth").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_both_themes_and_widths(open_page, scheme, width, tmp_path):
    page = open_page(width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colours = (
        "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor].map(c => c.match(/\\d+/g).map(Number))"
    )
    ink, paper = (sum(colour[:3]) for colour in page.eval_on_selector(".tiles li", colours))
    assert (ink < 200 and paper > 600) if scheme == "light" else (ink > 600 and paper < 200)
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_hostile_text_runs_nothing(open_page):
    page = open_page()
    page.locator("[name=search]").fill("</script>")
    page.wait_for_timeout(100)
    assert len(shown(page)) == 1
    assert page.title().startswith("Masks in")
