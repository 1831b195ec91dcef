"""The page of `dynq compare --html`: what is on it, and how a browser shows it."""

import json
import os
import re
import unittest
from html.parser import HTMLParser
from xml.etree import ElementTree

import browser
from cli_support import CommandTest, Mlp, floats, write_model
from text_support import TextTest, needs_tokenizer

SOURCE_ROOT = os.environ.get("DYNQ_SOURCE_ROOT")
MINILM = os.environ.get("DYNQ_MINILM")
MOST_BYTES = 300 * 1000
# A page has the same parts whatever kernel made it: one run, with the kernel that the CPU has, is enough.
REPEATED = "DYNQ_TEST_KERNEL" in os.environ
VOID = {"meta", "br", "link", "img", "input", "hr"}


def load_tests(loader, tests, pattern):
    return unittest.TestSuite() if REPEATED else tests


class Balance(HTMLParser):
    """Checks that elements are closed in order, and gathers what a reader sees."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.titles = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.titles += [value for key, value in attrs if key == "title"]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


def overlapping(a, b, slack=0.5):
    """Boxes of two texts; line boxes are taller than letters, so that a little is no overlap."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    tall = min(a[3] - a[1], b[3] - b[1])
    return wide > slack and high > 0.3 * tall


class PageTest(CommandTest):
    def page_of(self, *arguments):
        """The page, its text, and the report with the same names."""
        path = self.path("page.html")
        result = self.succeed("compare", *arguments, "--repeat", "2", "--html", path, "--json",
                              "-q")
        with open(path, encoding="utf-8") as file:
            return path, file.read(), json.loads(result.stdout)

    def check_contents(self, text, report):
        parser = Balance()
        parser.feed(text)
        parser.close()
        self.assertEqual(parser.open, [])
        shown = "\n".join(parser.words + parser.titles)
        for variant in report["variants"]:
            self.assertIn(variant["name"], shown)
        for node in report["variants"][0]["nodes"]:
            self.assertIn(node["name"], parser.titles)
        for word in ["<script", "http:", "https:", "src=", "@import", "url(", "\"nan", "\"inf"]:
            self.assertNotIn(word, text)
        plots = re.findall(r"<svg.*?</svg>", text, re.S)
        for plot in plots:
            ElementTree.fromstring(plot)
        return plots

    def check_layout(self, path, *widths):
        for width, dark in widths:
            found = browser.measure(path, width, dark)
            self.assertEqual(found["width"], width)
            self.assertEqual(found["dark"], dark)
            self.assertLessEqual(found["scroll"], width, "the page is wider than the screen")
            self.assertTrue(found["plots"])
            light = sum(int(part) for part in re.findall(r"\d+", found["background"])[:3]) > 380
            self.assertNotEqual(light, dark)
            for plot in found["plots"]:
                self.check_plot(plot, width)

    def check_plot(self, plot, width):
        left, top, right, bottom = plot["box"]
        for i, text in enumerate(plot["texts"]):
            box = text["box"]
            where = (plot["name"], text["text"], box, plot["box"], width)
            self.assertGreaterEqual(box[0], left - 1, where)
            self.assertLessEqual(box[2], right + 1, where)
            self.assertGreaterEqual(box[1], top - 2, where)
            self.assertLessEqual(box[3], bottom + 3, where)
            for other in plot["texts"][:i]:
                self.assertFalse(overlapping(box, other["box"]), (where, other))

    def check_paper(self, path, most):
        pdf = browser.print_pages(path)
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
        self.assertGreater(pages, 0)
        self.assertLessEqual(pages, most)


class Page(PageTest):
    def test_small_model(self):
        path, text, report = self.page_of(self.model, "--data", self.data)
        plots = self.check_contents(text, report)
        self.assertGreaterEqual(len(plots), 5)
        for word in ["What to choose", "Layer by layer", "fc1 reads x", "fc2 reads act",
                     "dynq compare", "dynq quantize", "Spread of the error", "Batch effect"]:
            self.assertIn(word, text)
        self.check_layout(path, (390, False), (1280, True))
        self.check_paper(path, 12)

    def test_hard_names(self):
        """Names of 255 bytes: markup, letters without a space, other scripts, marks."""
        names = [("<b>&\"'</b>" * 30)[:255], "W" * 255, "\u6771\u4eac" * 42, "e\u0301" * 85,
                 "\U0001F418" * 63, "\u0627\u0644" * 63, "encoder.layer.10." + "long" * 50]
        mlp = Mlp()
        linear = {"op": "linear", "precision": "fp32"}
        nodes = [{"name": "x", "op": "input", "columns": Mlp.inputs}]
        tensors = {}
        before, columns = "x", Mlp.inputs
        for number, name in enumerate(names):
            nodes.append({"name": name, "inputs": [before], "k": columns, "n": Mlp.hidden,
                          "bias": False, **linear})
            tensors[name + ".weight"] = ([Mlp.hidden, columns],
                                         floats(Mlp.hidden * columns, number))
            before, columns = name, Mlp.hidden
        model = self.path("names.safetensors")
        write_model(model, nodes, [{"name": "y", "node": before}], tensors)
        path, text, report = self.page_of(model, "--data", self.data)
        self.check_contents(text, report)
        self.check_layout(path, (390, True), (1280, False))

    def test_command_can_be_copied(self):
        data = self.path("it's x.npy")
        os.rename(self.data, data)
        _, text, _ = self.page_of(self.model, "--data", data)
        parser = Balance()
        parser.feed(text)
        self.assertIn("'" + data.replace("'", "'\\''") + "'", "".join(parser.words))


@needs_tokenizer
class TextPage(TextTest, PageTest):
    def test_texts(self):
        path, text, report = self.page_of(self.texts, "--data", self.file)
        self.check_contents(text, report)
        self.check_layout(path, (390, True))


@unittest.skipUnless(MINILM, "DYNQ_MINILM does not name the folder that tools/get-minilm.sh prints")
@unittest.skipUnless(SOURCE_ROOT, "DYNQ_SOURCE_ROOT is not set")
class EncoderPage(PageTest):
    # The published encoder with all usual variants fits, on a phone and on paper too.
    def test_encoder(self):
        model = self.path("minilm.safetensors")
        self.succeed("convert", MINILM, "-o", model, "-q")
        with open(os.path.join(SOURCE_ROOT, "tests", "golden", "sentences.txt"), "rb") as file:
            lines = self.write_bytes("lines.txt", b"".join(file.readlines()[:10]))
        path, text, report = self.page_of(model, "--data", lines)
        self.assertLess(os.path.getsize(path), MOST_BYTES)
        self.check_contents(text, report)
        self.check_layout(path, (390, False), (1280, True))
        self.check_paper(path, 30)


if __name__ == "__main__":
    unittest.main()
