"""The models that come with the package: two small Mistrals that know small stories. Each has a card, README.md."""

from pathlib import Path

STORYTELLER = Path(__file__).parent / "storyteller"
INSTRUCT = Path(__file__).parent / "storyteller-instruct"
