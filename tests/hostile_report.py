"""A report in which every text that can come from elsewhere tries to be a program."""

from tokensphere.sinks.report import page

HOSTILE = (
    "</script><script>document.title = 'ran'</script>",
    "<img src=x onerror=\"document.title = 'ran'\">",
    "\"><svg onload='document.title = 1'></svg>",
    "javascript:alert(1)",
    "[a](javascript:alert(1)) **b** <!-- c",
    "one\u2028two\u2029three",
    "\u202egnp.exe\u2066",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac$ and $x$",
    "</style></title></code><h1>",
    "--> ]]> &lt;b&gt; &amp;",
)
VERDICTS = ("outcome", "kind")
"""Words of our own, by which a page is put together."""


def hostile(data, start=0):
    """A document of `report.measure_model` with each text replaced, in turn, by one of HOSTILE."""
    count = start

    def change(value, key=""):
        nonlocal count
        if isinstance(value, dict):
            return {name: change(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [change(each, key) for each in value]
        if not isinstance(value, str) or key in VERDICTS:
            return value
        count += 1
        return HOSTILE[count % len(HOSTILE)]

    return change(data)


def page_of(data, folder):
    """The report of a document, written into a folder; its parameters are hostile too."""
    page.write(
        folder,
        data,
        name=HOSTILE[0],
        revision=HOSTILE[1],
        parameters={"model": HOSTILE[0], "prompts": list(HOSTILE), **dict.fromkeys(HOSTILE, 1)},
        seconds=1.0,
        seed=0,
        device="cpu",
    )
    return folder
