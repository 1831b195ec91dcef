"""A page in headless Chromium: where its parts are, and what it is on paper."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile

NAMES = ["chromium", "chromium-browser", "google-chrome"]

# What a reader can see goes wrong: text over text, text cut off, a page wider than the screen.
MEASURE = """<script>
addEventListener("load", () => {
  const box = r => [r.left, r.top, r.right, r.bottom].map(x => Math.round(x * 100) / 100);
  const plots = [...document.querySelectorAll("svg")].map(svg => ({
    name: svg.getAttribute("aria-label"), box: box(svg.getBoundingClientRect()),
    texts: [...svg.querySelectorAll("text")].map(text => {
      const title = text.querySelector("title");
      return {text: [...text.childNodes].filter(n => n !== title).map(n => n.textContent).join(""),
              box: box(text.getBoundingClientRect())};
    })}));
  const root = document.documentElement;
  const found = {width: innerWidth, scroll: root.scrollWidth, plots,
                 dark: matchMedia("(prefers-color-scheme: dark)").matches,
                 background: getComputedStyle(document.body).backgroundColor};
  parent.postMessage(found, "*");
});
</script></head>"""


# Headless Chromium has no window narrower than 500: the page stands in a frame of the width.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><iframe src="%s" style="width:%dpx;height:900px;border:0">
</iframe><script>
addEventListener("message", message => {
  const out = document.body.appendChild(document.createElement("pre"));
  out.id = "found";
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(message.data))));
});
</script>"""


def find():
    """The browser; a test that needs it fails without."""
    for name in NAMES:
        if shutil.which(name):
            return shutil.which(name)
    raise AssertionError("no Chromium to look at the page with: apt-get install chromium")


def _run(page, *options):
    profile = tempfile.mkdtemp(prefix="dynq-browser-")
    try:
        return subprocess.run(
            [find(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--disable-extensions", "--no-first-run", "--hide-scrollbars",
             "--virtual-time-budget=2000", "--user-data-dir=" + profile, *options,
             "file://" + page],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=120,
            check=True).stdout.decode("utf-8", "replace")
    finally:
        shutil.rmtree(profile, ignore_errors=True)


def measure(path, width, dark=False):
    """The places of all plots and their texts in a window of that width."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert "</head>" in text
    inner, outer = path + ".inner.html", path + ".outer.html"
    try:
        with open(inner, "w", encoding="utf-8") as file:
            file.write(text.replace("</head>", MEASURE, 1))
        with open(outer, "w", encoding="utf-8") as file:
            file.write(FRAME % (os.path.basename(inner), width))
        answer = _run(outer, "--window-size=1400,1000", "--dump-dom",
                      "--blink-settings=preferredColorScheme=%d" % (0 if dark else 1))
    finally:
        os.remove(inner)
        os.remove(outer)
    found = re.search(r'<pre id="found">([^<]*)</pre>', answer)
    assert found, answer[:500]
    return json.loads(base64.b64decode(found.group(1)))


def print_pages(path):
    """The page on paper: the bytes of a PDF."""
    pdf = path + ".pdf"
    _run(path, "--print-to-pdf=" + pdf, "--no-pdf-header-footer")
    try:
        with open(pdf, "rb") as file:
            return file.read()
    finally:
        os.remove(pdf)
