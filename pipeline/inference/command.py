"""The command line of `run.py`; torch, which takes seconds to load, is imported when it runs."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.base.command import NOT_DONE, SOME_LEFT_OUT, STOPPED, Command, as_command
from data_prep.base.errors import OptionError, visible
from data_prep.base.files import OutputError, hold_folder, refuse_other_files
from data_prep.base.photo import MAX_PIXELS
from data_prep.base.progress import log, tell
from data_prep.formats.predictions import AlarmRule
from pipeline.inference import sources
from pipeline.inference.addresses import hide_password
from pipeline.inference.cluster import Cluster, ClusterError
from pipeline.inference.saves import Saves
from pipeline.inference.video.alarms import Alarm
from pipeline.inference.video.clips import VideoOptions
from pipeline.nets import options as shared
from pipeline.nets.options import SHIPPED, Device, EngineName, Quality, Unsure, Weights


@dataclass(frozen=True)
class RunOptions:
    """Options of `run.py`."""

    photos: Annotated[str, typer.Argument()]
    """A photo or video, a folder (walked), a glob in quotes, the number of a camera, an address
    (http, rtsp, s3, gs), a text file with one on each line."""
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("out")
    resize: str = "auto"
    """Enlargement before detection: auto (per photo), or a factor."""
    thresh: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.5
    """Least detection score of a face."""
    draw_from: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.5
    """Least detection score of a drawn face."""
    draw: Annotated[bool, typer.Option(help="Write the drawn photos.")] = True
    save: list[str] = field(default_factory=list)
    """Write also, one name each time: json, gallery (a page of all faces), crops, blurred (the
    photos with faces made unrecognisable), or annotations as voc, yolo, coco or csv."""
    blur: list[str] = field(default_factory=list)
    """A class that --save blurred blurs; may be repeated; all if not given."""
    alarm: Annotated[list[str], typer.Option(metavar="alarm.json|CMD|URL")] = field(
        default_factory=list
    )
    """Count faces of photos that are not properly masked, from the threshold of `evaluate
    --false-alarms` on; or call a command or an address, once for each such person of a video. One
    of each at most."""
    spreadsheet: bool = False
    """An apostrophe before names that a spreadsheet would take for formulas."""
    salvage: Annotated[bool, typer.Option("--salvage")] = False
    """Run JPEGs that lack their end; the table tells."""
    max_pixels: Annotated[int, typer.Option(min=1, max=MAX_PIXELS)] = MAX_PIXELS
    """Photos of more pixels are not read."""
    every: Annotated[str, typer.Option(help="Frames of a video: each N-th, or one in 0.5s.")] = "1"
    show: Annotated[bool, typer.Option(help="Show a video as it is done; q ends it.")] = False
    device: Device = "auto"
    bf16: Annotated[bool | None, typer.Option("--bf16/--fp32")] = None
    """Precision; what is fast here if not set."""
    engine: EngineName = "auto"
    quality: Quality = "normal"
    unsure: Unsure = False
    cluster: Annotated[str | None, typer.Option(metavar="ray[=ADDRESS]")] = None
    """Spread photos over this machine's processors, or over the machines of a Ray."""
    weights: Weights = SHIPPED
    boxes: str | None = None
    """Box faces as other annotators do: facemask, ilc, head, or a JSON of fit-boxes."""


