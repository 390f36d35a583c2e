"""MkDocs hooks: root files of the repository as pages, and links that hold on the site as they do in the repository."""

import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
}
HOMES = {page: file for file, page in ROOT_PAGES.items()}
REST = "How to"  # the section for pages that the navigation doesn't name
LINK_OR_CODE = re.compile(
    r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence)"
    r"|(?P<ticks>(?<!`)`+(?!`)).*?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)",
    re.MULTILINE | re.DOTALL,
)


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Add the pages made of root files, and name every page that the navigation lacks under ``How to``."""
    root = posixpath.dirname(config.docs_dir)
    for file, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=posixpath.join(root, file)))
    nav = config.nav or []
    named = re.findall(r"[\w/.-]+\.md", str(nav))
    pages = {file.src_uri for file in files.documentation_pages() if not file.inclusion.is_excluded()}
    (rest,) = (section[REST] for section in nav if REST in section)
    rest.extend(sorted(pages - set(named)))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Rewrite the links of a page for the site."""
    return rewritten(markdown, page.file.src_uri)


def rewritten(markdown: str, page: str) -> str:
    """Markdown whose links hold in the repository, as one whose links hold on the site; code stays as it is.

    Of a fence only the mark behind its language goes (``python not-run``), which MkDocs doesn't know.

    Args:
        markdown: The text.
        page: The page's path in the site's sources, such as ``index.md`` or ``explanation/paper.md``.
    """
    folder = posixpath.dirname(HOMES.get(page, f"docs/{page}"))

    def link(found: re.Match[str]) -> str:
        target, text = found["target"], found["text"]
        if found["fence"]:
            return re.sub(r"\A( *[`~]+\w*)[^\n]*", r"\1", found[0])
        if target is None or re.match(r"#|[a-z]+:", target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path not in ROOT_PAGES and not path.startswith("docs/"):  # no page of the site
            return f"`{text}`" if path.endswith(text) else text
        to = posixpath.relpath(ROOT_PAGES.get(path, path.removeprefix("docs/")), posixpath.dirname(page) or ".")
        return f"{found['image']}[{text}]({to}{hash_}{anchor})"

    return LINK_OR_CODE.sub(link, markdown)
