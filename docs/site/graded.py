"""The fold that hides the answer of a homework task."""

from html import escape

from minissl.homework.answers import Graded


def opening(answers: list[Graded], what: str = "The library's code") -> str:
    """The HTML before what is hidden; ``</details>`` comes after it."""
    tasks = "; ".join(escape(one.title) for one in answers)
    return f'<details class="answer"><summary>{what}. Try first: {tasks}</summary>'
