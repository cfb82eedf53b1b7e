"""Markdown in the browser it is for: hostile, right-to-left, wide, and with formulas in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.fixtures.server import HectorServer
from tests.page.browsing import MARKDOWN

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

HOSTILE = {
    "underscores": "_" * 6000,
    "underscores and words": "_a " * 5000,
    "stars": "*" * 6000,
    "open strong": "**a " * 5000,
    "stars and underscores": "*_" * 5000,
    "emphasis in emphasis": "*a **b _c " * 2000,
    "tildes": "~" * 6000,
    "struck out": "~~a " * 5000,
    "quotes": ">" * 6000,
    "quotes apart": "> " * 3000,
    "quotes in lines": "\n".join([">" * depth + " x" for depth in range(400)]),
    "quotes and lists": "> - " * 2000,
    "items in one line": "- " * 5000,
    "numbers in one line": "1. " * 5000,
    "list in list": "\n".join(["  " * depth + "- x" for depth in range(300)]),
    "backticks": "`" * 100_000,
    "backticks apart": "` " * 20_000,
    "backticks of growing length": " ".join(["`" * length for length in range(1, 400)]),
    "fences": "```\n" * 10_000,
    "open fence": "```python\n" + "x = 1\n" * 8000,
    "strings in code": "```javascript\n" + "`${" * 4000 + "\n```",
    "regular expressions in code": "```perl\n" + "/(" * 6000 + "\n```",
    "brackets": "[" * 20_000,
    "closing brackets": "]" * 20_000,
    "brackets in brackets": "[a" * 10_000 + "]" * 10_000,
    "open links": "[a](" * 4000,
    "links in links": "[a](b" * 4000,
    "references": "[a][b" * 4000,
    "pictures": "![" * 8000,
    "definitions": "\n".join([f"[a{number}]: http://b" for number in range(2000)]) + "\n\n" + "[a1] " * 2000,
    "angles": "<" * 20_000,
    "open tags": "<b>" * 5000,
    "harmless tags": "<details>\n<summary>" * 5000,
    "open attributes": '<a b="' * 5000,
    "comments": "<!--" * 10_000,
    "declarations": "<!A" * 10_000,
    "instructions": "<?" * 10_000,
    "entities": "&" * 20_000 + "&amp;" * 10_000,
    "addresses": "http://" * 10_000,
    "hosts": "www." * 10_000,
    "mails": "a@" * 10_000,
    "mails with dots": "a." * 10_000 + "@b",
    "headings": "# " * 10_000,
    "underlined": "a\n" * 5000 + "=",
    "rules": "---\n" * 10_000,
    "rule in one line": "- - " * 10_000,
    "backslashes": "\\" * 50_001,
    "formulas": "\\(" * 8000,
    "squared formulas": "\\[" * 8000,
    "dollars": "$" * 50_000,
    "dollars apart": "$a" * 8000,
    "doubled dollars": "$$a " * 4000,
    "pipes": "|" * 20_000,
    "wide table": "|a" * 3000 + "|\n" + "|-" * 3000 + "|\n" + "|b" * 3000 + "|",
    "long table": "|a|b|c|d|\n|-|-|-|-|\n" + "|1|2|3|4|\n" * 8000,
    "crooked table": "|a|\n|-|\n" + "|1" * 20_000,
    "one long line": "word " * 100_000,
    "one long word": "w" * 500_000,
    "lines": "a\n" * 40_000,
    "paragraphs": "a\n\n" * 8000,
    "blank lines": "\n" * 200_000 + "a",
    "blanks": " " * 200_000 + "a",
    "tabs": "\t" * 100_000 + "a",
    "carriage returns": "a\r" * 20_000,
    "combining marks": "a" + "\u0301" * 100_000,
    "directions": "\u202ea\u202b" * 20_000,
    "a loop of a small model": "The answer is **the answer is **the answer is _" * 2000,
    "joiners": "a" + "\u200d" * 50_000,
    "joined faces": "\U0001f469\u200d" * 10_000,
    "marks on every letter": ("a" + "\u0301" * 30) * 2000,
}

# Draws a text, then another one behind it; the longest time for which the page could do nothing is measured.
DRAW = """async (text) => {
    const { MarkdownView } = await import("/page/markdown.js");
    const column = document.querySelector(".turns");
    let last = performance.now(), stalled = 0, began = last;
    const ticking = setInterval(() => {
        const now = performance.now();
        stalled = Math.max(stalled, now - last);
        last = now;
    }, 10);
    const draw = (source) => new Promise((resolve) => {
        const view = new MarkdownView(() => view.isDrawn && resolve(view.element));
        column.append(view.element);
        view.update(source);
    });
    const [odd, next] = await Promise.all([draw(text), draw("The **next** answer")]);
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 20)));
    const seconds = (performance.now() - began) / 1000;
    clearInterval(ticking);
    const plain = odd.querySelectorAll(".plain").length;
    const found = { kept: odd.textContent.length, plain, height: odd.offsetHeight };
    Object.assign(found, { next: next.innerHTML, seconds, stalled: stalled / 1000 });
    column.replaceChildren();
    return found;
}"""


@pytest_asyncio.fixture(loop_scope="package", scope="module")
async def page(browser: Browser, server: HectorServer) -> AsyncIterator[Page]:
    """The chat page, to draw texts on."""
    context = await browser.new_context(base_url=server.base_url)
    page = await context.new_page()
    await page.goto("/")
    await page.locator("#composer-text").wait_for()
    yield page
    await context.close()


async def drawn(page: Page, text: str) -> Locator:
    """The text as the only answer on the page."""
    await page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("/page/markdown.js");
            const column = document.querySelector(".turns");
            await new Promise((resolve) => {
                const view = new MarkdownView(() => view.isDrawn && resolve());
                column.replaceChildren(view.element);
                view.update(text);
            });
        }""",
        text,
    )
    return page.locator(".turns .markdown")


