"""`Explorable`, what every explorable is: a widget with a stable identity, and what stands in for it."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import anywidget
from ipywidgets import Layout

from unstuck.arguments import instance, words

SCRIPTS = Path(__file__).parents[1] / "_js"
"""Where the explorables' JavaScript and CSS lie."""


class Explorable(anywidget.AnyWidget):
    """A widget with a stable identity, and what stands in for it where it cannot move.

    Args:
        text: what stands in for it in a terminal, and what nbval compares.
        picture: PNG bytes, what stands in for it on GitHub, in the PDF and where JavaScript is off; or
        page: HTML for the same, but the PDF, which shows the text. One of the two is due.
        identity: what its model id is made of, where its state may differ from run to run; empty: text and state.
        **traits: its state, ready for JSON; without an `identity`, equal states have equal model ids in every run.
    """

    _living: ClassVar[WeakValueDictionary[str, Explorable]] = WeakValueDictionary()

    def __init__(
        self, *, text: str, picture: bytes | None = None, page: str | None = None, identity: str = "", **traits: Any
    ) -> None:
        self._text = words("text", text)
        instance("identity", identity, str, "a text")
        self._stand_in = _stand_in(picture, page)
        model_id = f"unstuck-{digest(type(self).__name__, *([identity] if identity else [text, traits]))}"
        # When a cell runs again, its old widget has the same id: closed later, it would take the new one along.
        previous = self._living.get(model_id)
        if previous is not None:
            previous.layout.close()
            previous.close()
        super().__init__(model_id=model_id, layout=Layout(model_id=f"{model_id}-layout"), **traits)
        self._living[model_id] = self

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})  # None: without a view
        return {**data, "text/plain": self._text, **self._stand_in}, metadata


def _stand_in(picture: bytes | None, page: str | None) -> dict[str, str]:
    """The one of the two that is given, by its MIME type."""
    if (picture is None) == (page is None):
        found = "none" if picture is None else "both"
        raise ValueError(f"picture, page: expected one of them, got {found}")
    if page is not None:
        return {"text/html": words("page", page)}
    return {"image/png": b64encode(instance("picture", picture, bytes, "the bytes of a PNG")).decode()}


def digest(*content: Any) -> str:
    """24 hexadecimal digits, the same for equal content (which JSON can hold) in every run."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def filled(name: str, text: str, values: Mapping[str, Any]) -> str:
    """`text`, the argument `name`, with values in place of their names in braces."""
    words(name, text)
    try:
        return text.format(**values)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected names among {list(values)} in braces, got {text!r} ({error})") from error
