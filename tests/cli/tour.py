"""Commands and their output in a Markdown file: run, compared, and written anew.

In a fenced block "console", a line that begins with "$ " is a command (a line that ends with a
backslash goes on in the next one), and the lines up to the next command or the fence are what it
prints, stdout and stderr together. There "..." stands for any text within a line, and a line of
"..." alone for any number of lines. Commands run in the order of the file, in one folder.

    python3 tests/cli/tour.py FILE     writes the outputs that differ anew; look at what changed

takes dynq from the environment variable DYNQ and data from the folders in the file.
"""

import os
import re
import subprocess
import sys
import tempfile

SOURCE_ROOT = os.environ.get("DYNQ_SOURCE_ROOT") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Step:
    """A command, the lines it is said to print, and where these begin and end in the file."""

    def __init__(self, command, first):
        self.command, self.expected = command, []
        self.first = self.last = first


def read_steps(lines):
    """The steps of a file given as its lines."""
    steps, inside, at = [], False, 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("```"):
            inside = line.strip() == "```console" and not inside
        elif inside and line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + lines[at]
                at += 1
            steps.append(Step(command, at))
        elif inside and steps:
            steps[-1].expected.append(line)
            steps[-1].last = at
    return steps


def matches(expected, printed):
    """Whether the printed lines are the expected ones, "..." being any text."""
    pattern = "".join(
        "(?:[^\n]*\n)*?" if line.strip() == "..." else
        "[^\n]*".join(map(re.escape, line.split("..."))) + "\n" for line in expected)
    return re.fullmatch(pattern, "".join(line + "\n" for line in printed)) is not None


class Runner:
    """Runs commands in a folder of its own, where `dynq` is the one that is tested."""

    def __init__(self, dynq):
        self.folder = tempfile.TemporaryDirectory()
        tools = os.path.join(self.folder.name, ".bin")
        os.mkdir(tools)
        os.symlink(os.path.abspath(dynq), os.path.join(tools, "dynq"))
        os.symlink(os.path.join(SOURCE_ROOT, "models"), os.path.join(self.folder.name, "models"))
        self.environment = dict(os.environ, PATH=tools + os.pathsep + os.environ["PATH"],
                                COLUMNS="80", LC_ALL="C.UTF-8", NO_COLOR="1")

    def run(self, command):
        """The lines that it prints; its exit status."""
        result = subprocess.run(["bash", "-c", command], cwd=self.folder.name,
                                env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                check=False)
        return [line.rstrip() for line in result.stdout.splitlines()], result.returncode

    def close(self):
        self.folder.cleanup()


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    runner = Runner(os.environ["DYNQ"])
    changed = []
    for step in read_steps(lines):
        printed, _ = runner.run(step.command)
        same = matches(step.expected, printed)
        print("same" if same else "NEW ", step.command)
        if not same:
            changed.append((step, printed))
    runner.close()
    for step, printed in reversed(changed):
        lines[step.first:step.last if step.expected else step.first] = printed
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


if __name__ == "__main__":
    main()