@pytest.mark.parametrize("kind", HOSTILE)
async def test_no_text_keeps_the_page_or_the_next_answer_from_being_drawn(kind: str, page: Page) -> None:
    found = await page.evaluate(DRAW, HOSTILE[kind])

    print(kind, {name: value for name, value in found.items() if name != "next"})
    assert found["height"] > 0
    assert "<strong>next</strong>" in found["next"]
    assert found["seconds"] < 12
    assert found["stalled"] < 3


@pytest.mark.parametrize("kind", ["underscores", "quotes apart", "backticks apart", "brackets"])
async def test_what_is_plain_takes_only_its_own_block_with_it(kind: str, page: Page) -> None:
    answer = await drawn(page, f"A **good** beginning.\n\n{HOSTILE[kind]}\n\nAn *end*.")

    await expect(answer.locator("strong")).to_have_text("good")
    await expect(answer.locator("em")).to_have_text("end")
    await expect(answer.locator(".plain")).to_have_count(1)


async def test_marks_in_code_are_code(page: Page) -> None:
    answer = await drawn(page, "Look:\n```\n" + "_" * 3000 + "\n" + "> " * 300 + "\n```\nSo.")

    await expect(answer.locator("pre code")).to_have_count(1)
    await expect(answer.locator(".plain")).to_have_count(0)


async def test_what_was_written_stays_whole_when_it_is_read_in_segments(page: Page) -> None:
    answer = await drawn(
        page,
        "[link][there] and\n\n- one\n\n  still one\n\n- two\n\n      code\n\n"
        "1. a\n\n   ```python\n   x = 1\n\n   y = 2\n   ```\n\n2. b\n\n"
        "~~~\nfirst\n\nsecond\n~~~\n\n[there]: https://example.com/\n\n[^1]: no definition at all",
    )

    await expect(answer.locator("a")).to_have_attribute("href", "https://example.com/")
    await expect(answer.locator("ul > li")).to_have_count(2)
    await expect(answer.locator("ol > li")).to_have_count(2)
    await expect(answer.locator("ol pre")).to_contain_text("x = 1\n\ny = 2")
    await expect(answer.locator("pre").last).to_have_text("first\n\nsecond\n")
    assert (await answer.inner_text()).count("no definition at all") == 1


