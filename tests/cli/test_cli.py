"""What all subcommands have in common: help, options, exit codes, output that cannot be written."""

import os
import pty
import subprocess
import unittest

from cli_support import DYNQ, CommandTest, run_command

COMMON = ["--threads", "--kernel", "--engine", "--seed", "--quiet", "--json", "--format", "--help"]
OPTIONS = {
    "info": ["--verify", "--kernels", "--batch"],
    "calibrate": ["--data", "--out", "--rows", "--merge", "--resume"],
    "quantize": ["--out", "--ranges", "--granularity", "--scheme", "--calibration", "--method",
                 "--rule"],
    "run": ["--input", "--out", "--output", "--batch", "--segments"],
}


class Help(CommandTest):
    def test_the_command_lists_its_subcommands(self):
        text = self.succeed("--help").stdout
        for name in [*OPTIONS, "compare", "bench"]:
            self.assertRegex(text, r"(?m)^  %s +\S" % name)
        self.assertIn("Exit codes", text)

    def test_version(self):
        self.assertRegex(self.succeed("--version").stdout, r"^dynq \d+\.\d+\.\d+\n$")

    def test_every_subcommand_explains_itself(self):
        listed = [line.split()[0] for line in self.succeed("--help").stdout.split("Commands:")[1]
                  .split("Options:")[0].splitlines() if line.strip()]
        self.assertLessEqual(set(OPTIONS), set(listed))
        for name in listed:
            with self.subTest(name):
                result = self.succeed(name, "--help")
                self.assertEqual(result.stderr, "")
                self.assertTrue(result.stdout.startswith("Usage: dynq %s " % name))
                for option in [*OPTIONS.get(name, []), *COMMON]:
                    self.assertIn(option, result.stdout)
                self.assertRegex(result.stdout, r"\nExample:\n  dynq %s " % name)
                if name != "train":
                    self.assertIn("(default: ", result.stdout)
                for line in result.stdout.split("\nExample:")[0].splitlines():
                    self.assertLessEqual(len(line), 80, line)
                self.assertEqual(run_command(name, "--nonsense", "-h").stdout, result.stdout)

    def test_defaults_are_shown(self):
        text = self.succeed("quantize", "--help").stdout
        for default in ["dynamic", "segment", "affine", "max"]:
            self.assertIn("(default: %s)" % default, text)
        self.assertIn("(default: 64)", self.succeed("run", "--help").stdout)

    def test_long_help_is_whole(self):
        text = self.succeed("compare", "--help").stdout
        self.assertIn("int8-dynamic-row-smooth-bias;", text)
        self.assertIn("(default: usual)", text)


