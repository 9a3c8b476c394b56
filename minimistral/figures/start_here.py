"""Pictures of lesson 00."""

__all__ = []
