"""The console in a browser: what a person sees, a screen reader tells, and a keyboard can do."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from playwright.sync_api import Page, Route, expect

from tests.console.conftest import served
from tests.serving.askers import REGULARS
from tests.serving.test_api import InProcess, honest

Look = Callable[..., Page]
MARKUP = '<img src="x" onerror="alert(1)"><script>alert(2)</script>'


def titles(page: Page) -> list[str]:
    return page.locator(".card h3").all_inner_texts()


def ask_for(page: Page, user: str) -> None:
    page.get_by_role("textbox", name="User").fill(user)
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_role("status")).to_have_text(f"10 items for {user}.")


def button(page: Page, name: str, place: int = 0) -> Any:
    return page.locator(".card").nth(place).get_by_role("button", name=name)


def slate(url: str, **body: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{url}/v1/recommend", json={"k": 10, **body}).json()
    items: list[dict[str, Any]] = answer["items"]
    return items


def test_the_first_user_is_shown_at_once(url: str, look: Look) -> None:
    page = look(url)
    user = page.locator("#examples button").first.get_attribute("data-user")
    expect(page.get_by_role("status")).to_have_text(f"10 items for {user}.")
    assert titles(page) == [item["title"] for item in slate(url, user_id=user)]
    expect(page.locator("#latency")).to_have_text(
        re.compile(r"slate: server \d+\.\d ms, round trip \d+\.\d ms")
    )
    history = httpx.get(f"{url}/v1/users/{user}").json()["history"]
    expect(page.locator("#history li").first).to_contain_text(history[0])
    expect(page.locator("#filtered")).to_contain_text("seen")


def test_who_is_at_the_field_before_the_examples_come_types_alone(url: str, look: Look) -> None:
    page, held = look("about:blank"), list[Route]()
    page.route("**/v1/examples", lambda route: held.append(route))
    with page.expect_request("**/v1/examples"):
        page.goto(url)
    user = page.get_by_role("textbox", name="User")
    user.focus()
    held[0].continue_()
    expect(page.locator("#examples button").first).to_be_visible()
    user.press_sequentially(REGULARS[3])
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_role("status")).to_have_text(f"10 items for {REGULARS[3]}.")


def test_bars_are_signed_and_drawn_to_one_scale(url: str, look: Look) -> None:
    page = look(url)
    ask_for(page, REGULARS[0])
    shown = {}
    for line in page.locator(".card").first.locator(".sources li").all():
        width = line.locator(".bar").evaluate("bar => parseFloat(bar.style.width)")
        sign = -1 if "minus" in str(line.locator(".bar").get_attribute("class")) else 1
        shown[line.locator(".name").inner_text()] = sign * width
    told = slate(url, user_id=REGULARS[0])
    largest = max(abs(value) for item in told for value in item["contributions"].values())
    expected = {source: 50 * value / largest for source, value in told[0]["contributions"].items()}
    assert shown == pytest.approx(expected, abs=0.5)


def test_a_like_moves_the_slate(url: str, look: Look) -> None:
    page = look(url)
    ask_for(page, REGULARS[3])
    before = titles(page)
    button(page, "Like", 1).click()
    expect(page.get_by_role("status")).to_contain_text(f"Liked {before[1]}")
    after = titles(page)
    assert before[1] not in after
    expect(page.locator("#history li").first).to_contain_text(before[1])
    expect(page.locator("#history li").first).to_contain_text("like")
    rest = [title for title in before if title != before[1]]
    marks = page.locator(".move").all_inner_texts()
    for place, (title, mark) in enumerate(zip(after, marks, strict=True)):
        moved = rest.index(title) - place if title in rest else None
        expected = "new" if moved is None else f"▲ up {moved}" if moved > 0 else f"▼ down {-moved}"
        assert mark == (expected if moved != 0 else "")
    focused = page.evaluate("() => document.activeElement.textContent")
    assert focused == after[1]  # where the finger was
    assert "feedback: server" in page.locator("#latency").inner_text()


def test_what_moved_is_marked(url: str, look: Look) -> None:
    page = look(url)
    expect(page.locator(".card")).to_have_count(10)
    page.evaluate(
        """async () => {
          const { drawSlate, moves } = await import("/console/slate.js");
          const items = ["c", "a", "d", "e"].map((id) => (
            { item_id: id, title: id, channel: "new", contributions: {}, probability: 0.5 }));
          drawSlate({ items }, moves(["a", "b", "c", "e"], ["c", "a", "d", "e"]), "en", {});
        }"""
    )
    assert page.locator(".move").all_inner_texts() == ["▲ up 2", "▼ down 1", "new", ""]


def test_a_skip_is_told_among_the_filtered(url: str, look: Look) -> None:
    page = look(url)
    ask_for(page, REGULARS[0])
    first = titles(page)[0]
    button(page, "Skip").click()
    expect(page.get_by_role("status")).to_contain_text(f"Skipped {first}")
    line = page.locator("#filtered li", has_text=first)
    expect(line).to_contain_text("rejected")
    expect(page.locator("#counts")).to_contain_text("1 rejected")


def test_a_category_is_filtered_and_told(url: str, look: Look) -> None:
    page = look(url)
    ask_for(page, REGULARS[0])
    category = httpx.get(f"{url}/v1/examples").json()["categories"][0]
    page.get_by_label("Category").select_option(category)
    expect(page.locator("#counts")).to_contain_text("category")
    wanted = slate(url, user_id=REGULARS[0], filters={"categories": [category]})
    assert titles(page) == [item["title"] for item in wanted]


def test_why_shows_evidence_and_what_if(url: str, look: Look) -> None:
    page = look(url)
    ask_for(page, REGULARS[0])
    why = button(page, "Why?")
    expect(why).to_have_attribute("aria-expanded", "false")
    why.click()
    expect(why).to_have_attribute("aria-expanded", "true")
    item = slate(url, user_id=REGULARS[0])[0]
    body = {"user_id": REGULARS[0], "item_id": item["item_id"], "explain": "template"}
    answer = httpx.post(f"{url}/v1/explain", json=body).json()
    statements = answer["item"]["explanation"]["statements"]
    said = {fact for statement in statements for fact in statement["evidence"]}
    assert said
    expect(page.locator("tbody tr")).to_have_count(len(answer["evidence"]["facts"]))
    expect(page.locator("tbody td", has_text="yes")).to_have_count(len(said))
    page.get_by_role("button", name="What if a source were missing?").click()
    expect(page.locator(".what-if")).to_contain_text("Without")
    why.click()
    expect(page.locator("table")).to_be_hidden()


def test_somebody_new_gets_a_slate(url: str, look: Look) -> None:
    page = look(url)
    page.get_by_role("button", name="somebody new").click()
    expect(page.locator("#about")).to_contain_text("new, no word from behaviour")
    assert len(titles(page)) == 10
    expect(page.locator("#history")).to_have_text("empty")


def test_sentences_in_chinese_or_none(url: str, look: Look) -> None:
    page = look(url)
    page.get_by_label("Language").select_option("zh")
    expect(page.locator(".sentence").first).to_contain_text("“")
    expect(page.locator(".sentence").first).to_have_attribute("lang", "zh")
    page.get_by_label("Explanations").select_option("none")
    expect(page.locator(".sentence").first).to_be_hidden()


def test_the_language_models_words_replace_the_templates(
    start: Callable[..., TestClient], look: Look
) -> None:
    with served(start(InProcess(honest))) as url:
        page = look(url)
        ask_for(page, REGULARS[0])
        expect(page.locator(".writer").first).to_have_text("— template")
        page.get_by_label("Explanations").select_option("llm")
        expect(page.locator(".writer").last).not_to_have_text("— writing …")
        expect(page.locator(".writer", has_text="language model").first).to_be_visible()
        expect(page.locator(".sentence[aria-busy=true]")).to_have_count(0)


def test_text_from_users_is_never_markup(start: Callable[..., TestClient], look: Look) -> None:
    client = start()
    application = next(iter(client.app.dependency_overrides.values()))()
    snapshot = application._live.state.snapshot
    for position, title in enumerate(list(snapshot.titles)):
        snapshot.catalogue.change(position, {"title": f"{MARKUP} {title}"})
    with served(client) as url:
        page = look(url)
        ask_for(page, REGULARS[0])
        button(page, "Why?").click()
        expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
        button(page, "Like", 1).click()
        expect(page.get_by_role("status")).to_contain_text(f"Liked {MARKUP}")
        expect(page.locator("#history li").first).to_contain_text(MARKUP)
        ask_for(page, MARKUP)
        expect(page.locator("#user-title")).to_have_text(f"User {MARKUP}")
        assert page.locator("img, main script").count() == 0


def test_a_refusal_is_told(url: str, look: Look, own_repo: Any) -> None:
    page = look(url)
    ask_for(page, REGULARS[0])
    (own_repo.parent / "data" / "current" / "online.db").write_text("no database")
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_role("alert")).to_have_text("the online store failed: DatabaseError")


def test_all_by_keyboard(url: str, look: Look) -> None:
    page = look(url)
    expect(page.locator(".card")).to_have_count(10)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the slate")).to_be_focused()
    page.get_by_role("textbox", name="User").focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(REGULARS[0])
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text(f"10 items for {REGULARS[0]}.")
    first = titles(page)[0]
    page.locator(".card h3").first.focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=f"Like: {first}")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"Skipped {first}")
    expect(page.locator(".card h3").first).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1180, 360])
def test_accessible_on_every_screen(url: str, look: Look, width: int, scheme: str) -> None:
    page = look(url, width=width, color_scheme=scheme)
    ask_for(page, REGULARS[3])
    button(page, "Like", 1).click()
    expect(page.get_by_role("status")).to_contain_text("Liked")
    button(page, "Why?").click()
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
