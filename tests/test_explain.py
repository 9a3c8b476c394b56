"""The page of `minimistral explain`: its numbers against independent ones, and the page itself in a browser."""

import base64
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from minimistral.cli import main
from minimistral.config import Config
from minimistral.embedded import STORYTELLER
from minimistral.errors import BadInput
from minimistral.explain import look, page
from minimistral.explain.pieces import Token, visible
from minimistral.explain.run import LONGEST
from minimistral.mistral import Mistral
from minimistral.receptive_field import reachable
from minimistral.tokenizer import find_tokenizer
from minimistral.weights import random_tensors

TOKENIZER = find_tokenizer(STORYTELLER)
SIZES = {"dim": 24, "n_layers": 3, "head_dim": 10, "hidden_dim": 40, "n_heads": 6, "n_kv_heads": 2,
         "vocab_size": TOKENIZER.vocab_size}  # fmt: skip
T, W = 13, 5
IDS = [TOKENIZER.bos_id, *np.random.default_rng(4).integers(270, TOKENIZER.vocab_size, T - 1).tolist()]
WINDOWS = {"window": W, "none": None, "mixed": (W, None, 3)}
HOSTILE = 'A </script ><b class="bad">fox</b> 🦊 &amp; "q" \x00 \u202eשלום ${title} $run\n<!-- <script>bad()</script>'


def random_model(window, arithmetic="exact", **other) -> Mistral:
    """A small model with the embedded tokenizer; its heads look at several tokens each."""
    config = Config(**SIZES | other, window=window)
    tensors = random_tensors(config, seed=3)
    for name in tensors:
        if name.endswith(("wq.weight", "wk.weight")):
            tensors[name] = tensors[name] * 0.5
    model = Mistral.from_tensors(tensors, config, arithmetic)
    model.folder = STORYTELLER
    return model


def in_page(text: str) -> dict:
    """The numbers of a page."""
    data = re.search(r'<script type="application/json" id="run">(.*?)</script>\n<script>', text, re.DOTALL)[1]
    assert data.isascii() and not set("<>&\x00") & set(data)  # nothing that could end the script
    return json.loads(data)


def unpacked(run: dict) -> np.ndarray:
    """The bytes of a page at their places, -1 where nothing is seen: (layers, heads, T, T)."""
    data, at = base64.b64decode(run["weights"]), 0
    T = len(run["tokens"])
    roots = np.full((len(run["layers"]), len(run["heads"]), T, T), -1.0)
    for l, i in enumerate(run["layers"]):
        for h in range(len(run["heads"])):
            for t in range(T):
                first = 0 if run["windows"][i] is None else max(0, t - run["windows"][i] + 1)
                roots[l, h, t, first : t + 1] = list(data[at : at + t + 1 - first])
                at += t + 1 - first
    assert at == len(data)
    return roots


def hostile_run():
    """The hostile text, also as one piece, such as another tokenizer may have: the first token's, and a candidate's."""
    run = look(random_model(48), TOKENIZER.encode(HOSTILE))
    evil = visible(HOSTILE)
    pieces = dict.fromkeys(run.pieces, evil)
    return replace(run, tokens=[Token(1, evil, evil), *run.tokens[1:]], pieces=pieces, name=HOSTILE)


def plain_weights(model: Mistral, ids, layer: int, head: int) -> np.ndarray:
    """Softmax over the keys that a query sees, one dot product at a time: (T, T), -1 where nothing is seen."""
    stages = model.trace(ids, only=["*.q_rope", "*.k_rope"])
    config, window = model.config, model.config.layer_window(layer)
    q = stages[f"layers.{layer}.q_rope"][:, head].astype(float)
    k = stages[f"layers.{layer}.k_rope"][:, head // (config.n_heads // config.n_kv_heads)].astype(float)
    weights = np.full((len(ids), len(ids)), -1.0)
    for t in range(len(ids)):
        keys = [s for s in range(t + 1) if window is None or t - s < window]
        e = np.exp([q[t] @ k[s] / config.head_dim**0.5 for s in keys])
        weights[t, keys] = e / e.sum()
    return weights


def plain_softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(float))
    return e / e.sum(axis=-1, keepdims=True)


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_the_weights_are_those_of_plain_softmax_to_half_a_step(window):
    model = random_model(window)
    roots = unpacked(in_page(page(look(model, IDS))))
    for (layer, head), _ in np.ndenumerate(roots[:, :, 0, 0]):
        right = plain_weights(model, IDS, layer, head)
        assert ((right < 0) == (roots[layer, head] < 0)).all()
        assert np.abs(255 * np.sqrt(right.clip(0)) - roots[layer, head].clip(0)).max() < 0.501
    shares = (roots.clip(0) / 255) ** 2
    assert shares.max() > 0.5 and np.abs(shares - np.sqrt(shares) ** 2).max() < 0.004


