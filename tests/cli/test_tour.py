"""The tour in docs/quantization.md: every command in it runs and prints what it says."""

import os
import unittest

import cli_support
import tour

# Every kernel and every build prints the same.
REPEATED = "DYNQ_TEST_KERNEL" in os.environ or "DYNQ_TEST_BUILD" in os.environ


def load_tests(loader, tests, pattern):
    return unittest.TestSuite() if REPEATED else tests



class Patterns(unittest.TestCase):
    """What the comparison takes for the same, so that it can fail."""

    def test_text_has_to_be_the_same(self):
        self.assertTrue(tour.matches(["a 1", "b"], ["a 1", "b"]))
        self.assertFalse(tour.matches(["a 1", "b"], ["a 2", "b"]))
        self.assertFalse(tour.matches(["a 1"], ["a 1", "b"]))
        self.assertFalse(tour.matches(["a 1", "b"], ["a 1"]))
        self.assertFalse(tour.matches(["a+"], ["aa"]))

    def test_dots_are_any_text_of_a_line_or_any_lines(self):
        self.assertTrue(tour.matches(["a ... ms", "b"], ["a 1.5 ms", "b"]))
        self.assertFalse(tour.matches(["a ... ms"], ["a 1.5 s"]))
        self.assertTrue(tour.matches(["a", "...", "d"], ["a", "b", "c", "d"]))
        self.assertTrue(tour.matches(["a", "..."], ["a"]))
        self.assertFalse(tour.matches(["a", "...", "d"], ["a", "b", "c"]))

    def test_commands_and_their_outputs_are_found(self):
        text = ["no", "```console", "$ one \\", "  more", "printed", "$ two", "```", "$ no",
                "```text", "$ no", "```"]
        steps = tour.read_steps(text)
        self.assertEqual([step.command for step in steps], ["one   more", "two"])
        self.assertEqual([step.expected for step in steps], [["printed"], []])


class Tour(unittest.TestCase):
    """All commands, in order."""

    def test_every_command_prints_what_the_tour_says(self):
        with open(os.path.join(tour.SOURCE_ROOT, "docs/quantization.md"),
                  encoding="utf-8") as file:
            steps = tour.read_steps(file.read().split("\n"))
        self.assertGreater(len(steps), 10)
        runner = tour.Runner(cli_support.DYNQ)
        self.addCleanup(runner.close)
        for step in steps:
            with self.subTest(command=step.command):
                printed, status = runner.run(step.command)
                self.assertEqual(status, 0, printed)
                self.assertTrue(tour.matches(step.expected, printed),
                                "expected:\n%s\n\nprinted:\n%s" % ("\n".join(step.expected),
                                                                   "\n".join(printed)))


if __name__ == "__main__":
    unittest.main()
