"""`dynq train --weights`: training for the integer engine."""

import gzip
import os
import random
import struct
import unittest

from cli_support import CommandTest, read_npy, run_command

SOURCE_ROOT = os.environ.get("DYNQ_SOURCE_ROOT")
FASHION = "/usr/share/datasets/fashion-mnist"
CLASSES, SIDE = 4, 6
FAST = ["--hidden", "24,12", "--epochs", "4", "--batch", "32", "--rate", "0.01"]
WAYS = [[], ["--ranges", "static"], ["--steps", "max"], ["--ranges", "static", "--steps", "max"],
        ["--ranges", "dynamic", "--granularity", "segment", "--steps", "learned"]]

# Training is OpenBLAS's; what the engine makes of it has the same bits on every kernel.
REPEATED = "DYNQ_TEST_KERNEL" in os.environ


def load_tests(loader, tests, pattern):
    return unittest.TestSuite() if REPEATED else tests



def write_idx(path, sizes, content):
    with open(path, "wb") as file:
        file.write(struct.pack(">HBB%dI" % len(sizes), 0, 8, len(sizes), *sizes) + bytes(content))


@unittest.skipUnless("\n  train " in run_command("--help").stdout, "built without OpenBLAS")
class TrainQuantized(CommandTest):
    def setUp(self):
        super().setUp()
        self.folder_of_images = self.path("images")
        os.mkdir(self.folder_of_images)
        self.test_labels = self.write_set("t10k", 200, 1)
        self.write_set("train", 320, 2)

    def write_set(self, name, rows, seed):
        """Noise, with one corner of each image brighter than the others."""
        source = random.Random(seed)
        labels = [source.randrange(CLASSES) for _ in range(rows)]
        pixels = []
        for label in labels:
            for place in range(SIDE * SIDE):
                bright = place // SIDE // 3 * 2 + place % SIDE // 3 == label
                pixels.append(source.randrange(256) // 2 + (60 if bright else 0))
        write_idx(os.path.join(self.folder_of_images, name + "-images-idx3-ubyte"),
                  [rows, SIDE, SIDE], pixels)
        write_idx(os.path.join(self.folder_of_images, name + "-labels-idx1-ubyte"), [rows], labels)
        return labels

    def train(self, *options, out="trained.safetensors", data=None):
        path = self.path(out)
        return path, self.succeed_json("train", "--data", data or self.folder_of_images, "-o", path,
                                       *options)

    def accuracy(self, model, images, labels, *options):
        """What the ordinary engine makes of the test images."""
        self.succeed("run", model, "--input", images, "-o", self.path("y.npy"), "-q", *options)
        rows = read_npy(self.path("y.npy"))
        return sum(row.index(max(row)) == label for row, label in zip(rows, labels)) / len(labels)

    def test_engine_has_the_accuracy_of_training(self):
        images = os.path.join(self.folder_of_images, "t10k-images-idx3-ubyte")
        for weights in ["int8", "int4", "int2"]:
            for way in WAYS:
                with self.subTest(weights=weights, way=way):
                    path, report = self.train(*FAST, "--weights", weights, *way)
                    self.assertEqual(report["weights"], weights)
                    self.assertGreater(report["test_accuracy"], 0.8)
                    segments = ["-b", "1"] if "segment" in way else []
                    self.assertAlmostEqual(
                        self.accuracy(path, images, self.test_labels, *segments),
                        report["test_accuracy"], delta=0.001)

    def test_what_is_written(self):
        path, _ = self.train(*FAST, "--weights", "int4")
        nodes = [node for node in self.succeed_json("info", path)["nodes"]
                 if node["op"] == "linear"]
        self.assertEqual([node["name"] for node in nodes], ["fc1", "fc2", "fc3"])
        for node in nodes:
            self.assertEqual((node["precision"], node["range"], node["granularity"]),
                             ("int8", "dynamic", "row"))
        static, _ = self.train(*FAST, "--weights", "int2", "--ranges", "static", out="2.safetensors")
        for node in self.succeed_json("info", static)["nodes"]:
            if node["op"] == "linear":
                self.assertEqual(node["range"], "static")
        self.assertLess(os.path.getsize(static), os.path.getsize(path))

    def test_threads_change_no_byte(self):
        for options in [["--weights", "int2", "--ranges", "static"], ["--weights", "fp32"]]:
            files = [self.read_bytes(self.train(*FAST, *options, "--threads", threads)[0])
                     for threads in ["1", "2"]]
            self.assertEqual(files[0], files[1])

    def test_from_a_model(self):
        start, before = self.train(*FAST)
        options = ["--from", start, "--epochs", "1", "--rate", "1e-9", "--weights", "int8"]
        path, after = self.train(*options, out="after.safetensors")
        self.assertAlmostEqual(after["test_accuracy"], before["test_accuracy"], delta=0.011)
        nodes = [(node["name"], node["n"]) for node in self.succeed_json("info", path)["nodes"]
                 if node["op"] == "linear"]
        self.assertEqual(nodes, [("fc1", 24), ("fc2", 12), ("fc3", CLASSES)])
        _, again = self.train("--from", start, "--epochs", "1", "--rate", "0.001")
        self.assertEqual(again["weights"], "fp32")

    def test_models_that_do_not_fit(self):
        train = ["train", "--data", self.folder_of_images, "-o", self.path("no.safetensors"),
                 "--weights", "int4"]
        self.assertIn("36 and 4", self.fail_with(3, *train, "--from", self.model))
        trained, _ = self.train(*FAST, "--weights", "int4")
        self.assertIn("'fc1'", self.fail_with(3, *train, "--from", trained))
        self.fail_with(3, *train, "--from", self.write_bytes("junk", b"junk"))
        self.fail_with(4, *train, "--from", self.path("missing"))

    def test_options_that_do_not_fit(self):
        train = ["train", "--data", self.folder_of_images, "-o", self.path("no.safetensors")]
        for options in [["--ranges", "static"], ["--steps", "max"], ["--granularity", "row"],
                        ["--weights", "fp32", "--steps", "learned"]]:
            self.assertIn("--weights", self.fail_with(2, *train, *options))
        self.assertIn("dynamic", self.fail_with(2, *train, "--weights", "int4", "--ranges",
                                                "static", "--granularity", "row"))
        self.fail_with(2, *train, "--weights", "int3")

    @unittest.skipUnless(SOURCE_ROOT, "DYNQ_SOURCE_ROOT is not set")
    @unittest.skipUnless(os.path.isdir(FASHION), "no dataset-fashion-mnist")
    def test_shipped_model_in_two_bits(self):
        """One pass from the shipped model: already within 2 points of its 90.71 %."""
        shipped = os.path.join(SOURCE_ROOT, "models", "fashion-mnist-mlp.safetensors")
        path, report = self.train("--from", shipped, "--weights", "int2", "--epochs", "1",
                                  "--rate", "0.0003", "--threads", "2", data=FASHION)
        self.assertGreater(report["test_accuracy"], 0.8871)
        images = os.path.join(FASHION, "t10k-images-idx3-ubyte.gz")
        self.assertAlmostEqual(self.accuracy(path, images, self.fashion_labels()),
                               report["test_accuracy"], delta=0.001)

    def fashion_labels(self):
        with gzip.open(os.path.join(FASHION, "t10k-labels-idx1-ubyte.gz")) as file:
            return list(file.read()[8:])


if __name__ == "__main__":
    unittest.main()
