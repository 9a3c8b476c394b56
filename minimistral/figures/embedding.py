"""Pictures of lesson 02."""

__all__ = []
