"""docs/commands.md is what a node says about its commands; `UPDATE=1` writes it again. The page of
compatibility names what the comparison with real servers passes over."""

import os

from harness import ROOT
from resp import Connection

PAGE = ROOT / "docs/commands.md"
INTRODUCTION = """\
<!-- Made from COMMAND DOCS of a running node by `cargo xtask docs`. Do not edit. -->

# Commands

Commands and subcommands by group, from the one table that also dispatches them.
"""


def plain(reply):
    """Maps and lists of RESP2 as text."""
    if isinstance(reply, bytes):
        return reply.decode()
    if isinstance(reply, list):
        return [plain(item) for item in reply]
    return reply


def fields(flat):
    return dict(zip(flat[::2], flat[1::2]))


def syntax(argument):
    about = fields(argument)
    inner = [syntax(one) for one in about.get("arguments", [])]
    kind = about.get("type")
    if kind == "oneof":
        text = " | ".join(inner)
    elif kind == "block":
        text = " ".join(inner)
    elif kind == "pure-token":
        text = about.get("token", "").upper()
    else:
        text = about.get("display_text", about["name"])
    flags = about.get("flags", [])
    if kind != "pure-token" and about.get("token"):
        text = f"{about['token']} {text}"
    if "multiple" in flags:
        text = f"{text} [{text} ...]"
    if "optional" in flags:
        return f"[{text}]"
    return f"<{text}>" if kind == "oneof" and inner else text


def rows(name, docs):
    about = fields(docs)
    words = [name.upper().replace("|", " ")] + [syntax(one) for one in about.get("arguments", [])]
    if about.get("summary") and not about.get("subcommands"):
        yield about.get("group", ""), " ".join(words), about["summary"], about.get("since", "")
    below = about.get("subcommands", [])
    for sub, sub_docs in zip(below[::2], below[1::2]):
        yield from rows(sub, [*sub_docs, *([] if "group" in sub_docs[::2] else ["group", about.get("group", "")])])


def render(port):
    connection = Connection(port)
    docs = plain(connection.call("COMMAND", "DOCS"))
    connection.close()
    groups = {}
    for name, about in sorted(zip(docs[::2], docs[1::2])):
        for group, text, summary, since in rows(name, about):
            groups.setdefault(group, []).append((text, summary, since))
    page = [INTRODUCTION]
    for group, entries in sorted(groups.items()):
        page.append(f"## {group.capitalize()}\n\n| Command | What it does | Since |\n|---|---|---|")
        for text, summary, since in sorted(entries):
            escaped = text.replace("|", "\\|")
            page.append(f"| `{escaped}` | {summary} | {since} |")
        page.append("")
    return "\n".join(page)


def test_the_page_of_commands_is_fresh(shared_node):
    page = render(shared_node.port)
    if os.environ.get("UPDATE"):
        PAGE.write_text(page)
    assert PAGE.exists() and PAGE.read_text() == page, "run `cargo xtask docs`"


def test_every_explained_difference_is_on_the_page_of_compatibility():
    from conformance import EXPLAINED
    page = (ROOT / "docs/compatibility.md").read_text()
    assert [why for *_, why in EXPLAINED if f"- {why}\n" not in page] == []
