"""The little HTML that a report needs. All text that comes in is escaped here, and nowhere else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2129;--dim:#5c6470;--paper:#fff;--line:#d9dde3;--good:#1e7b45;--bad:#b3261e;
--warn:#8a5a00}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--dim:#9aa3af;--paper:#15181d;--line:#343a44;--good:#5fcf8b;
--bad:#ff8a80;--warn:#f0b849}}
body{font:16px/1.55 system-ui,sans-serif;max-width:74rem;margin:2rem auto;padding:0 1rem;color:var(--ink);
background:var(--paper)}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.6rem 0;font-size:.88rem;font-variant-numeric:tabular-nums}
td,th{border-bottom:1px solid var(--line);padding:.25rem .8rem .25rem 0;text-align:left;vertical-align:top}
p,ul{max-width:46rem}td{max-width:34rem;overflow-wrap:break-word}li,p,h1{overflow-wrap:anywhere}
img{max-width:100%;height:auto;background:#fff;border-radius:4px}figure{margin:1.6rem 0}
figcaption,.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.verdict{font-size:1.15rem;font-weight:600}
"""
# Even if an escape were forgotten, the page could run nothing and fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str]) -> bytes:
    """A whole page around these pieces of HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><h1>{_text(title)}</h1>"
        f"{''.join(parts)}</body></html>\n"
    ).encode("utf-8", "replace")


def heading(text: str) -> str:
    """Above a section."""
    return f"<h2>{_text(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """kind: a class of the style: good, bad, warn, dim, verdict, or several."""
    return f'<p class="{_text(kind)}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def points(texts: Iterable[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{_text(text)}</li>" for text in texts) + "</ul>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Cells are shown by str()."""
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(caption: str, png: bytes) -> str:
    """An image inside the page."""
    code = base64.b64encode(png).decode()
    words = _text(caption)
    return f'<figure><img alt="{words}" src="data:image/png;base64,{code}"><figcaption>{words}</figcaption></figure>'


def _text(value: object) -> str:
    return html.escape(str(value))
