"""TriMask, the measures: predictions against annotations.

>>> import evaluate
>>> report = evaluate.evaluate("annotations", "out/predictions.csv")  # doctest: +SKIP
>>> report.metrics["map50"], report.to_frame(), report.save("report")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluate.evaluation import EvaluateOptions, Evaluation, evaluate

__all__ = ["EvaluateOptions", "Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    """The call and its records, imported when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evaluate import evaluation

    return getattr(evaluation, name)
