"""Cleans text from outside: from callers, servers and files. Doors import this module while a caller waits."""

from __future__ import annotations

# XML 1.0 section 2.2 forbids control characters and two noncharacters; a line end could also forge a line of the log.
# Bidirectional controls could show a number backwards (Unicode TR 36 section 2.5).
_TO_BE_CLEANED = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " "),
    **dict.fromkeys((0xFFFE, 0xFFFF, 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))),
}


def decode(raw: bytes) -> str:
    """Decode UTF-8, else Latin-1. Asterisk passes the bytes of a caller ID on as they are."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        head, tail = raw[: error.start], raw[error.start :]
        # If a name is cut inside its last UTF-8 character, remove the rest of that character. "René" in Latin-1 ends in
        # the same way, so a single last byte is removed only if the text before it has other UTF-8 characters, or if
        # the byte would be "Â" or "Ã" in Latin-1, which no name ends with.
        if error.reason == "unexpected end of data" and (len(tail) > 1 or tail in b"\xc2\xc3" or not head.isascii()):
            return head.decode("utf-8")
        return raw.decode("latin-1")


def clean(value: str | bytes, limit: int = 128) -> str:
    """One line of text, at most `limit` characters, with only characters that XML 1.0 allows."""
    if not value:
        return ""
    text = decode(value) if isinstance(value, bytes) else value
    if text.isascii() and text.isprintable() and len(text) <= limit and "  " not in text and text.strip(" ") == text:
        return text  # most texts: the sender reads many thousand a second
    text = text.encode("utf-8", "ignore").decode()  # without lone surrogates
    text = " ".join(text.translate(_TO_BE_CLEANED).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
