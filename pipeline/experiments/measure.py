"""Figures of nets on the photos and crops of a prepared folder, with intervals by photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer

from data_prep.base import files
from data_prep.base.boxes import SIDES, BoxOffsets
from data_prep.base.command import spell
from data_prep.base.errors import DatasetError
from data_prep.base.photo import read_photo
from data_prep.base.progress import log, show_progress, tell
from data_prep.base.records import Box
from data_prep.base.tables import KEY, markdown_table, read_faces
from data_prep.formats import predictions as tables
from data_prep.grouping.split import TRAIN, VALID
from evaluate.evaluation import evaluate, read_case
from evaluate.inputs.predictions import Predictions, make_predictions
from evaluate.measures.alignment import LEAST_FACES, fit_offsets, pair_boxes
from evaluate.measures.headline import SIGNS, describe_headline
from evaluate.options import METRICS_FILE, EvaluateOptions
from evaluate.report.outputs import REPORT
from pipeline.experiments.tables import name_photos, show_figure
from pipeline.inference.classifier import Classifier
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import list_rows
from pipeline.inference.sinks import Entry
from pipeline.inference.sources import PhotoSet, find_only_photos
from pipeline.inference.unsure import fit_sets
from pipeline.nets.cards import ClassifierCard, DetectorCard, WeightsError, read_card
from pipeline.nets.learnt import KnownPhotos
from pipeline.nets.options import CLASSIFIER, DETECTOR, find_net, find_weights
from pipeline.runs.folder import PreparedError, identify_data
from pipeline.runs.options import ClassifyOptions, FitBoxesOptions, MeasureOptions
from pipeline.training.short import PreparedFaces, label_codes, label_names

THRESH = 0.02  # AP needs the whole curve, down to doubtful detections.

NAMES = {**SIGNS, "face_recall": "faces found at any score", "macro_recall": "macro recall"}


@dataclass(frozen=True)
class PreparedData(PreparedFaces):
    """All faces of a prepared folder, their crops relative to it."""

    @classmethod
    def open(cls, folder: Path, *outs: Path) -> PreparedData:
        """Read a prepared folder; raises `PreparedError`, or `TableError` for its table."""
        data, roots = identify_data(folder, *outs)
        return cls(folder, read_faces(folder), float(data["options"]["scale"]), data, roots)

    @property
    def valid(self) -> dict[str, pd.DataFrame]:
        """The validation faces of each source that has any, sorted by their keys."""
        faces = self.table[self.table["split"] == VALID].sort_values(list(KEY))
        return {str(name): rows.reset_index(drop=True) for name, rows in faces.groupby("source")}

    def hold_out(self, known: KnownPhotos) -> PreparedData:
        """The same with the photos that nets did not learn from as its validation split."""
        images = self.table.groupby("source")["image"].unique()
        photos = (PhotoSet(self.roots[str(name)], tuple(some)) for name, some in images.items())
        seen = [
            (source, frame.name)
            for source, frames in zip(images.index, photos, strict=True)
            for frame in show_progress(frames, len(frames), f"{source}: photos looked up")
            if known.tell(frame.fingerprint)
        ]
        is_seen = pd.MultiIndex.from_frame(self.table[["source", "image"]]).isin(seen)
        return replace(self, table=self.table.assign(split=np.where(is_seen, TRAIN, VALID)))

    def list_valid(self, source: str) -> PhotoSet:
        """The validation photos of a source."""
        return PhotoSet(self.roots[source], tuple(sorted(set(self.valid[source]["image"]))))


def predict_photos(predictor: Predictor, photos: PhotoSet) -> Predictions:
    """What the nets find on photos."""
    rows: list[tables.PredictionRow] = []
    ran: list[tables.PhotoRow] = []
    for frame, faces in predictor.predict(show_progress(photos, len(photos), "photos")):
        rows += list_rows(frame.name, faces, frame.orientation)
        ran.append(Entry.of(frame, faces).photo)
    return make_predictions(tables.tabulate_predictions(rows), Path("predictions"), tuple(ran))


def classify_faces(
    classifier: Classifier, faces: pd.DataFrame, folder: Path
) -> list[tables.PredictionRow]:
    """What a classifier tells of annotated faces of a folder, as if a detector had found them."""
    found = classifier.classify([read_photo(folder / crop).pixels for crop in faces["crop"]])
    photos, boxes = name_photos(faces), faces[[*Box._fields]].to_numpy()
    labels = label_names(found.argmax(axis=1))
    return [
        tables.PredictionRow(photo, Box(*box), label, max(shares), 1.0, tuple(shares))
        for photo, box, label, shares in zip(photos, boxes, labels, found.tolist(), strict=True)
    ]


def measure_source(
    prepared: Path,
    source: str,
    found: Predictions,
    crops: Predictions,
    *,
    split: str | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """The figures of one source of a prepared folder, on one split or the photos that were run.

    `found` are predictions on its photos, from a detection score of `THRESH` on, `crops` what the
    classifier tells of the annotated boxes. The folder `report` gets a whole evaluation, as
    `python -m evaluate` writes it.

    Returns:
        `photos`, `faces`, and under `both_stages`, `detector_alone` and `classifier_alone` figures
        as [value, low, high] with 95 % bootstrap intervals by photo.
    """
    options = EvaluateOptions(
        split=split, source=source, only_predicted=not split and found.ran is not None
    )
    cases = [read_case(prepared, one, options) for one in (found, crops)]
    both, alone = map(describe_headline, cases)
    if report is not None:
        evaluation = evaluate(prepared, found, options, crops=crops)
        evaluation.metrics["inputs"]["predictions"] = f"both stages, detections from {THRESH}"
        evaluation.save(report)
    return {
        "photos": len(cases[0].truth.photos),
        "faces": len(cases[0].truth.labels),
        "both_stages": pick_figures(
            both, "map50", "map75", "map50_95", "ap50", "accuracy", "macro_recall"
        ),
        "detector_alone": pick_figures(both, "face_ap50", "face_ap75", "face_recall"),
        "classifier_alone": pick_figures(alone, "accuracy", "macro_recall", "recall"),
    }


def pick_figures(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Figures of an evaluation by name, those by class each, as [value, low, high]; or None."""

    def pick(value: Any, ends: Any) -> Any:
        if isinstance(value, dict):
            return {key: pick(one, ends[key]) for key, one in value.items()}
        numbers = np.array([value, *(ends or [None])], float)
        return None if np.isnan(numbers).any() else [round(float(one), 4) for one in numbers]

    return {name: pick(record[name], record["intervals"][name]) for name in names}


