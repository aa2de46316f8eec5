"""Texts in pictures."""


def literal(text: str) -> str:
    """A text for matplotlib, which takes what stands between dollars for a formula."""
    return text.replace('$', r'\$')
