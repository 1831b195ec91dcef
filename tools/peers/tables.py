"""What was measured, as Markdown."""

import statistics

import minilm


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def plural(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(samples):
    return f"{min(samples):.2f} / {statistics.median(samples):.2f}"


def latency(threads, workers, samples):
    cells = [f"{batch} x {tokens}" for batch, tokens in samples]
    rows = [
        [worker.label, *(shown(samples[cell][worker]) for cell in samples)] for worker in workers
    ]
    return f"Milliseconds, least / median, {plural(threads, 'thread')}\n\n" + table(
        ["sentences x tokens", *cells], rows
    )


def floor(batch, tokens, peaks):
    """Milliseconds of the linear layers' operations at the INT8 peak and those of attention's two
    products at the FP32 peak."""
    linear = 2 * (4 * minilm.WIDTH**2 + 2 * minilm.WIDTH * minilm.INNER)
    attention = 2 * 2 * tokens * minilm.WIDTH
    rows = batch * tokens * minilm.LAYERS
    return 1e3 * rows * (linear / peaks["int8"] + attention / peaks["fp32"])


def best(workers, kind, samples, measure):
    """The fastest peer of a kind: its time and name."""
    found = [(measure(samples[worker]), worker.label) for worker in workers if worker.kind == kind]
    return min(found, default=None)


def ratios(workers, samples, peaks):
    """dynq beside the floor and the fastest peer of each kind; nothing without dynq."""
    rows = []
    for ours in (worker for worker in workers if worker.kind == "dynq"):
        for (batch, tokens), cell in samples.items():
            least = min(cell[ours])
            rows.append(
                [
                    ours.label,
                    f"{batch} x {tokens}",
                    f"{least / floor(batch, tokens, peaks):.2f}",
                    *(faster(workers, kind, cell, ours) for kind in ("dynamic", "static", "fp32")),
                ]
            )
    if not rows:
        return ""
    rates = f"peaks: INT8 {peaks['int8'] / 1e9:.0f} GOPS, FP32 {peaks['fp32'] / 1e9:.0f} GFLOPS"
    head = ["dynq", "cell", "times the floor", "best dynamic", "best static", "best FP32"]
    return f"Times as fast as the best peer, by least / median times; {rates}\n\n" + table(
        head, rows
    )


def faster(workers, kind, cell, ours):
    least = best(workers, kind, cell, min)
    if least is None:
        return "-"
    middle = best(workers, kind, cell, statistics.median)
    by_least = least[0] / min(cell[ours])
    by_median = middle[0] / statistics.median(cell[ours])
    names = least[1] if least[1] == middle[1] else f"{least[1]}, {middle[1]}"
    return f"{by_least:.2f} / {by_median:.2f} ({names})"


def ragged(threads, workers, lengths, samples, agreement):
    named = {len(lengths): "one batch", 1: "one by one"}
    groups = [named.get(group, f"by {group}") for group in samples]
    rows = []
    for worker in workers:
        best_group = min(samples, key=lambda group: statistics.median(samples[group][worker]))
        cells = []
        for group in samples:
            cell = shown(samples[group][worker])
            cells.append(f"**{cell}**" if group == best_group else cell)
        answers = agreement[worker]
        same = f"{answers['same']} of {answers['of']}, {answers['cosine']:.4f}"
        rows.append([worker.label, *cells, same])
    text = (
        f"{len(lengths)} sentences of {min(lengths)} to {max(lengths)} tokens (median "
        f"{statistics.median(lengths):.0f}, sum {sum(lengths)}), {plural(threads, 'thread')}: "
        "milliseconds for all, least / median, in batches of neighbours in length. Last: how many "
        "embeddings have the same bits alone and in one batch, and the worst cosine between the "
        "two.\n\n"
    )
    text += table(["peer", *groups, "alone = in a batch"], rows)
    return text + ragged_ratios(workers, samples)


def ragged_ratios(workers, samples):
    """One call of dynq against every peer at its best."""
    text = ""
    least = {worker: [min(min(samples[group][worker]) for group in samples)] for worker in workers}
    middle = {
        worker: [min(statistics.median(samples[group][worker]) for group in samples)]
        for worker in workers
    }
    whole = max(samples)
    for ours in (worker for worker in workers if worker.kind == "dynq"):
        for kind in ("dynamic", "static", "fp32"):
            fastest, usual = (best(workers, kind, each, min) for each in (least, middle))
            if fastest:
                by_least = fastest[0] / min(samples[whole][ours])
                by_median = usual[0] / statistics.median(samples[whole][ours])
                text += (
                    f"\n{ours.label} in one call is {by_least:.2f} / {by_median:.2f} times as fast "
                    f"as the best {kind} peer at its best ({usual[1]}).\n"
                )
    return text


def accuracy(workers, results):
    rows = [[w.label, f"{results[w]['mean']:.5f}", f"{results[w]['worst']:.5f}"] for w in workers]
    title = f"Cosine to float64, sentence embeddings of {minilm.ACCURACY_TEXTS} texts\n\n"
    return title + table(["peer", "mean", "worst"], rows)


def startup(rows):
    title = "From process start to the first embedding, one thread, files in the page cache\n\n"
    head = ["peer", "ms, least", "ms, median", "peak resident, MB"]
    return title + table(head, [[row[0], *(f"{value:.0f}" for value in row[1:])] for row in rows])
