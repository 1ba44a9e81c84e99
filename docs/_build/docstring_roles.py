"""Turns the cross-references of docstrings, such as ``:func:`fervid.splits.subject```, into links of the site."""

import re
from typing import Any

from griffe import Extension, NameResolutionError, Object

ROLE = re.compile(r":(?:func|class|meth|attr|data|mod):`([\w.]+)`")


class DocstringRoles(Extension):
    """Rewrites the docstring of every object once it is loaded."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Replaces the roles of one docstring; what has no page of its own stays code without a link."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda role: _link(role[1], obj), obj.docstring.value)


def _link(name: str, obj: Object) -> str:
    try:
        target = obj.resolve(name)
    except NameResolutionError:
        target = name
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'