class Usage(CommandTest):
    def test_no_or_unknown_command(self):
        self.fail_with(2)
        self.assertIn("did you mean 'quantize'", self.fail_with(2, "quantise"))
        self.assertIn("--help", self.fail_with(2, "frobnicate"))
        self.fail_with(2, "two\nlines")
        self.fail_with(2, "x" * 5000)

    def test_wrong_options(self):
        out = self.path("out")
        cases = [
            (["info", "--nonsense"], "unknown option '--nonsense'"),
            (["info", "-z"], "unknown option '-z'"),
            (["info", "-qz"], "unknown option '-z'"),
            (["info", "--json=3"], "takes no argument"),
            (["info", "--threads"], "--threads needs an argument"),
            (["info", "-f"], "--format needs an argument"),
            (["info", "--threads", "two"], "'two' is not a whole number"),
            (["info", "--threads", "-1"], "'-1' is not a whole number"),
            (["info", "--threads", "257"], "from 0 to 256"),
            (["info", "--threads", ""], "'' is not a whole number"),
            (["info", "--seed", "99999999999999999999999"], "is not a whole number"),
            (["info", "--threads", "1", "-t", "2"], "--threads is given twice"),
            (["info", "-q", "-q"], "--quiet is given twice"),
            (["info", "-f", "xml"], "accepted: text,md,csv,json"),
            (["info", "--json", "-f", "csv"], "exclude each other"),
            (["info", "--kernel", "nonsense"], "ref"),
            (["info", "--engine", "nonsense"], "native"),
            (["info", self.model, "more"], "'more' is one argument too many"),
            (["info", "--verify"], "give the file"),
            (["info", self.model, "--kernels"], "leave MODEL out"),
            (["info", self.model, "-b", "0"], "is not a whole number"),
            (["quantize", "-o", out], "MODEL is missing"),
            (["quantize", self.model], "--out FILE is missing"),
            (["quantize", self.model, "-o", out, "-o", out], "--out is given twice"),
            (["quantize", self.model, "-o", out, "--ranges", "x"], "accepted: dynamic,static"),
            (["quantize", self.model, "-o", out, "--granularity", "x"],
             "accepted: segment,tensor,row"),
            (["quantize", self.model, "-o", out, "--scheme", "x"], "accepted: affine,symmetric"),
            (["quantize", self.model, "-o", out, "--method", "median"], "accepted: max"),
            (["calibrate", self.model, "-o", out], "--data FILE is missing"),
            (["calibrate", self.model, "--data", self.data], "--out FILE is missing"),
            (["calibrate", "--data", self.data, "-o", out], "MODEL is missing"),
            (["run", self.model, "-o", out], "--input [NAME=]FILE is missing"),
            (["run", self.model, "--input", self.data], "--out FILE is missing"),
            (["run", self.model, "--input", self.data, "-o", out, "--batch", "0"],
             "is not a whole number from 1 to"),
        ]
        for arguments, expected in cases:
            with self.subTest(" ".join(arguments)):
                self.assertIn(expected, self.fail_with(2, *arguments))

    def test_a_kernel_that_this_cpu_lacks(self):
        for kernel in self.succeed_json("info")["kernels"]:
            if kernel["supported"]:
                self.succeed("info", "--kernel", kernel["name"])
            else:
                self.assertIn("this CPU", self.fail_with(2, "info", "--kernel", kernel["name"]))

    def test_an_engine_that_this_build_lacks(self):
        for engine in self.succeed_json("info")["engines"]:
            if engine["built"]:
                self.succeed("info", "--engine", engine["name"])
            else:
                message = self.fail_with(2, "info", "--engine", engine["name"])
                self.assertIn("this build lacks", message)

    def test_options_may_stand_anywhere_and_a_double_dash_ends_them(self):
        self.succeed("info", "--json", self.model, "-q")
        self.assertIn("-odd", self.fail_with(4, "info", "--", "-odd"))


class StandardOutput(CommandTest):
    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_a_full_disk_is_an_error(self):
        for arguments in [["--help"], ["info"], ["info", "--json"], ["info", self.model],
                          ["run", "--help"], ["info", self.model, "-f", "csv"]]:
            with self.subTest(" ".join(arguments)), open("/dev/full", "w") as full:
                message = self.fail_with(4, *arguments, stdout=full)
                self.assertIn("standard output", message)

    def test_a_closed_output_is_an_error_and_never_hits_a_file(self):
        out = self.path("int8.safetensors")
        result = run_command("quantize", self.model, "-o", out, "-q", stdout=None,
                             preexec_fn=lambda: os.close(1))
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)
        self.succeed("info", out, "--verify")

    def test_quiet_and_no_terminal_mean_no_progress(self):
        noisy = self.succeed("calibrate", self.model, "--data", self.data, "-o", self.path("c"))
        self.assertNotIn("\r", noisy.stderr)
        self.assertNotIn("\033", noisy.stdout + noisy.stderr)
        quiet = self.succeed("calibrate", self.model, "--data", self.data, "-o", self.path("c"),
                             "-q")
        self.assertEqual(quiet.stderr, "")

    def test_a_terminal_shows_progress_in_colour_only_if_wanted(self):
        arguments = ["calibrate", self.model, "--data", self.data, "-o", self.path("c")]
        for environment, options, bar, colour in [
                ({"TERM": "xterm", "NO_COLOR": ""}, [], True, True),
                ({"TERM": "xterm", "NO_COLOR": "1"}, [], True, False),
                ({"TERM": "xterm", "NO_COLOR": ""}, ["-q"], False, False),
                ({"TERM": "dumb", "NO_COLOR": ""}, [], False, False)]:
            with self.subTest(environment=environment, options=options):
                text = self.on_a_terminal([*arguments, *options], environment)
                self.assertEqual("calibrating" in text, bar, text)
                self.assertEqual("\033[" in text, colour, text)

    def on_a_terminal(self, arguments, environment):
        """What stderr shows when it is a terminal."""
        reader, writer = pty.openpty()
        with os.fdopen(reader, "rb", buffering=0) as shown:
            result = subprocess.run([DYNQ, *arguments], stdout=subprocess.DEVNULL, stderr=writer,
                                    env=dict(os.environ, **environment), check=False)
            os.write(writer, b"END")
            text = b""
            while not text.endswith(b"END"):
                text += shown.read(4096)
            os.close(writer)
        self.assertEqual(result.returncode, 0, text)
        return text.decode()


if __name__ == "__main__":
    unittest.main()
