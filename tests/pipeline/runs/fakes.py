"""Trackers' packages that keep what they are told, for `sys.modules`."""

from types import ModuleType, SimpleNamespace


class FakeWandb(ModuleType):
    """As much of wandb as fastai's callback and ours use."""

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("wandb")
        self.rows, self.inits, self.told, self.finished = [], [], {}, 0
        self.run = None
        self.config = SimpleNamespace(update=self._update)

    def _update(self, params, **_):
        self.told.update(params)

    def init(self, **options):
        self.inits.append(options)
        self.run = SimpleNamespace(
            step=0, summary={}, config=self.config, log=self.log, finish=self._finish
        )
        return self.run

    def log(self, metrics, step=None):
        if metrics:
            assert step is None or step >= self.run.step, "a step that lies behind is lost"
            self.run.step = self.run.step if step is None else step
            self.run.summary.update(metrics)
            self.rows.append((step, dict(metrics)))

    def _finish(self):
        self.finished += 1


class FakeTrackio(ModuleType):
    """As much of Trackio as ours uses."""

    def __init__(self):
        super().__init__("trackio")
        self.rows, self.inits, self.finished = [], [], 0

    def init(self, **options):
        self.inits.append(options)

    def log(self, metrics, step):
        self.rows.append((step, dict(metrics)))

    def finish(self):
        self.finished += 1


class FakeMlflow(ModuleType):
    """As much of MLflow as ours uses."""

    def __init__(self):
        super().__init__("mlflow")
        self.rows, self.runs, self.params, self.finished = [], [], {}, 0

    def set_experiment(self, name):
        self.experiment = name

    def start_run(self, **options):
        self.runs.append(options)

    def log_params(self, params):
        self.params.update(params)

    def log_metrics(self, metrics, step):
        self.rows.append((step, dict(metrics)))

    def end_run(self):
        self.finished += 1
