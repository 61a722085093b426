"""The languages of a pop. The texts in the code are English; gettext's catalogues have those of the other languages."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import gettext
    from typing import Union

    Texts = Union["English", gettext.NullTranslations]

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "locale")


class English:
    """The same as gettext.NullTranslations, whose import would delay the sender's first pop by 3 ms."""

    def gettext(self, message: str) -> str:
        return message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return msgid1 if n == 1 else msgid2


ENGLISH = English()


def load(language: str) -> Texts:
    """The texts in a language, by its code in ISO 639-1. Raises ValueError with what is expected."""
    if language == "en":
        return ENGLISH
    import gettext

    try:
        languages = sorted(["en", *(name for name in os.listdir(_FOLDER) if "." not in name)])
        if language not in languages:
            raise ValueError(f"{language!r} should be one of the languages {', '.join(languages)}")
        return gettext.translation("screen_pop", _FOLDER, [language])
    except OSError as error:
        raise ValueError(f"the texts in {language} can't be read: {error}") from error
