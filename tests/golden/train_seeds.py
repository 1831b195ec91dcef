#!/usr/bin/env python3
"""What training for few bits is worth: the table of BENCHMARKS.md, "Training for few bits".

    DYNQ=build/tools/dynq tests/golden/train_seeds.py FOLDER [SEED...]

For each seed (1 to 5) an FP32 network is trained on Fashion-MNIST, trained further for weights of 4
and of 2 bits, and rounded to them without training; the ordinary engine then runs all of them on the
test images. FOLDER receives the models, and those that it has are not made again.
"""

import json
import os
import statistics
import subprocess
import sys

DYNQ = os.environ.get("DYNQ", "dynq")
FASHION = "/usr/share/datasets/fashion-mnist"
# Chosen by accuracy on the last 10,000 training images, see models/README.md.
RECIPE = ["--epochs", "10"]
# Without training: equal steps, and levels chosen by k-means.
ROUNDED = {"rounded": [], "clusters": ["--levels", "clusters"]}


def dynq(*arguments):
    result = subprocess.run([DYNQ, *arguments, "--json", "-q"], check=True, text=True,
                            stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def train(path, seed, *options):
    """The seconds it took and the accuracy that training saw; remembered beside the model."""
    if not os.path.exists(path + ".json"):
        report = dynq("train", "--data", FASHION, "--seed", str(seed), "--threads", "2", "-o", path,
                      *options)
        with open(path + ".json", "w", encoding="utf-8") as file:
            json.dump({key: report[key] for key in ["test_accuracy", "seconds"]}, file)
    with open(path + ".json", encoding="utf-8") as file:
        return json.load(file)


def run_seed(folder, seed):
    """Accuracy in percent by name of the way."""
    paths = {"fp32": os.path.join(folder, "fp32-%d.safetensors" % seed)}
    trained = {"fp32": train(paths["fp32"], seed)}
    for weights in ["int4", "int2"]:
        name = weights + " trained"
        paths[name] = os.path.join(folder, "%s-trained-%d.safetensors" % (weights, seed))
        trained[name] = train(paths[name], seed, "--from", paths["fp32"], "--weights", weights,
                              *RECIPE)
        for way, options in ROUNDED.items():
            name = "%s %s" % (weights, way)
            paths[name] = os.path.join(folder, "%s-%s-%d.safetensors" % (weights, way, seed))
            dynq("quantize", paths["fp32"], "-o", paths[name], "--weights", weights,
                 "--granularity", "row", *options)
    report = dynq("compare", *paths.values(), "--data", FASHION + "/t10k-images-idx3-ubyte.gz",
                  "--labels", FASHION + "/t10k-labels-idx1-ubyte.gz", "--repeat", "1")
    scores = {name: 100 * variant["accuracy"]
              for name, variant in zip(paths, report["variants"], strict=True)}
    for name, seen in trained.items():
        difference = abs(scores[name] - 100 * seen["test_accuracy"])
        print("seed %d, %-14s %5.2f %%, in training %5.2f %%, %3.0f s"
              % (seed, name, scores[name], 100 * seen["test_accuracy"], seen["seconds"]))
        if difference > 0.1:
            sys.exit("the engine's accuracy is %.2f points from training's" % difference)
    return scores


def main():
    folder, seeds = sys.argv[1], [int(seed) for seed in sys.argv[2:]] or [1, 2, 3, 4, 5]
    os.makedirs(folder, exist_ok=True)
    runs = [run_seed(folder, seed) for seed in seeds]
    print("\n| weights | mean | spread | worst loss to FP32 of the same seed |")
    print("| --- | --- | --- | --- |")
    for name in runs[0]:
        values = [run[name] for run in runs]
        loss = max(run["fp32"] - run[name] for run in runs)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print("| %s | %.2f %% | %.2f | %.2f |" % (name, statistics.mean(values), spread, loss))


if __name__ == "__main__":
    main()
