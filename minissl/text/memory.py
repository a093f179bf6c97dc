"""What a tokenizer remembers: the ids of pieces of text that it has met."""

from collections.abc import Callable

_REMEMBERED_LENGTH = 64  # characters; longer stretches of text hardly come again


class Memory(dict[str, tuple[int, ...]]):
    """A dictionary that computes what it lacks, keeps short keys, and starts anew when full."""

    def __init__(self, compute: Callable[[str], tuple[int, ...]], capacity: int) -> None:
        super().__init__()
        self._compute = compute
        self._capacity = capacity

    def __missing__(self, text: str) -> tuple[int, ...]:
        ids = self._compute(text)
        if len(text) <= _REMEMBERED_LENGTH:
            if len(self) >= self._capacity:
                self.clear()
            self[text] = ids
        return ids