def test_some_layers_and_heads_are_those_of_the_whole():
    model = random_model((W, None, 3))
    whole, some = (
        unpacked(in_page(page(look(model, IDS, **kept)))) for kept in ({}, {"layers": [0, 2], "heads": [1, 4, 5]})
    )
    assert (some == whole[np.ix_([0, 2], [1, 4, 5])]).all() and len(np.unique(some)) > 50


def test_the_ring_is_what_a_hand_says():
    rings = in_page(page(look(random_model(W), IDS)))["rings"]
    assert list(rings) == ["5"]
    assert rings["5"]["slot"] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2]
    assert rings["5"]["lost"] == [-1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7]
    assert in_page(page(look(random_model(None), IDS)))["rings"] == {}


def test_the_candidates_are_the_softmax_of_the_logits():
    model = random_model(W)
    p = plain_softmax(model(IDS))
    found = in_page(page(look(model, IDS, ended=True)))
    came = [*IDS[1:], TOKENIZER.eos_id]
    assert found["came"] == came
    for t in range(T):
        ids = found["candidates"]["ids"][t]
        assert ids == sorted(range(len(p[t])), key=lambda i: (-p[t][i], i))[: len(ids)]
        assert np.abs(p[t][ids] - found["candidates"]["p"][t]).max() < 6e-6
        assert abs(found["candidates"]["came"][t] - p[t][came[t]]) < 6e-6
        assert found["candidates"]["rank"][t] == 1 + sum(x > p[t][came[t]] for x in p[t])


def test_the_candidates_by_layer_are_norm_and_output_of_the_residual_stream():
    model = random_model(W)
    tensors, stages = random_tensors(model.config, seed=3), model.trace(IDS, only=["embedding", "*.output"])
    found = in_page(page(look(model, IDS)))
    assert len(found["by_depth"]) == len(stages) == SIZES["n_layers"] + 1
    for depth, h in zip(found["by_depth"], stages.values(), strict=True):
        h = h.astype(float)
        normed = h / np.sqrt((h * h).mean(axis=-1, keepdims=True) + model.config.norm_eps) * tensors["norm.weight"]
        p = plain_softmax(normed @ tensors["output.weight"].astype(float).T)
        assert np.abs(np.take_along_axis(p, np.array(depth["ids"]), axis=-1) - depth["p"]).max() < 1e-5
        assert np.abs(np.array(depth["p"])[:, 0] - p.max(axis=-1)).max() < 1e-5
    last, final = found["by_depth"][-1], found["candidates"]
    assert [ids[: len(last["ids"][0])] for ids in final["ids"]] == last["ids"]
    assert found["by_depth"][0]["ids"] != last["ids"]


def test_the_reach_is_that_of_the_masks_power():
    first = in_page(page(look(random_model(W), IDS)))["first_in_reach"]
    for k, row in enumerate(first):
        assert row == reachable(k + 1, W, T).argmax(axis=1).tolist()
    assert first[1][T - 1] == T - 9  # 2 (5 - 1) + 1 tokens


def test_the_reach_through_different_windows():
    mask = {w: np.array([[0 <= t - s < (w or T) for s in range(T)] for t in range(T)]) for w in (3, W, None)}
    power, first = np.eye(T, dtype=bool), in_page(page(look(random_model((3, W, 3)), IDS)))["first_in_reach"]
    for row, window in zip(first, (3, W, 3), strict=True):
        power = mask[window] @ power
        assert row == power.argmax(axis=1).tolist()


# --- the page as a file -----------------------------------------------------------------------------------------------


def test_a_hundred_tokens_of_the_storyteller_are_under_2_mb():
    model = Mistral.from_pretrained()
    text = page(look(model, (model.tokenizer.encode("Once upon a time there was a girl. " * 20))[:100]))
    assert len(in_page(text)["tokens"]) == 100 and len(text.encode()) < 2_000_000


