"""Pictures of lesson 01."""

__all__ = []
