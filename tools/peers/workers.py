"""The processes of the peers, and turns among them."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time

import catalogue
import minilm

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")

# The share of its CPUs that other programs may take during a measurement before it is tried again.
QUIET = 0.05
TRIES = 4


def busy_seconds(cpus):
    """What /proc/stat counts for these CPUs except idling."""
    total = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *ticks = line.split()
            if name in {f"cpu{cpu}" for cpu in cpus}:
                total += sum(map(int, ticks[:3] + ticks[5:8]))
    return total / TICKS


class Failed(Exception):
    pass


class Worker:
    def __init__(self, name, threads, cpus):
        self.name, self.cpus = name, cpus
        self.kind = catalogue.find(name).kind
        self.label = os.path.basename(name.partition("=")[2]).removesuffix(".safetensors") or name
        if name.startswith("dynq-"):
            self.label += " (" + name[5:].partition("=")[0] + ")"
        self.disturbed = []
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with open(minilm.folder("log", f"worker-{self.label}.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [
                    minilm.folder("venv", "bin", "python"),
                    os.path.join(HERE, "worker.py"),
                    name,
                    str(threads),
                    ",".join(map(str, cpus)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                bufsize=1,
            )
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if line:
            result = json.loads(line)
        else:
            result = {"error": f"the process ended with {self.process.wait()}"}
        if "error" in result:
            raise Failed(f"{self.label}: {result['error']}")
        return result

    def ask(self, question, **values):
        self.process.stdin.write(json.dumps({"ask": question, **values}) + "\n")
        return self.answer()

    def measure(self, question, **values):
        """Milliseconds of the quietest of a few tries, which ends them when it was quiet enough."""
        tries = []
        while not tries or (min(tries)[0] > QUIET and len(tries) < TRIES):
            time.sleep(0.25)  # threads of the peer before spin for a while
            before, start = busy_seconds(self.cpus), time.perf_counter()
            result = self.ask(question, **values)
            wall = (time.perf_counter() - start) * len(self.cpus)
            others = busy_seconds(self.cpus) - before - result["cpu"]
            tries.append((max(0.0, others) / wall, len(tries), result["ms"]))
        share, _, samples = min(tries)
        self.disturbed.append(share)
        return samples

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def alone(path):
    """Holds the lock at `path`, if one is named, so that those who share a machine take turns."""
    if not path:
        yield
        return
    with open(path, "a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(names, threads, cpus):
    """The peers that could be loaded."""
    workers = []
    for name in names:
        try:
            workers.append(Worker(name, threads, cpus))
        except Failed as error:
            print(error, file=sys.stderr)
    return workers


def rounds(workers, count):
    """In each round every worker has a turn, in reversed order every other time."""
    for number in range(count):
        yield workers if number % 2 == 0 else workers[::-1]


def quietness(workers):
    shares = [share for worker in workers for share in worker.disturbed]
    return (
        f"Other programs took {100 * sum(shares) / len(shares):.1f} % of the CPUs measured on, "
        f"{100 * max(shares):.0f} % at worst."
    )