def measure_weights(options: MeasureOptions, predictor: Predictor | None = None) -> dict[str, Any]:
    """Run both stages over the validation photos of each source, and the classifier on its crops.

    Gives the figures of each source, see `measure_source`, the split, the hash of the faces, and
    the `sets` that follow from them; of the `predictor`, if there is one, instead of the weights.
    """
    reports = options.reports
    outs = [reports, options.weights if options.write else None]
    data = PreparedData.open(options.prepared, *(out for out in outs if out))
    if reports:  # What can't be written is told before all is measured.
        for source in data.roots:
            files.refuse_other_files(reports, f"{source}/{METRICS_FILE}", "--reports", beside=True)
            files.refuse_other_files(reports / source, METRICS_FILE, "--reports")
        files.make_folder(reports)
    predictor = predictor or Predictor.load(options.weights, device=options.device, thresh=THRESH)
    assert predictor.classifier is not None
    log(f"nets: {predictor.origin}")
    learnt_from = predictor.classifier.card.training.get("data", {}).get("faces_sha256")
    known = data.data["faces_sha256"]
    if "refit" in predictor.classifier.card.training and not (options.unseen or options.learnt):
        valid = data.table["split"] == VALID
        if (valid & (data.hold_out(predictor.known).table["split"] != VALID)).any():
            hint = "or other photos with --unseen, or these all the same with --learnt."
            why = f"learnt from validation photos, too. Measure the run that it repeats, {hint}"
            raise WeightsError(f"{predictor.origin}: {why}")
    if options.unseen:
        data = data.hold_out(predictor.known)
        if not data.valid:
            raise PreparedError(f"{data.folder}: the nets learnt from all photos of it.")
    elif learnt_from != known:
        may = "may have learnt from photos that are measured here: --unseen measures on the others."
        log(f"note: the weights were not trained on this split; they {may}")
    split = None if options.unseen else VALID
    results: dict[str, Any] = {"split": split or "unseen", "faces_sha256": known}
    answers: list[tuple[float, ...]] = []
    for source, faces in data.valid.items():
        log(f"{source}: {tell(faces['image'].nunique())}, {tell(len(faces), 'face')}")
        found = predict_photos(predictor, data.list_valid(source))
        rows = classify_faces(predictor.classifier, faces, data.folder)
        crops = make_predictions(tables.tabulate_predictions(rows), Path("crops"))
        answers += [row.probabilities for row in rows]
        report = None if reports is None else reports / source
        results[source] = measure_source(
            data.folder, source, found, crops, split=split, report=report
        )
        if report is not None:
            log(f"{source}: {report / REPORT}")
    if not options.learnt:  # They would flatter it.
        truth = label_codes(pd.concat(data.valid.values()))
        results["sets"] = fit_sets(np.array(answers), truth)
    return results


