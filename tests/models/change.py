"""What a model without tools says: a change, in the form that `kind = "llm"` asks for."""

from __future__ import annotations


def reply(text: str, title: str = "another X", expected: str = "unknown") -> str:
    """A reply in the form that is asked for, which writes the toy's value.py whole."""
    return said(f"value.py\n<<<<<<< WHOLE\n{text}\n>>>>>>> WHOLE", title, expected)


def said(blocks: str, title: str = "another X", expected: str = "unknown") -> str:
    """A reply with these blocks."""
    return f"TITLE: {title}\nHYPOTHESIS: it may help\nEXPECTED: {expected}\n\n{blocks}\n"


def searched(search: str, replace: str, path: str = "value.py") -> str:
    """A block that puts one text in place of another."""
    return f"{path}\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"