def test_the_largest_page_is_under_2_mb():
    model = random_model(None, "float32", n_heads=8, n_kv_heads=2)
    ids = np.random.default_rng(1).integers(270, TOKENIZER.vocab_size, 314)
    assert 1_750_000 < len(page(look(model, ids.tolist())).encode()) < 2_000_000
    with pytest.raises(
        BadInput, match="315 tokens, 3 layers and 8 heads are .* expected at most .* --layers 2 --heads 0"
    ):
        look(model, [5] * 315)
    with pytest.raises(BadInput, match=f"{LONGEST + 1} tokens with those to come, expected at most {LONGEST}"):
        look(model, [5] * (LONGEST + 1), layers=[0], heads=[0])


def test_nothing_comes_from_elsewhere():
    text = page(look(random_model(W), IDS))
    assert not re.findall(
        r"https?:|\bsrc\s*=|@import|url\((?!#)|<link|<iframe|import\(|fetch\(|XMLHttp|WebSocket", text
    )


class Seen(HTMLParser):
    """What a reader of HTML finds: the tags, and the words outside scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.words, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.words += data if self.inside not in ("script", "style") else ""


def test_a_hostile_prompt_stays_text():
    model = random_model(W)
    text = page(look(model, TOKENIZER.encode(HOSTILE)))
    plain = page(look(model, TOKENIZER.encode("A fox.")))
    assert Seen(text).tags == Seen(plain).tags == Seen(page(hostile_run())).tags
    assert in_page(page(hostile_run()))["name"] == visible(HOSTILE)
    assert "\x00" not in text and "\u202e" not in text
    shown = HOSTILE.replace("\x00", "⟨U+0000⟩").replace("\u202e", "⟨U+202E⟩")
    assert shown in Seen(text).words  # also said where scripts are off
    assert "".join(token["text"] for token in in_page(text)["tokens"]) == shown


def test_an_emoji_of_several_bytes_is_whole_at_the_last_of_them():
    run = in_page(page(look(random_model(W), TOKENIZER.encode("🦊"))))
    fox = [token for token in run["tokens"] if token["text"] == "🦊"]
    assert len(fox) == 1 and run["tokens"][-1] == fox[0]
    if fox[0]["piece"] != "🦊":
        assert [token["piece"] for token in run["tokens"][-4:]] == ["⟨F0⟩", "⟨9F⟩", "⟨A6⟩", "⟨8A⟩"]


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """`explain` in an empty folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = main(["explain", *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_tokens_are_those_that_generate_writes(command, tmp_path):
    status, out, err = command("The fox", "--max-new-tokens", "6", "--temperature", "1", "--top-p", "1", "--seed", "9")
    assert (status, out, err) == (0, f"{tmp_path / 'explain.html'}\n", "")
    model = Mistral.from_pretrained()
    prompt = model.tokenizer.encode("The fox")
    new = list(model.generate(prompt, 6, temperature=1, top_p=1, seed=9))
    run = in_page((tmp_path / "explain.html").read_text("utf-8"))
    assert [token["id"] for token in run["tokens"]] == prompt + new and run["given"] == len(prompt)
    assert run["options"] == {"temperature": "1.0", "top_p": "1.0", "top_k": "0", "seed": "9"}


def test_a_window_and_some_layers_from_the_command_line(command, tmp_path):
    assert command("A small fox", "--max-new-tokens", "0", "--window", "3", "--layers", "1,0", "--heads", "2-3")[0] == 0
    run = in_page((tmp_path / "explain.html").read_text("utf-8"))
    assert set(run["windows"]) == {3} and (run["layers"], run["heads"]) == ([0, 1], [2, 3]) and run["came"][-1] is None


BAD = {
    "layers-beyond": (["a", "--layers", "0,99"], "--layers: '0,99', expected numbers from 0 to"),
    "layers-backwards": (["a", "--layers", "2-1"], "--layers: '2-1', expected numbers"),
    "heads-empty": (["a", "--heads", ""], "--heads: '', expected numbers from 0 to"),
    "heads-negative": (["a", "--heads=-1"], "--heads: '-1', expected numbers from 0 to"),
    "too-many-new": (
        ["a", "--max-new-tokens", "513"],
        "--max-new-tokens: '513', expected a whole number from 0 to 512",
    ),
    "too-long": (["a " * 600], "tokens with those to come, expected at most 512 in a page"),
    "a-cold": (["a", "--temperature", "-1"], "--temperature: '-1', expected a number from 0"),
    "a-window": (["a", "--window", "0"], "--window: '0', expected a whole number from 1"),
    "no-folder": (["a", "--output", "none/x.html"], "none is not a folder"),
    "a-folder": (["a", "--output", "."], "is not a plain file"),
    "no-model": (["a", "--model", "none"], "none"),
    "two-prompts": (["a", "--tokens", "1 2"], "PROMPT and --tokens: more than one prompt"),
    "no-such-token": (["--tokens", "1 999999"], "id 999999 at position 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_option_is_one_line(name, command):
    arguments, words = BAD[name]
    status, out, err = command(*arguments)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and words in err, err
    assert os.listdir() == []


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Addresses of pages that differ in what they must draw."""
    place, story = tmp_path_factory.mktemp("pages"), TOKENIZER.encode("Lena had a red kite. One day, Lena lost the")
    runs = {
        "window": look(random_model(W), IDS, given=9, ended=True, options={"temperature": 0.7, "top_p": 0.9}),
        "none": look(random_model(None), story, given=4),
        "mixed": look(random_model((W, None, 200)), story * 20, layers=[1, 2], heads=[0, 3, 4]),
        "hostile": hostile_run(),
        "one": look(random_model(1), IDS[:1]),
        "wide": look(random_model(70, n_heads=32, n_kv_heads=8), story * 6, layers=[0, 1], heads=range(20)),
    }  # fmt: skip
    for name, run in runs.items():
        (place / f"{name}.html").write_text(page(run), encoding="utf-8")
    return {name: (place / f"{name}.html").as_uri() for name in runs}


@pytest.fixture
def shown(browser, pages):
    """Opens a page without a network; at the end nothing may have gone wrong, and nothing may have been asked for."""
    wrong, contexts = [], []

    def show(name, width=1400, scheme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: request.url.startswith("file:") or wrong.append(request.url))
        tab.goto(pages[name.partition("#")[0]] + "".join(name.partition("#")[1:]))
        return tab

    yield show
    for context in contexts:
        context.close()
    assert wrong == []


UNNAMED = """[...document.querySelectorAll("button, select, summary, [role=option], [role=img]")]
    .filter(e => e.checkVisibility() && !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
    .map(e => e.outerHTML.slice(0, 80))"""
POINT = """(b => [b.x + cell.left + 8.5 * cell.size, b.y + cell.top + 11.5 * cell.size])(
    document.getElementById("map").getBoundingClientRect())"""  # the middle of query 11, key 8
FOCUSED = "(e => e.id || e.parentElement.id || e.className)(document.activeElement)"


def chosen(tab) -> int:
    return int(tab.locator("#tokens [aria-selected=true]").get_attribute("id").removeprefix("token-"))


def open_table(tab, name: str) -> None:
    tab.click(f"{name} summary")
    tab.wait_for_selector(f"{name} td")  # a table is made once it is open


@pytest.mark.parametrize("name", ["window", "none", "mixed", "hostile", "one", "wide"])
def test_a_page_runs_clean_and_fits_a_telephone(name, shown):
    tab = shown(name, width=400)
    for _ in range(2):
        tab.keyboard.press("ArrowLeft")
    for summary in tab.locator("summary").all():
        summary.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    assert tab.locator("#lens td.cell").count() > 0 and tab.locator("#cone rect").count() > 0
    assert tab.evaluate("document.querySelectorAll('.bad').length") == 0
    assert tab.evaluate(UNNAMED) == []


def test_the_arrow_keys_choose_a_token_and_the_panels_follow(shown):
    tab = shown("window")
    assert chosen(tab) == 8  # the prompt's last
    for _ in range(4):
        tab.keyboard.press("ArrowRight")
    assert chosen(tab) == 12 and "#token=12" in tab.url
    run = in_page(Path(tab.url.split("#")[0].removeprefix("file://")).read_text("utf-8"))
    ring = tab.inner_text("#ring-says")
    assert "is written to slot 2 = 12 mod 5" in ring and "(7): its keys" in ring
    open_table(tab, "#ring-table")
    assert tab.locator("#ring-table td:nth-child(2)").all_inner_texts() == ["10", "11", "12", "8", "9"]
    open_table(tab, "#reach-table")
    reach = [reachable(k, W, T)[12].sum() for k in (1, 2, 3)]
    assert tab.locator("#reach-table td:nth-child(4)").all_inner_texts() == [str(n) for n in reach] == ["5", "9", "13"]
    first = round(100 * run["candidates"]["p"][12][0], 1)
    assert tab.locator("#final .share").first.inner_text() in (f"{first}\u00a0%", f"{first:.0f}\u00a0%")
    tab.wait_for_function("document.getElementById('live').textContent.startsWith('Token 12')")
    tab.keyboard.press("ArrowRight")
    assert chosen(tab) == 12  # there is no next


def test_the_arrow_keys_choose_a_head_and_its_shares_are_the_runs(shown):
    tab = shown("window#token=11&layer=0&head=0")
    tab.focus("#maps [aria-checked=true]")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp"):
        tab.keyboard.press(key)
    assert tab.inner_text("#map-title") == "One head: layer 1, head 2" and chosen(tab) == 11
    assert tab.evaluate("document.activeElement.ariaLabel") == "layer 1, head 2"
    open_table(tab, "#weights-table")
    rows = [row.split("\t") for row in tab.inner_text("#weights-table tbody").split("\n")]
    right = plain_weights(random_model(W), IDS, 1, 2)[11]
    assert [int(row[0]) for row in rows] == [7, 8, 9, 10, 11]
    for position, _, share in rows:
        told = float(share.replace("<", "").replace("%", "")) / 100
        assert abs(told - right[int(position)]) < 0.005 + 0.004
    tab.evaluate("document.getElementById('map').scrollIntoView({ block: 'center' })")
    x, y = tab.evaluate(POINT)
    tab.mouse.move(x, y)
    assert "(11) looks at" in tab.inner_text("#map-reads") and f"(8): {rows[1][2]}" in tab.inner_text("#map-reads")


def test_everything_can_be_reached_by_the_tab_key_and_shows_its_focus(shown):
    tab, reached = shown("window"), []
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate(FOCUSED))
        if tab.evaluate("document.activeElement === document.body"):
            break
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
    for wanted in (
        "theme",
        "back",
        "forth",
        "play",
        "layer",
        "head",
        "token-8",
        "weights-table",
        "ring-table",
        "reach-table",
    ):
        assert wanted in reached, wanted
    assert any(re.fullmatch(r"map-\d+-\d+", id) for id in reached)


CONTRAST = """() => {
  const parse = text => { const n = text.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
    return text.startsWith("color(") ? [...n.slice(0, 3).map(x => 255 * x), n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, under) => under.map((u, i) => top[i] * top[3] + u * (1 - top[3]));
  const light = rgb => { const [r, g, b] = rgb.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 || !e.parentElement ? over(own, [255, 255, 255]) : over(own, behind(e.parentElement)); };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!words || !e.checkVisibility() || e.closest("svg, script, style, noscript, :disabled, .skip")) continue;
    const [a, b] = [light(over(parse(getComputedStyle(e).color), behind(e))), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), `${e.tagName} ${e.className} ${e.textContent.slice(0, 30)}`]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_contrast_of_text_is_at_least_4_5(scheme, shown):
    tab = shown("window#token=12", scheme=scheme)
    for summary in tab.locator("summary").all():
        summary.click()
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 300) == (scheme == "dark")
    for key in ("End", "Home"):  # the first token gives itself all: the deepest orange
        tab.focus("#tokens [aria-selected=true]")
        tab.keyboard.press(key)
        found = tab.evaluate(CONTRAST)
        assert len(found) > 100 and [entry for entry in found if entry[0] < 4.5] == []
    assert tab.get_attribute("#token-0", "aria-label").endswith("share 100\u00a0%")


def test_the_theme_follows_the_system_until_it_is_chosen(shown):
    tab = shown("window", scheme="dark")
    theme = "document.documentElement.dataset.theme"
    assert tab.evaluate(theme) == "dark"
    tab.emulate_media(color_scheme="light")
    tab.wait_for_function(f"{theme} === 'light'")
    tab.focus("#theme")
    tab.keyboard.press("Enter")
    assert tab.evaluate(theme) == "dark" and tab.inner_text("#theme") == "light page"


def test_play_goes_on_and_stops_and_nothing_moves_for_who_wants_it_still(shown):
    tab = shown("window#token=10", reduced_motion="reduce")
    assert tab.evaluate("getComputedStyle(document.querySelector('.fill')).transitionDuration") in ("0s", "")
    tab.click("#play")
    tab.wait_for_function("document.getElementById('token-12').ariaSelected === 'true'")
    assert tab.get_attribute("#play", "aria-pressed") == "false"


def test_a_strange_address_is_no_trouble(shown):
    tab = shown("window#token=999999999&layer=77&head=-1")
    assert chosen(tab) == T - 1
