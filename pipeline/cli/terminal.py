"""What may be printed on a terminal: names and messages come from manifests and videos, which are not trusted."""

_HARMLESS = "\t"
_LINE_BREAKS = "\u2028\u2029"
_DIRECTION_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(value: object) -> str:
    r"""``str(value)`` on one line, with control characters and marks that reorder text escaped.

    Example:
        >>> printable("clip\x1b[2J\n7")
        'clip\\x1b[2J\\n7'
    """
    return "".join(_escaped(character) for character in str(value))


def print_line(value: object = "") -> None:
    """Print one line that is safe for a terminal, at once."""
    print(printable(value), flush=True)


def _escaped(character: str) -> str:
    is_control = (ord(character) < 32 or 127 <= ord(character) < 160) and character not in _HARMLESS
    if is_control or character in _LINE_BREAKS or character in _DIRECTION_MARKS or 0xD800 <= ord(character) <= 0xDFFF:
        return character.encode("unicode_escape").decode("ascii")
    return character
