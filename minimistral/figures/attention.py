"""Pictures of lesson 05."""

__all__ = []
