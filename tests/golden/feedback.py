#!/usr/bin/env python3
"""Error-feedback rounding in numpy, in its textbook form: one column of the weights after the other, the
inverse of what is left of the matrix made smaller step by step, no Cholesky factor and no blocks. Writes
feedback.txt for tests/test_feedback.c, which makes the same weights and inputs."""
import os
import sys

import numpy as np

K, N, ROWS = 150, 70, 400
DEAD = 7
DAMPING, TURNS = 0.01, 3


def fill(count, seed):
    """samples_fill() of the tests."""
    state = (seed * 2654435761 + 1) % 2**32
    out = np.empty(count, dtype=np.float32)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        out[i] = np.float32((state >> 8) / 8388608.0 - 1.0)
    return out


def make_data():
    weights = fill(N * K, 3).reshape(N, K)
    inputs = fill(ROWS * K, 4).reshape(ROWS, K)
    for i in range(1, K):  # neighbours are alike
        inputs[:, i] = np.float32(0.5) * inputs[:, i] + np.float32(0.75) * inputs[:, i - 1]
    inputs[:, DEAD] = 0
    return weights, inputs.astype(np.float64).T @ inputs.astype(np.float64)


class Grid:
    """Levels times a step for each group of inputs of a column."""

    def __init__(self, weights, levels, group, largest, halves):
        self.levels = np.array(levels, dtype=np.float32)
        self.group, self.halves = group, halves
        groups = -(-K // group)
        self.step = np.empty((N, groups), dtype=np.float32)
        for g in range(groups):
            far = np.abs(weights[:, g * group:(g + 1) * group]).max(axis=1)
            self.step[:, g] = far / np.float32(largest)
        self.scale = self.step.max(axis=1)
        if halves:
            for g in range(groups):
                self.step[:, g] = self.storable(self.step[:, g])

    def storable(self, step):
        if not self.halves:
            return step.astype(np.float32)
        return (step.astype(np.float32) / self.scale).astype(np.float16).astype(np.float32) * self.scale

    def numbers(self, wanted, i):
        x = wanted.astype(np.float32) / self.step[:, i // self.group]
        return np.abs(x[:, None].astype(np.float64) - self.levels.astype(np.float64)).argmin(axis=1)

    def values(self, numbers, i):
        return (self.levels[numbers] * self.step[:, i // self.group]).astype(np.float64)


def feedback(weights, matrix, grid):
    order = np.argsort(-np.diag(matrix), kind="stable")
    damped = matrix + DAMPING * np.trace(matrix) / K * np.eye(K)
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    left = weights[:, order].astype(np.float64)
    numbers = np.empty((N, K), dtype=int)
    for j, i in enumerate(order):
        numbers[:, i] = grid.numbers(left[:, j], i)
        error = (left[:, j] - grid.values(numbers[:, i], i)) / inverse[j, j]
        left -= np.outer(error, inverse[j])
        inverse -= np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return numbers, order, damped


def restore(grid, numbers):
    return np.stack([grid.values(numbers[:, i], i) for i in range(K)], axis=1)


def take_turns(weights, damped, order, grid, numbers):
    """Steps, then numbers, each the best for all the others as they are."""
    for _ in range(TURNS):
        for first in range(0, K, grid.group):
            part = slice(first, min(K, first + grid.group))
            level = grid.levels[numbers[:, part]].astype(np.float64)
            pull = (weights - restore(grid, numbers)) @ damped
            along = (level * pull[:, part]).sum(axis=1)
            energy = ((level @ damped[part, part]) * level).sum(axis=1)
            g = first // grid.group
            grid.step[:, g] = grid.storable(grid.step[:, g].astype(np.float64) + along / energy)
        for i in order:
            pull = (weights - restore(grid, numbers)) @ damped[:, i]
            numbers[:, i] = grid.numbers(grid.values(numbers[:, i], i) + pull / damped[i, i], i)


def main():
    weights, matrix = make_data()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "feedback.txt")
    with open(path, "w", encoding="ascii") as file:
        for name, levels, group, largest, halves in [
                ("int8", range(-127, 128), K, 127, False),
                ("int4", range(-8, 8), 32, 7, True),
                ("table", [-127, -40, 45, 127], K, 127, False)]:
            grid = Grid(weights, levels, group, largest, halves)
            numbers, order, damped = feedback(weights, matrix, grid)
            if len(levels) <= 16:
                take_turns(weights, damped, order, grid, numbers)
            if name != "table":
                numbers = numbers + levels[0]
            file.write(name + "\n")
            for c in range(N):
                file.write(" ".join(str(x) for x in numbers[c]) + "\n")
                file.write(" ".join("%.9g" % x for x in grid.step[c]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
