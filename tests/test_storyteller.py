"""The embedded model: what its card and the README say of it, and that it writes what the grammar could have said."""

import re
from pathlib import Path

import pytest

from minimistral import Mistral
from minimistral.costs import parameters
from minimistral.embedded import STORYTELLER
from minimistral.stories import story, words

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model():
    return Mistral.from_pretrained()


def written(model: Mistral, prompt: str, seed: int) -> str:
    ids = model.tokenizer.encode(prompt)
    return model.tokenizer.decode(ids + list(model.generate(ids, seed=seed)))


def test_the_readme_shows_what_the_command_writes(model):
    shown = re.search(
        r'```console\n\$ minimistral generate "Once upon a time"\n(.*?)```', (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert shown[1].split() == written(model, "Once upon a time", seed=0).split()
    assert len(shown[1].split()) >= 60


def test_the_card_says_how_large_it_is(model):
    assert f"{parameters(model.config)['total']:,} parameters" in (STORYTELLER / "README.md").read_text()
    assert sum(f.stat().st_size for f in STORYTELLER.iterdir()) < 4e6


@pytest.mark.parametrize("seed", range(6))
def test_it_knows_its_words_and_keeps_its_hero(model, seed):
    text = written(model, "Once upon a time" if seed % 2 else "", seed)
    known = {w for s in range(2000) for w in re.findall(r"[a-z]+", story(s).lower())}
    assert set(re.findall(r"[a-z]+", text.lower())) <= known
    assert 60 <= len(text.split()) <= 250
    people = [w for w in re.findall(r"[A-Za-z]+", text) if w in words.GIRLS + words.BOYS]
    assert people.count(people[0]) >= 4 and len(set(people)) <= 2  # the hero, and perhaps a friend


def test_it_has_learnt_the_grammar(model):
    """Nats a token on unseen stories: near what the grammar itself leaves open, far from a model of single words."""
    import numpy as np

    losses = []
    for seed in range(3 * 10**9, 3 * 10**9 + 5):
        ids = [*model.tokenizer.encode(story(seed)), model.eos_id]
        logits = model(ids[:-1]).astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        p = np.exp(logits)[np.arange(len(ids) - 1), ids[1:]] / np.exp(logits).sum(axis=-1)
        losses += (-np.log(p)).tolist()
    assert np.mean(losses) < 0.3