def run(options: RunOptions) -> None:
    """Find faces and tell their class: OUT/predictions.csv, OUT/annotated/, OUT/summary.json.

    Exit code 0: all photos done; 1: some could not be read, or alarms not called; 2: nothing done;
    130: stopped by Ctrl-C with the table of what is done. Run again, it goes on where it stopped.
    """
    resize = parse_resize(options.resize)
    rules = [given for given in options.alarm if given.endswith(".json")]
    alarm = AlarmRule.read(Path(rules[-1])) if rules else None
    called = [given for given in options.alarm if given not in rules]
    if max(len(rules), len(called)) > 1:
        raise OptionError("--alarm: one alarm.json, and one command or address, are the most.")
    call = Alarm(called[-1]) if called else None
    video = VideoOptions(options.every, call, options.show)
    refuse_other_files(options.out, sources.JOURNAL, mark=None)
    places = (options.out / name for name in sorted(sources.WRITTEN))
    for link in filter(Path.is_symlink, places):
        raise OutputError(f"{link}: is a link; remove it, or choose another -o.")
    photos = video.fit(sources.find_photos(options.photos, leave_out=options.out))
    photos = replace(photos, salvage=options.salvage, max_pixels=options.max_pixels)
    saves = Saves(options.save, options.blur)
    shared.find_weights(options.weights)
    boxes = None if options.boxes is None else shared.find_boxes(options.boxes)
    cluster = None if options.cluster is None else Cluster(options.cluster, options.weights)
    if cluster and (photos.videos or options.show):
        raise ClusterError("--cluster: does photos only; run videos, and --show, without it.")
    counts = {"photo": len(photos), "video": len(photos.videos)}
    found = " and ".join(tell(count, noun) for noun, count in counts.items() if count)
    place = hide_password(options.photos)
    log(f"{found} in {place}; loading the nets, which takes a few seconds")

    from pipeline.inference.folder import predict_folder  # Nets only once the options are right.
    from pipeline.inference.predictor import Predictor
    from pipeline.nets.compute import name_device

    names = ("bf16", "engine", "quality", "thresh", "unsure")
    how: dict[str, Any] = {name: getattr(options, name) for name in names}
    how |= {"device": name_device(options.device), "resize": resize, "boxes": boxes}
    predictor = Predictor.load(options.weights, **how)
    log(f"nets: {predictor.origin}; engine {predictor.engine}")
    with hold_folder(options.out):
        summary = predict_folder(
            photos,
            options.out,
            predictor,
            draw=options.draw,
            draw_from=options.draw_from,
            saves=saves,
            alarm=alarm,
            spreadsheet=options.spreadsheet,
            video=video,
            cluster=cluster,
        )
    tell_result(options, summary, photos, alarm)
    if summary["photos_left"] or summary.get("videos_left"):
        raise typer.Exit(STOPPED)
    if len(summary["unreadable"]) == summary["photos"] + len(photos.videos):
        raise typer.Exit(NOT_DONE)
    unheard = summary.get("alarm_calls", {}).get("failed")
    lost = any(why.startswith(sources.LOST) for _, why in photos.passed_over)
    if summary["unreadable"] or lost or unheard:
        raise typer.Exit(SOME_LEFT_OUT)


