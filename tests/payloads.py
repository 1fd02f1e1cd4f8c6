"""Sixty texts that would run something, or show something of their own, if a page took them for more than texts.

Whatever runs counts up `window.__hit`; whatever becomes an element bears the attribute `data-hit`.
"""

from __future__ import annotations

import itertools

_RUN = "window.__hit=(window.__hit||0)+1"
_TEMPLATES = (
    # script, in every case and place
    "<script data-hit>RUN</script>", "<SCRIPT data-hit>RUN</SCRIPT>", "<scr<script data-hit>ipt>RUN</script>",
    "</title><script data-hit>RUN</script>", "</textarea><script data-hit>RUN</script>",
    "--><script data-hit>RUN</script>",
    "]]><script data-hit>RUN</script>", "'><script data-hit>RUN</script>", '"><script data-hit>RUN</script>',
    "`><script data-hit>RUN</script>", "\u2028<script data-hit>RUN</script>",
    "</style><script data-hit>RUN</script>",
    "<math><mtext><script data-hit>RUN</script></mtext></math>",
    "<script src='data:text/javascript,RUN' data-hit></script>",
    "<script type=module data-hit>RUN</script>", "<noscript><p title='</noscript><img data-hit src=x onerror=RUN>'>",
    # elements that run something by themselves
    "<img data-hit src=x onerror='RUN'>", '<img data-hit src=x onerror="RUN">', "<img data-hit src=x onerror=RUN//",
    "<img\x0cdata-hit src=x onerror='RUN'>", "<IMG DATA-HIT SRC=x ONERROR='RUN'>", "<svg data-hit onload='RUN'>",
    "<svg/data-hit/onload=RUN>", "<body data-hit onload='RUN'>", "<details data-hit open ontoggle='RUN'>x</details>",
    "<video data-hit><source onerror='RUN'></video>", "<audio data-hit src=x onerror='RUN'></audio>",
    "<iframe data-hit srcdoc='<script>parent.RUN</script>'></iframe>",
    "<iframe data-hit src='javascript:parent.RUN'></iframe>",
    "<object data-hit data='javascript:RUN'></object>", "<embed data-hit src='javascript:RUN'>",
    "<input data-hit autofocus onfocus='RUN'>", "<select data-hit autofocus onfocus='RUN'></select>",
    "<a data-hit href='javascript:RUN' autofocus onfocus='RUN'>x</a>",
    "<x data-hit tabindex=0 autofocus onfocus='RUN'>x</x>",
    "<style data-hit onload='RUN'></style>", "<link data-hit rel=stylesheet href=x onerror='RUN'>",
    "<style data-hit>@keyframes x{}</style><p data-hit style='animation:x' onanimationstart='RUN'>x",
    "<marquee data-hit onstart='RUN'>x</marquee>", "<dialog data-hit open oncancel='RUN'>x</dialog>",
    "<form data-hit action='javascript:RUN'><button data-hit autofocus>x</button></form>",
    "<meta data-hit http-equiv=refresh content='0;javascript:RUN'>", "<base data-hit href='javascript:RUN//'>",
    # attributes that break out of where a text stands
    '" onmouseover="RUN" data-hit="', "' onmouseover='RUN' data-hit='", '" autofocus onfocus="RUN" data-hit="',
    "x onpointerenter=RUN data-hit=", "javascript:RUN",
    # Markdown, templates, entities and escapes that something may still undo
    "[x](javascript:RUN)", "![x](x' data-hit onerror='RUN)", "<javascript:RUN>", "[x]: javascript:RUN",
    "```html\n<script data-hit>RUN</script>\n```", "**<img data-hit src=x onerror=RUN>**",
    "| a |\n| --- |\n| <img data-hit src=x onerror=RUN> |",
    "{{RUN}}<img data-hit src=x onerror=RUN>", "{@html '<img data-hit src=x onerror=RUN>'}", "${RUN}<%= RUN %>#{RUN}",
    "&lt;img data-hit src=x onerror=RUN&gt;", "\\u003cimg data-hit src=x onerror=RUN\\u003e",
)  # fmt: skip

PAYLOADS = tuple(template.replace("RUN", _RUN) for template in _TEMPLATES)

HITS = """() => {
  const bad = [...document.querySelectorAll("[data-hit], [href^='javascript:' i], [src^='javascript:' i]")];
  return {
    ran: window.__hit ?? null,
    elements: bad.map((each) => each.outerHTML.slice(0, 200)),
  };
}"""
"""What became of them on a page."""


def as_file_name(payload: str) -> str:
    """The payload as a file may be called: without a slash, and not too long."""
    name = payload.replace("/", "\u2215").replace("\0", "")
    return name.encode()[:200].decode(errors="ignore")


def one_line(payload: str) -> str:
    """The payload as a model may write it into one step of its reasoning."""
    return " ".join(payload.splitlines())


def batches(size: int) -> list[tuple[str, ...]]:
    """All payloads, so many at a time: an open tag or comment in one may hide those after it."""
    some = iter(PAYLOADS)
    return list(iter(lambda: tuple(itertools.islice(some, size)), ()))