async def test_an_answer_in_pieces_ends_up_like_one_in_whole(page: Page) -> None:
    text = f"# Title\n\n{MARKDOWN}\n- a\n  - b\n\n  c\n\n\\[ x_1 \\]\n\n> quoted\n\n## Next\n\n[a]: http://b\n\n[a]"
    whole = await (await drawn(page, text)).inner_html()
    pieces = await page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("/page/markdown.js");
            let drawn = () => {};
            const view = new MarkdownView(() => view.isDrawn && drawn());
            for (let end = 7; end < text.length + 7; end += 7) {
                await new Promise((resolve) => { drawn = resolve; view.update(text.slice(0, end)); });
            }
            return view.element.innerHTML;
        }""",
        text,
    )

    assert pieces == whole


@pytest.mark.parametrize(
    "formula",
    [
        r"\( \int_0^1 x^2\,dx = \tfrac13 \)",
        r"\[ a_1 * b_1 * c_1 \\ d_2 \]",
        "\\[\n\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}\n\\]",
        "$$\n\\sum_{i=1}^n x_i * y_i\n$$",
        r"$a_1 + b_1 * c*$",
        r"$$x_1 * y_1 * z$$",
        r"\(",
        r"\( open_1 and *not* closed",
    ],
)
async def test_formulas_keep_what_was_written(formula: str, page: Page) -> None:
    for text in (formula, f"Let {formula} be", f"- item {formula}" if "\n" not in formula else formula):
        answer = await drawn(page, text)

        shown = " ".join((await answer.inner_text()).split())
        assert " ".join(formula.replace("*not*", "not").split()) in shown


@pytest.mark.parametrize(
    "text", ["It costs $5 and *not* $10.", "From $5-$10, *not* more", r"See \[1\] *not* [2]", "echo $HOME *not* $PATH"]
)
async def test_prices_and_brackets_are_no_formulas(text: str, page: Page) -> None:
    answer = await drawn(page, text)

    await expect(answer.locator("em")).to_have_text("not")
    await expect(answer.locator(".maths")).to_have_count(0)


TABLE = """\
| model | provider | context | price |
|---|---|--:|---|
| SmolLM2-135M-Instruct-Q8 | Anthropic | 1,000,000 | 5 dollars a million tokens in and 25 dollars out |
| gpt-5-mini | OpenAI | 400,000 | a quarter |
"""


@pytest.mark.parametrize("width", [1280, 390])
async def test_words_in_tables_are_not_broken(width: int, page: Page) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    answer = await drawn(page, TABLE)
    broken = await answer.evaluate(
        """(element) => {
            const broken = [];
            const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
            for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                for (const { index, 0: word } of node.data.matchAll(/[\\w,]+/g)) {
                    const range = document.createRange();
                    range.setStart(node, index);
                    range.setEnd(node, index + word.length);
                    if (range.getClientRects().length > 1) broken.push(word);
                }
            }
            return broken;
        }"""
    )
    fits = await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    await page.set_viewport_size({"width": 1280, "height": 720})

    assert broken == []
    assert fits


async def test_right_to_left_blocks_begin_at_the_right(page: Page) -> None:
    answer = await drawn(page, "שלום עולם.\n\nHello.\n\n- مرحبا\n\n| شيء | b |\n|---|---|\n| ١ | 2 |\n\n```\ncode\n```")
    found = await answer.evaluate(
        """(element) => ["p:first-child", "li", "table", "pre"].map((name) => {
            const found = element.querySelector(name);
            const style = getComputedStyle(found);
            return `${style.direction} ${style.textAlign}`;
        })"""
    )

    assert found == ["rtl start", "rtl start", "rtl start", "ltr start"]
    hello = answer.locator("p", has_text="Hello")
    await expect(hello).to_have_css("direction", "ltr")
