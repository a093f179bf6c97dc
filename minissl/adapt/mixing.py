"""Change what one object does, and no other of its class: what prompts and new layers need.

Lecture 11. The models have no branch for it, and neither have the pretraining methods.
"""

from __future__ import annotations

from typing import Any


def put_before(one: Any, mixin: type, **attributes: Any) -> Any:
    """The object with the methods of ``mixin`` before those of its own class.

    What is returned shares all attributes with the object, is an instance of whatever that is, and
    has ``attributes`` besides. ``super()`` in the mixin is the object's own class, so it can ask
    that first and change the answer.
    """
    own = type(one)
    kind = type(own.__name__, (mixin, own), {"__module__": own.__module__})
    new: Any = object.__new__(kind)
    new.__dict__ = one.__dict__
    for name, value in attributes.items():
        setattr(new, name, value)
    return new
