"""Pictures of lesson 08."""

__all__ = []
