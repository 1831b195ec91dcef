"""One peer in a process of its own: worker.py PEER THREADS CPUS

Reads questions as lines of JSON from stdin and answers each with a line on stdout; the first line
says that the engine is loaded. CPUS: the numbers of the CPUs to stay on, with commas."""

import json
import os
import sys
import time

# A second run to warm up is for those that are done by then.
WARM_SECONDS = 0.2


class Worker:
    def __init__(self, name, threads):
        import catalogue
        import engines

        self.threads = threads
        peer = catalogue.find(name)
        self.engine = getattr(engines, peer.engine)(threads, **peer.arguments)
        self.prepared = {}
        self.texts = None

    def ragged(self):
        import minilm

        self.texts = self.texts or minilm.Texts()
        return self.texts.ragged()

    def embed(self, sentences):
        return self.engine.vectors(self.engine.prepare(sentences)(), sentences)

    def time(self, calls, seconds, least):
        """Runs all of `calls` again and again; the milliseconds of each time."""
        warm = time.perf_counter() + WARM_SECONDS
        for _ in range(2):
            for call in calls:
                call()
            if time.perf_counter() > warm:
                break
        samples = []
        cpu, start = time.process_time(), time.perf_counter()
        while len(samples) < least or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            for call in calls:
                call()
            samples.append(1e3 * (time.perf_counter() - before))
        return {"ms": samples, "cpu": time.process_time() - cpu}

    def cell(self, batch, tokens, **limits):
        """Sentences of equal length."""
        import numpy as np

        key = batch, tokens
        if key not in self.prepared:
            ids = np.random.default_rng(tokens).integers(1000, 30000, key)
            self.prepared[key] = [self.engine.prepare(list(ids))]
        return self.time(self.prepared[key], **limits)

    def texts_in(self, group, **limits):
        """The ragged texts in batches of `group`, of neighbours in length."""
        if group not in self.prepared:
            order = sorted(self.ragged(), key=len)
            parts = [order[i : i + group] for i in range(0, len(order), group)]
            self.prepared[group] = [self.engine.prepare(part) for part in parts]
        return self.time(self.prepared[group], **limits)

    def agreement(self):
        """Each ragged text alone against all in one batch."""
        import numpy as np

        texts = self.ragged()
        together = self.embed(texts)
        alone = np.array([self.embed([text])[0].copy() for text in texts])
        same = sum(a.tobytes() == b.tobytes() for a, b in zip(alone, together.astype(alone.dtype)))
        return {"same": same, "of": len(texts), "cosine": float((alone * together).sum(1).min())}

    def accuracy(self):
        import numpy as np

        import minilm

        texts = minilm.Texts()
        cosines = []
        for text, truth in zip(texts.accuracy(), texts.truth):
            vector = self.embed([text])[0].astype(np.float64)
            cosines.append(float(vector @ truth / np.linalg.norm(vector)))
        return {"mean": sum(cosines) / len(cosines), "worst": min(cosines)}

    def first(self, ids):
        import numpy as np

        width = len(self.embed([np.array(ids)])[0])
        with open("/proc/self/status", encoding="ascii") as file:
            peak = next(line for line in file if line.startswith("VmHWM"))
        return {"width": width, "resident_mb": int(peak.split()[1]) / 1000}

    def peak(self, precision):
        return {"rate": self.engine.library.peak(precision, self.threads)}

    def lengths(self):
        return {"lengths": [len(text) for text in self.ragged()]}


def main():
    name, threads, cpus = sys.argv[1:]
    os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what engines print does not mix with the answers

    def answer(work):
        try:
            answers.write(json.dumps(work()) + "\n")
        except Exception as error:  # the driver says it
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")

    worker = None

    def load():
        nonlocal worker
        worker = Worker(name, int(threads))
        return {}

    answer(load)
    for line in sys.stdin:
        question = json.loads(line)
        answer(lambda: getattr(worker, question.pop("ask"))(**question))


main()
