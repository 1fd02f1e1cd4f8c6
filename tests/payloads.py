"""Texts that would run a script if a page took them for markup; each that runs counts in `window.ran`."""

from __future__ import annotations

RUNS = "window.ran = (window.ran || 0) + 1"
HOSTILE = tuple(
    template.replace("RUN", RUNS)
    for template in (
        "<script>RUN</script>", "<img src=x onerror='RUN'>", '<img src=x onerror="RUN">', "<svg onload='RUN'>",
        "<svg/onload=RUN>", "<body onload='RUN'>", "<iframe srcdoc='<script>parent.RUN</script>'></iframe>",
        "<iframe src='javascript:parent.RUN'></iframe>", "<a href='javascript:RUN' autofocus onfocus='RUN'>x</a>",
        "<input autofocus onfocus='RUN'>", "<details open ontoggle='RUN'>x</details>", "<video><source onerror='RUN'>",
        "<audio src=x onerror='RUN'>", "<object data='javascript:RUN'></object>", "<embed src='javascript:RUN'>",
        "<math><mtext><script>RUN</script></mtext></math>", "<style>@import 'javascript:RUN'</style>",
        "<style onload='RUN'></style>", "<link rel=stylesheet href=x onerror='RUN'>",
        "<marquee onstart='RUN'>x</marquee>",
        "<select autofocus onfocus='RUN'>", "<textarea autofocus onfocus='RUN'>", "<keygen autofocus onfocus='RUN'>",
        "<meta http-equiv=refresh content='0;javascript:RUN'>", "<base href='javascript:RUN//'>",
        "<form action='javascript:RUN'><button autofocus>x</button></form>", "<button popovertarget=x onclick='RUN'>",
        "<x onanimationstart='RUN' style='animation: gr-turn 1s'>", "<x ontransitionend='RUN'>x",
        "</textarea><script>RUN</script>", "</title><script>RUN</script>", "--><script>RUN</script>",
        "]]><script>RUN</script>", "'><script>RUN</script>", '"><script>RUN</script>', "`><script>RUN</script>",
        '" onmouseover="RUN" x="', "' onmouseover='RUN' x='", '" autofocus onfocus="RUN" x="', "javascript:RUN",
        "[x](javascript:RUN)", "![x](x' onerror='RUN)", "<javascript:RUN>", "[x]: javascript:RUN",
        "```html\n<script>RUN</script>\n```", "${RUN}", "{{RUN}}", "{{#each value}}<img src=x onerror=RUN>{{/each}}",
        "{{{RUN}}}", "<%= RUN %>", "#{RUN}", "$(RUN)", "{@html '<img src=x onerror=RUN>'}", "\\u003cscript\\u003eRUN",
        "&lt;script&gt;RUN&lt;/script&gt;", "&#60;img src=x onerror=RUN&#62;", "<scr<script>ipt>RUN</script>",
        "<SCRIPT>RUN</SCRIPT>", "<img\x00src=x onerror='RUN'>", "<img src=x onerror=RUN//",
        "\u2028<script>RUN</script>",
    )
)  # fmt: skip
