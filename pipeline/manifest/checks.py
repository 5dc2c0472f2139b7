"""What an expression's text may be. A bad one costs its own row, so the stage that answers it asks here."""

MAX_EXPRESSION_CHARACTERS = 10_000


def expression_problem(text: str) -> str | None:
    """Why ``text`` cannot be asked of the model, as a readable line; None when it can.

    Example:
        >>> expression_problem("  ")
        'the expression is empty'
    """
    if not text.strip():
        return "the expression is empty"
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        return f"the expression has {len(text)} characters; at most {MAX_EXPRESSION_CHARACTERS} are read"
    if "\0" in text:
        return "the expression holds a NUL character"
    return None