def write_to_cards(results: dict[str, Any], weights: Path) -> None:
    """Put the figures on the cards; the weights and their hashes stay as they are."""
    nets = find_weights(weights)
    for name, kind, parts in (
        (DETECTOR, DetectorCard, ("detector_alone",)),
        (CLASSIFIER, ClassifierCard, ("both_stages", "classifier_alone")),
    ):
        if name in nets:  # Else the shipped one stood in for it.
            card = read_card(path := nets[name].with_suffix(".json"), kind)
            if isinstance(card, ClassifierCard):
                card.sets = results.get("sets", card.sets)
            card.results["measured"] = {
                key: {k: value[k] for k in ("photos", "faces", *parts)}
                if isinstance(value, dict)
                else value
                for key, value in results.items()
                if key != "sets"
            }
            files.write_json(path, card.model_dump(mode="json"))


def describe_results(results: dict[str, Any]) -> str:
    """The figures as a Markdown table, a column per source."""
    sources = {name: figures for name, figures in results.items() if isinstance(figures, dict)}
    heads = [f"{s}: {tell(f['photos'])}, {tell(f['faces'], 'face')}" for s, f in sources.items()]
    columns: list[dict[str, Any]] = []
    for figures in sources.values():
        cells: dict[str, Any] = {}
        for stage in ("both_stages", "detector_alone", "classifier_alone"):
            for name, value in figures[stage].items():
                title = f"{stage.replace('_', ' ')}: {NAMES.get(name, name)}"
                own = value if isinstance(value, dict) else {"": value}
                cells |= {", ".join(filter(None, (title, key))): own[key] for key in own}
        columns.append(cells)
    rows = [[title, *(show_figure(one[title]) for one in columns)] for title in columns[0]]
    return markdown_table(["", *heads], rows)


def measure(options: MeasureOptions) -> None:
    """Measure weights on the validation split, with intervals, as a Markdown table."""
    results = measure_weights(options)
    typer.echo(describe_results(results))
    if options.write:
        write_to_cards(results, options.weights)


def fit_boxes(options: FitBoxesOptions) -> None:
    """Measure how a dataset's annotators draw boxes, against the detector's: for run --boxes."""
    dataset, out = options.dataset, options.out
    files.refuse_dataset_folders([out.parent], [dataset], around=True)
    if out.exists():
        BoxOffsets.read(out)  # Another's file is refused.
    photos = find_only_photos(str(dataset))
    predictor = Predictor.load(options.weights, device=options.device, thresh=THRESH)
    predictions = predict_photos(predictor, photos)
    case = read_case(dataset, predictions, EvaluateOptions())
    annotated, predicted, photo = pair_boxes(case, THRESH)
    if len(photo) < LEAST_FACES:
        why = f"{LEAST_FACES} at least are needed to tell how boxes are drawn."
        raise DatasetError(f"{dataset}: {tell(len(photo), 'annotated face')} found, {why}")
    offsets = fit_offsets(annotated, predicted, photo, source=dataset.resolve().name)
    offsets.write(out)
    for line in case.warnings:
        log(f"note: {line}")
    if learnt := sum(bool(row.learnt) for row in predictions.ran or ()):
        log(f"note: {learnt} of {tell(len(photos))} were learnt from: boxes there may lie nearer.")
    ends = offsets.interval or {}
    figures = {side: (getattr(offsets, side), *ends[side]) for side in SIDES}
    cells = [(side, *(f"{share:+.3f}" for share in row)) for side, row in figures.items()]
    typer.echo(markdown_table(("side moves, of the box", "median", "from", "to"), cells))
    use = spell("run", "PHOTOS", "--boxes", out)
    log(f"{tell(offsets.faces, 'face')} of {tell(offsets.photos)}: {out}; {use}")


def classify(options: ClassifyOptions) -> None:
    """Classify the annotated faces, as if the detector were perfect: a table for evaluate."""
    table = options.table
    identify_data(options.prepared, table.parent)
    files.refuse_other_table(table, tables.REQUIRED, "faces")
    faces = read_faces(options.prepared)
    chosen = faces[faces["split"] == options.split]
    if chosen.empty:
        known = ", ".join(sorted(set(faces["split"])))
        why = f"no face in the split '{options.split}'; there are {known}."
        raise PreparedError(f"{options.prepared}: {why}")
    path = find_net(options.weights, CLASSIFIER)
    classifier = Classifier.load(path, device=options.device)
    tables.write_predictions(table, classify_faces(classifier, chosen, options.prepared))
    log(f"{tell(len(chosen), 'face')} of the {options.split} split: {table}")
