"""Search: words of the text, of code and of outputs, symbols and their names, chapters first."""

import pytest

from tests import browser as chrome

FINE_TUNE = "chapters/transformer/fine-tune-bert.html"
ENTROPY = "chapters/divergence/entropy-and-kl.html"
DIRECTIONS = "chapters/divergence/two-directions.html"
REVERSE = "chapters/divergence/forward-and-reverse.html"
BACKPROP = "chapters/backprop/derivation.html"
INEQUALITIES = "chapters/divergence/inequalities.html"
FAMILIES = "chapters/divergence/families-and-geometry.html"
CLOSED_FORMS = "chapters/divergence/closed-forms-and-samples.html"
STABLE = "chapters/computing/stable-kl.html"
LOGITS = "chapters/computing/logit-gradients.html"
VALUES = "chapters/computing/estimators-value.html"
GRADIENTS = "chapters/computing/estimators-gradient.html"

# What somebody types, and where the first place found must be (and within how many places).
QUERIES = [
    # titles of chapters, whole and in part
    ("Entropy, cross-entropy and KL divergence", ENTROPY, 1),
    ("entropy", ENTROPY, 1),
    ("forward and reverse KL", REVERSE, 1),
    ("back-propagation", BACKPROP, 1),
    ("fine-tune BERT", FINE_TUNE, 1),
    ("fine tuning", FINE_TUNE, 1),
    ("two meanings", DIRECTIONS, 1),
    ("notation", "chapters/back/notation.html", 1),
    ("glossary", "chapters/back/glossary.html", 1),
    ("claims", "chapters/back/claims.html", 1),
    # words and spellings of the text
    ("backprop", BACKPROP, 2),
    ("backpropagation", BACKPROP, 2),
    ("Gibbs", f"{ENTROPY}#gibbs-inequality-three-times", 1),
    ("moment matching", f"{REVERSE}#forward-match-two-moments-nothing-else", 1),
    ("finite differences", f"{BACKPROP}#what-a-finite-difference-can-tell", 1),
    ("padding mask", FINE_TUNE, 1),
    ("temperature", BACKPROP, 1),
    ("phase picture", f"{REVERSE}#the-phase-picture", 1),
    ("交叉熵", "chapters/back/glossary.html", 1),
    # the chapters on what KL is not, and on KL in code
    ("Pinsker", f"{INEQUALITIES}#pinsker-s-inequality", 1),
    ("data processing", f"{INEQUALITIES}#processing-never-adds-information", 1),
    ("natural gradient", f"{FAMILIES}#natural-gradient-steepest-descent-in-nats", 1),
    ("Rényi", FAMILIES, 1),
    ("Dirichlet", CLOSED_FORMS, 1),
    ("population stability index", f"{CLOSED_FORMS}#drift-the-population-stability-index", 1),
    ("batchmean", STABLE, 1),
    ("label smoothing", f"{LOGITS}#label-smoothing", 1),
    ("Schulman", f"{VALUES}#schulman-s-table", 1),
    ("Rao-Blackwell", VALUES, 1),
    ("surrogate", GRADIENTS, 2),
    # code and outputs
    ("moment_matched", f"{REVERSE}#exercises", 1),
    ("kl_div", STABLE, 1),
    ("2.80008", f"{REVERSE}#the-phase-picture", 1),
    ("TF-IDF", FINE_TUNE, 1),
    # symbols, and their names
    ("∇", GRADIENTS, 1),
    ("nabla", BACKPROP, 3),
    ("δ", BACKPROP, 1),
    ("delta", BACKPROP, 1),
    ("σ", REVERSE, 5),
    ("epsilon", ENTROPY, 1),
    ("D(p‖q)", ENTROPY, 5),
]


@pytest.fixture(scope="module")
def search(browser):
    """The urls that a query finds, best first, as a reader sees them (from a folder, offline)."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(f"{chrome.SITE.as_uri()}/search.html?q=entropy")
    page.wait_for_selector("#search-results li")

    def find(query: str) -> list[str]:
        page.fill("#query", query)
        links = page.locator("#search-results li > a").evaluate_all(
            "list => list.map(a => decodeURIComponent(a.href))"
        )
        return [link.removeprefix(chrome.SITE.as_uri() + "/") for link in links]

    find.page = page
    yield find
    context.close()


@pytest.mark.parametrize(("query", "want", "within"), QUERIES, ids=[q[0] for q in QUERIES])
def test_finds(search, query, want, within):
    found = search(query)[:within]
    if "#" in want:
        assert want in found
    else:
        assert any(url.split("#")[0] == want for url in found), found


def test_a_chapter_with_the_title_comes_first(search):
    index = search.page.evaluate("klIndex.map(([title, parts]) => [title, parts[0][1]])")
    assert len(index) >= 11
    for title, url in index:
        assert search(title)[0] == url


def test_says_where_and_shows_the_words(search):
    search("Gibbs")
    first = search.page.locator("#search-results li").first
    assert first.locator(".where").inner_text() == "Entropy, cross-entropy and KL divergence"
    assert "gibbs" in first.locator("mark").first.inner_text().lower()


def test_says_how_many_and_when_there_is_nothing(search):
    search("zyzzyva")
    assert search.page.locator("main form [role=status]").inner_text() == "0 places found"
    assert search("") == []
    assert search.page.locator("main form [role=status]").inner_text() == ""


def test_no_query_breaks_it(search):
    for query in ["(", "[a-z", "\\", "*", "$^", "<b>", "'", "&amp;", "a" * 500, "  ", "‖"]:
        search(query)
    assert search("entropy")


def test_every_place_that_is_found_exists(search):
    places = search.page.evaluate("klIndex.flatMap(([_, parts]) => parts.map(p => p[1]))")
    for place in places:
        page, _, anchor = place.partition("#")
        html = (chrome.SITE / page).read_text(encoding="utf8")
        assert not anchor or f'id="{anchor}"' in html, place
