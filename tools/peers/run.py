"""Measures dynq and its peers in the same rounds and prints Markdown tables.

    run.py latency|ragged|accuracy|startup [PEER...]

See README.md beside this file."""

import argparse
import os
import statistics
import subprocess
import sys
import time

import catalogue
import tables
from workers import Failed, alone, quietness, rounds, start

SENTENCE = "A small library that runs sentence encoders in INT8 on ordinary CPUs.\n"
SENTENCE_IDS = [101, *range(2000, 2014), 102]
GROUPS = "64,32,16,8,4,2,1"


def measured(args, workers, question, **values):
    """Worker -> samples of all rounds."""
    samples = {worker: [] for worker in workers}
    for turns in rounds(workers, args.rounds):
        with alone(args.lock):
            for worker in turns:
                samples[worker] += worker.measure(question, seconds=args.seconds, least=2, **values)
    return samples


def peaks(args, workers):
    """Operations a second that the instructions allow, as dynq measures them; None without dynq."""
    found = [worker for worker in workers if worker.name.startswith("dynq")]
    if not found:
        return None
    with alone(args.lock):
        return {
            kind: max(found[0].ask("peak", precision=kind)["rate"] for _ in range(args.rounds))
            for kind in ("int8", "fp32")
        }


def latency(args, workers):
    cells = [tuple(map(int, cell.split("x"))) for cell in args.cells.split(",")]
    limits = [peaks(args, workers)]
    samples = {}
    for batch, tokens in cells:
        samples[batch, tokens] = measured(args, workers, "cell", batch=batch, tokens=tokens)
        limits.append(peaks(args, workers))
    print(tables.latency(args.threads, workers, samples))
    best = limits[0] and {kind: max(each[kind] for each in limits) for kind in limits[0]}
    print(tables.ratios(workers, samples, best))
    print(quietness(workers))


def ragged(args, workers):
    groups = sorted(map(int, args.groups.split(",")), reverse=True)
    lengths = workers[0].ask("lengths")["lengths"]
    samples = {group: measured(args, workers, "texts_in", group=group) for group in groups}
    agreement = {worker: worker.ask("agreement") for worker in workers}
    print(tables.ragged(args.threads, workers, lengths, samples, agreement))
    print(quietness(workers))


def accuracy(args, workers):
    with alone(args.lock):
        print(tables.accuracy(workers, {worker: worker.ask("accuracy") for worker in workers}))


def started_worker(args, name):
    begin = time.perf_counter()
    workers = start([name], 1, args.cpus)
    if not workers:
        return None
    resident = workers[0].ask("first", ids=SENTENCE_IDS)["resident_mb"]
    seconds = time.perf_counter() - begin
    workers[0].close()
    return workers[0].label, seconds, resident


def started_command(model):
    """`dynq embed` from its start to its end: the tokenizer is part of that."""
    command = [os.path.join(os.environ["DYNQ_BUILD"], "tools", "dynq"), "embed", model]
    with open(os.devnull, "wb") as nothing:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nothing)
        process.stdin.write(SENTENCE.encode())
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        print(f"{' '.join(command)}: exit code {process.returncode}", file=sys.stderr)
        return None
    return f"dynq embed {os.path.basename(model)}", seconds, usage.ru_maxrss * 1024 / 1e6


def startup(args):
    """Not interleaved with anything: each peer is started alone, a round of all after the other."""
    os.sched_setaffinity(0, args.cpus)  # what is started inherits it
    starts = {}
    for _ in range(args.rounds):
        with alone(args.lock):
            for name in ["python", *args.peers]:
                results = [started_worker(args, name)]
                if name.startswith("dynq="):
                    results.append(started_command(name.partition("=")[2]))
                for label, seconds, resident in filter(None, results):
                    starts.setdefault(label, []).append((seconds, resident))
    rows = []
    for label, values in starts.items():
        seconds = [value[0] for value in values]
        resident = statistics.median(value[1] for value in values)
        rows.append((label, 1e3 * min(seconds), 1e3 * statistics.median(seconds), resident))
    print(tables.startup(rows))


def arguments():
    usable = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description="dynq and its peers in the same rounds")
    parser.add_argument("mode", choices=["latency", "ragged", "accuracy", "startup"])
    parser.add_argument("peers", nargs="*", metavar="PEER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpus", help="CPUs to stay on, with commas (default: the last ones)")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.7, help="of a peer's turn")
    parser.add_argument("--cells", default="1x16,1x128,1x256,8x128", help="SENTENCESxTOKENS,...")
    parser.add_argument("--groups", default=GROUPS, help="ragged: sentences in a batch, N,...")
    parser.add_argument("--build", help="dynq's build folder (default: build of this repository)")
    parser.add_argument("--lock", metavar="FILE", help="hold a lock on FILE while measuring")
    args = parser.parse_intermixed_args()
    args.cpus = [int(cpu) for cpu in args.cpus.split(",")] if args.cpus else usable[-args.threads :]
    args.peers = args.peers or list(catalogue.PEERS)
    for name in args.peers:
        catalogue.find(name)
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ["DYNQ_BUILD"] = os.path.abspath(args.build or os.path.join(here, "../../build"))
    return args


def main():
    args = arguments()
    if args.mode == "startup":
        startup(args)
        return
    with alone(args.lock):
        workers = start(args.peers, args.threads, args.cpus)
    try:
        {"latency": latency, "ragged": ragged, "accuracy": accuracy}[args.mode](args, workers)
    except Failed as error:
        sys.exit(str(error))
    finally:
        for worker in workers:
            worker.close()


main()