def tell_result(
    options: RunOptions, summary: dict[str, Any], photos: sources.PhotoSet, alarm: AlarmRule | None
) -> None:
    """Say what was found, what makes it mean less above it, and what was left out below."""
    learnt = summary["learnt"]
    if known := learnt["exact"] + learnt["near"]:
        of = f"{known} of {tell(summary['photos'])} {'was' if known == 1 else 'were'}"
        typer.echo(f"{of} learnt from: expect less of the nets on new ones")
    if learnt["not_listed"]:
        nets = " and ".join(learnt["not_listed"])
        log(f"note: which photos the {nets} learnt from is not known: no card lists them")
    if summary["salvaged"]:
        of = f"{summary['salvaged']} of {tell(summary['photos'])}"
        typer.echo(f"{of} lack their end: faces there are not counted")
    if summary["unlike"]:
        log(f"warning: {summary['unlike']['said']}")
    if alarm is not None and alarm.nets not in (None, summary["nets"]):
        log("note: the alarm was measured with other nets: measure these with --false-alarms")
    if alarm is not None and options.thresh > alarm.thresh:
        since = f"the alarm was measured from a detection score of {alarm.thresh:g} on"
        log(f"--thresh {options.thresh:g} hides faces: {since}")
    faces = ", ".join(f"{name} {count}" for name, count in summary["faces_drawn"].items())
    if options.thresh < options.draw_from:
        rows = sum(summary["faces"].values())
        faces += f" from a detection score of {options.draw_from:g} on; "
        faces += f"the table has {tell(rows, 'face')}"
    done = f"{tell(summary['photos'])}, {summary['photos_done_now']} of them now, "
    if photos.videos:
        done = (done if photos.images else "") + f"{tell(len(summary['videos']), 'video')}, "
    typer.echo(
        f"{done}in {summary['seconds']['total']:.1f} s"
        + (f"; {len(summary['unreadable'])} could not be read" if summary["unreadable"] else "")
    )
    if photos.images and (doubt := summary.get("unsure")):
        kinds = (f"{name.replace('|', ' or ')} {n}" for name, n in doubt["may_be"].items())
        typer.echo(f"unsure: {doubt['faces']} of {tell(doubt['of'], 'face')}: {'; '.join(kinds)}")
        for name in doubt["classes_without_limit"]:
            log(f"note: {name}: too few faces on the card for a coverage of {doubt['coverage']:g}")
    if photos.images:
        typer.echo(f"faces: {faces}")
    if alarm is not None:
        rung = f"{tell(summary['alarms']['faces'], 'face')} on {tell(summary['alarms']['photos'])}"
        typer.echo(f"alarms: {rung}, from a score of {alarm.threshold:.4f} on")
    for video in summary.get("videos", ()):
        if video["frames"]:
            tell_video(video)
    if calls := summary.get("alarm_calls"):
        typer.echo(f"alarms called: {calls['made']}; failed: {calls['failed']}")
    typer.echo(f"table: {options.out / 'predictions.csv'}")
    if photos.videos:
        typer.echo(f"persons: {options.out / 'tracks.csv'}")
        if options.save:
            log("note: --save leaves videos out")
    if options.draw and (options.out / "annotated").is_dir():
        typer.echo(f"drawn: {options.out / 'annotated'}")
    for name, file in summary["saved"].items():
        typer.echo(f"{name}: {options.out / file}")
    for item in summary["unreadable"]:
        log(f"unreadable: {item['reason']}")
    if photos.passed_over:
        reasons = sources.count_reasons(photos.passed_over)
        log(f"passed over: {reasons}; each is named in {options.out / 'summary.json'}")
    if summary.get("videos_left"):
        log(f"stopped within {summary['videos_left'][0]}, run again to go on")
    if left := summary["photos_left"]:
        done = summary["photos"]
        log(f"stopped at {done} of {tell(done + left)}, run again to go on")


def tell_video(video: dict[str, Any]) -> None:
    """Say who was seen in one video."""
    people = ", ".join(f"{name} {count}" for name, count in video["people"].items())
    if damaged := video["damaged"]:
        log(f"warning: {damaged['first']} Such faults: {damaged['times']}")
    people += f"; surely not properly masked at some time: {video['people_alarming']}"
    seen = (
        f"{video['seconds']:.1f} s, {tell(video['faces'], 'face')}; persons in two frames or more"
    )
    name = visible(video["video"])
    typer.echo(f"{name}: {tell(video['frames'], 'frame')} in {seen}: {people}")
    if delay := video.get("latency_ms"):
        times = f"median {delay['median']:.0f} ms, 95 % within {delay['p95']:.0f} ms"
        lost = f"frames dropped {video['dropped']}, joined again {video['joined_again']}"
        typer.echo(f"latency: {times}; {lost}")


def parse_resize(text: str) -> float | None:
    """`auto`, which is None, or a factor above 0; else `typer.BadParameter`."""
    if text == "auto":
        return None
    with suppress(ValueError):
        if 0 < (factor := float(text)) <= 8:
            return factor
    why = f"'{text}': write auto, or a factor up to 8 such as 2 or 1.5."
    raise typer.BadParameter(why, param_hint="'--resize'")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(cls=Command)(as_command(run))
