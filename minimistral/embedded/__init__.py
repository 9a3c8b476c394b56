"""The model that comes with the package: a small Mistral that writes small stories. See storyteller/README.md."""

from pathlib import Path

STORYTELLER = Path(__file__).parent / "storyteller"
