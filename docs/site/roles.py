"""A Griffe extension: Sphinx roles in docstrings, such as ``:class:`~jepa_t.words.WordMap```, as links of the site."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):`(?P<short>~?)(?P<name>[\w.]+)`")


class Roles(griffe.Extension):
    """Turns roles into cross-references; one whose target has no place on the site becomes code."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:  # noqa: ARG002
        """Rewrite all docstrings of a loaded package."""
        rewrite(pkg)


def rewrite(owner: griffe.Object) -> None:
    """Rewrite the roles in the docstrings of an object and of everything that it holds."""
    if owner.docstring:
        owner.docstring.value = ROLE.sub(lambda role: reference(role, owner), owner.docstring.value)
    for member in owner.members.values():
        if isinstance(member, griffe.Object):
            rewrite(member)


def reference(role: re.Match[str], owner: griffe.Object) -> str:
    """A link that mkdocs-autorefs resolves, or leaves as code where the site doesn't show its target."""
    name = role["name"].strip(".")
    shown = name.rpartition(".")[2] if role["short"] else name
    return f'<autoref optional identifier="{target(name, owner)}"><code>{shown}</code></autoref>'


def target(name: str, owner: griffe.Object) -> str:
    """The full path of what a name means in an object's docstring; the name itself where it means nothing there."""
    try:
        first, _, rest = name.partition(".")
        return name if first == owner.package.name else f"{owner.resolve(first)}.{rest}".rstrip(".")
    except griffe.NameResolutionError:
        return name
