"""Timing: in turn, the same photos, the fastest round."""

import pytest

from pipeline.experiments import compare as speed
from pipeline.experiments.compare import ROUNDS, time_systems
from pipeline.experiments.systems import SystemData


class Clock:
    """Time goes on only when a net says so."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Slow:
    """Takes the next of its times for every photo."""

    def __init__(self, clock, times, log, name):
        self.clock, self.times, self.log, self.name = clock, times, log, name
        self.seen = []

    def __call__(self, photos):
        self.log.append(self.name)
        self.seen.append(len(photos))
        self.clock.now += self.times[len(self.seen) % len(self.times)] * len(photos)
        return [[] for _ in photos]


def test_fastest_round_of_each_in_turn(prepared, monkeypatch):
    clock, log = Clock(), []
    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(speed, "PHOTOS", 4)
    nets = {
        "a": Slow(clock, [0.5, 0.2, 0.9], log, "a"),
        "b": Slow(clock, [3.0], log, "b"),
    }
    seconds = time_systems(nets, SystemData.open(prepared))
    assert seconds == {"a": pytest.approx(0.2), "b": pytest.approx(3.0)}
    assert log == ["a", "b"] * ROUNDS
    assert nets["a"].seen == [4] * ROUNDS
