"""The little HTML that a report needs. All text that comes in is escaped here, and nowhere else."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

GENERATOR = "perdure report"  # tells our page from one that the run itself made
# Even if an escape were forgotten, the page could run nothing and fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--ink:#1d2129;--dim:#5c6470;--paper:#fff;--card:#f6f7f9;--line:#d9dde3;--good:#1e7b45;
--bad:#b3261e;--warn:#8a5a00;--c0:#2563c9;--c1:#d0671a;--c2:#1e8a5a;--c3:#8b45b5}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--dim:#9aa3af;--paper:#15181d;--card:#1d2128;--line:#343a44;
--good:#5fcf8b;--bad:#ff8a80;--warn:#f0b849;--c0:#7aa7ff;--c1:#ff9f5a;--c2:#5fcf8b;--c3:#d39bf5}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1.2rem;color:var(--ink);
background:var(--paper)}
h1{font-size:1.7rem;margin:0}h2{font-size:1.2rem;margin:2.4rem 0 .6rem}h3{font-size:1rem;margin:1.2rem 0 .2rem}
.dim,figcaption{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
p,ul{max-width:46rem}li,p,h1{overflow-wrap:anywhere}
td{overflow-wrap:break-word;max-width:34rem}code{font-size:.92em}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;margin:1.2rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.55rem .8rem}
.card b{display:block;font-size:1.15rem}.card span{color:var(--dim);font-size:.85rem}
summary{cursor:pointer;color:var(--dim);font-size:.88rem}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.4rem 0;font-size:.88rem;font-variant-numeric:tabular-nums}
td,th{border-bottom:1px solid var(--line);padding:.25rem 1rem .25rem 0;text-align:left;vertical-align:top}
th{color:var(--dim);font-weight:500}td.n,th.n{text-align:right}td.hex{font-family:ui-monospace,monospace;font-size:.8rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));gap:1rem 1.4rem}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:0 2rem;align-items:start}
figure{margin:0 0 .6rem;break-inside:avoid}figcaption{font-size:.88rem}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--dim)}
.grid{stroke:var(--line);stroke-width:.7}.axis{stroke:var(--dim);stroke-width:.8}
.cut{stroke:var(--dim);stroke-width:1;stroke-dasharray:4 3}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.line.s0{stroke:var(--c0)}.line.s1{stroke:var(--c1)}.line.s2{stroke:var(--c2)}.line.s3{stroke:var(--c3)}
.dot.s0{fill:var(--c0)}.dot.s1{fill:var(--c1)}.dot.s2{fill:var(--c2)}.dot.s3{fill:var(--c3)}
i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.3em}
i.s0{background:var(--c0)}i.s1{background:var(--c1)}i.s2{background:var(--c2)}i.s3{background:var(--c3)}
svg.time{height:1.9rem;background:var(--card);border-radius:4px}
.worked{fill:var(--c0)}.done{fill:var(--good)}.open{fill:var(--c1)}.lost{fill:var(--bad)}
i.worked{background:var(--c0)}i.done{background:var(--good)}i.open{background:var(--c1)}i.lost{background:var(--bad)}
img{max-width:100%;height:auto;background:#fff;border-radius:4px}
@media(max-width:40rem){.wide table{width:max-content}td{max-width:16rem}}
@media print{.wide{overflow:visible}td{overflow-wrap:anywhere}body{margin:0;max-width:none;font-size:11pt}
h2{break-after:avoid}tr,.card{break-inside:avoid}
.line,.dot,.worked,.done,.open,.lost,i,.card{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def page(title: str, parts: Iterable[str]) -> bytes:
    """A whole page around these pieces of HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{GENERATOR}">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    ).encode("utf-8", "replace")


def text(value: object) -> str:
    """Escaped, with control characters shown as such."""
    from perdure.console import printable

    return html.escape(printable(value))


def heading(words: object, level: int = 2) -> str:
    """Above a section."""
    return f"<h{level}>{text(words)}</h{level}>"


def paragraph(words: object, kind: str = "") -> str:
    """kind: a class of the style: good, bad, warn, dim. What stands in backticks is shown as code."""
    shown = re.sub(r"`([^`]*)`", r"<code>\1</code>", text(words))
    return f'<p class="{kind}">{shown}</p>' if kind else f"<p>{shown}</p>"


def columns(sections: Iterable[Sequence[str]]) -> str:
    """Short sections side by side where there is room; each is pieces of HTML."""
    shown = "".join(f"<section>{''.join(section)}</section>" for section in sections if section)
    return f'<div class="columns">{shown}</div>'


def cards(facts: Iterable[tuple[str, str, str]]) -> str:
    """Facts side by side: a value, what it is, and a kind."""
    shown = "".join(
        f'<div class="card"><b class="{kind}">{text(value)}</b><span>{text(what)}</span></div>'
        for value, what, kind in facts
    )
    return f'<div class="cards">{shown}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, hexadecimal: Sequence[str] = ()) -> str:
    """Cells are shown by str(), None as nothing; columns of numbers only to the right."""
    cells = [list(row) for row in rows]
    kinds = [
        "hex" if name in hexadecimal else "n" if cells and all(_is_number(row[i]) for row in cells) else ""
        for i, name in enumerate(head)
    ]
    top = "".join(f"<th{_class(kind)}>{text(name)}</th>" for name, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{_class(k)}>{_cell(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>"
        for row in cells
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(summary: str, content: str) -> str:
    """HTML that a reader opens who wants it."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        from perdure.report.wording import number

        return number(cell)
    return text(cell)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Words after the colour that they explain; the colour is a class of the style, or none."""
    return " &nbsp; ".join(
        (f'<i class="{kind}"></i>' if kind else "") + text(words) for kind, words in entries
    )


def figure(content: str, caption: str) -> str:
    """Both are HTML that this package made."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def picture(name: str, content: bytes, kind: str) -> str:
    """An image file inside the page; kind: its media type."""
    code = base64.b64encode(content).decode()
    return figure(f'<img alt="{text(name)}" src="data:{kind};base64,{code}">', text(name))
