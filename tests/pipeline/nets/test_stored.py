"""Weight files and checkpoints: what was saved comes back, and nothing else is taken."""

import ast
import hashlib
import json
import pickle
import random
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data_prep.base.files import OutputError
from pipeline.nets.cards import (
    ClassifierCard,
    DetectorCard,
    WeightsError,
    load_checkpoint,
    load_state,
    load_weights,
    save_checkpoint,
    save_weights,
)
from pipeline.nets.options import find_weights
from tests.makers import hash_tree
from tests.pipeline.makers import save_random_weights

PIPELINE = Path(__file__).parents[3] / "pipeline"
STATE = {"a.weight": torch.arange(6.0).view(2, 3) / 7, "a.steps": torch.tensor(5)}
SETS = {"coverage": 0.9, "limits": {"with_mask": 0.1}, "faces": {"with_mask": 9}}


@pytest.fixture
def path(tmp_path):
    """Good weights."""
    save_weights(tmp_path / "net.safetensors", STATE, DetectorCard())
    return tmp_path / "net.safetensors"


def edit_card(path, **changes):
    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))


def test_round_trip(path):
    state, card = load_weights(path, DetectorCard)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_saving_returns_the_card_that_is_written(tmp_path):
    """Half precision comes back as float32; strided tensors are saved."""
    given = ClassifierCard(temperature=1.5, results={"valid": {"accuracy": 0.5}})
    layers = torch.ones(1, 3, 4, 4).to(memory_format=torch.channels_last)
    half = {"a": STATE["a.weight"].t(), "b": layers.half(), "n": torch.tensor(3)}
    card = save_weights(tmp_path / "net.safetensors", half, given)
    state, read = load_weights(tmp_path / "net.safetensors", ClassifierCard)
    assert given.sha256 == ""
    assert read == card
    assert card.model_copy(update={"sha256": ""}) == given
    assert all(torch.equal(state[name], tensor.to(state[name])) for name, tensor in half.items())
    assert [state[name].dtype for name in "abn"] == [torch.float32, torch.float32, torch.int64]


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, r"net\.safetensors: its SHA-256 is not the one on the"),
        (lambda path: edit_card(path, sha256=""), r"net\.safetensors: .*SHA-256"),
        (Path.unlink, r"net\.safetensors: can't be read \(No such file"),
        (
            lambda path: path.with_suffix(".json").unlink(),
            r"net\.json: can't be read \(No such.*weights are a",
        ),
        (lambda path: edit_card(path, kind="classifier"), r"net\.json: kind: "),
    ],
    ids=["wrong hash", "no hash", "no file", "no card", "another kind"],
)
def test_weights_that_are_refused(path, harm, message):
    harm(path)
    with pytest.raises(WeightsError, match=message):
        load_weights(path, DetectorCard)


@pytest.mark.parametrize(
    ("kind", "changes", "what"),
    [
        (DetectorCard, {"speed": 3}, "speed"),
        (DetectorCard, {"channel_order": "GBR"}, "channel_order"),
        (DetectorCard, {"mean": [1, 2, 300]}, "mean"),
        (DetectorCard, {"negative_slope": float("nan")}, "negative_slope"),
        (DetectorCard, {"sha256": None}, "sha256"),
        (DetectorCard, {"training_photos": ["0f" * 8]}, "training_photos"),
        (DetectorCard, {"learnt": ["with_mask", "with_mask"]}, "learnt"),
        (DetectorCard, {"strides": [4, 8, 16]}, "card: .* strides"),
        (DetectorCard, {"anchors": [[16, 0], [64, 128], [256, 512]]}, "anchors"),
        (ClassifierCard, {"input_size": 1_000_000}, "input_size"),
        (ClassifierCard, {"std": [0, 1, 1]}, "std"),
        (ClassifierCard, {"mean": [0.5, 0.5, float("inf")]}, "mean"),
        (ClassifierCard, {"crop_scale": 0.5}, "crop_scale"),
        (ClassifierCard, {"temperature": 0}, "temperature"),
        (ClassifierCard, {"learnt": []}, "learnt"),
        (ClassifierCard, {"sets": {**SETS, "limits": {"masked": 0.1}}}, "sets.limits"),
        (ClassifierCard, {"sets": {**SETS, "faces": {"masked": 9}}}, "sets.faces"),
        (ClassifierCard, {"training": {"seeds": [0, float("nan")]}}, "training"),
        (ClassifierCard, {"results": {"accuracy": float("inf")}}, "results"),
    ],
)
def test_card_with_a_key_that_is_unknown_or_wrong(tmp_path, kind, changes, what):
    path = tmp_path / "net.safetensors"
    save_weights(path, STATE, kind())
    edit_card(path, **changes)
    with pytest.raises(WeightsError, match=rf"net\.json: {what}"):
        load_weights(path, kind)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path, value):
    state = {**STATE, "b": torch.tensor([0, value])}
    save_weights(tmp_path / "net.safetensors", state, DetectorCard())
    with pytest.raises(WeightsError, match=r"net\.safetensors: b holds what is no number"):
        load_weights(tmp_path / "net.safetensors", DetectorCard)


def test_results_that_are_no_numbers_are_refused_before_anything_is_written(path):
    before = hash_tree(path.parent)
    results = {"valid": {"set_map50": float("nan")}}
    with pytest.raises(WeightsError, match=r"net\.json: results: "):
        save_weights(
            path, {"a": torch.ones(2)}, DetectorCard().model_copy(update={"results": results})
        )
    assert hash_tree(path.parent) == before


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "\udcff"])
def test_card_that_is_no_card(path, text):
    path.with_suffix(".json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WeightsError, match=r"net\.json: "):
        load_weights(path, DetectorCard)


@pytest.mark.parametrize("cut", [0, 4, 40, -5, "pickle"])
def test_no_safetensors_with_a_fitting_hash(path, cut):
    data = pickle.dumps({"a": 1}) if cut == "pickle" else path.read_bytes()[:cut]
    path.write_bytes(data)
    edit_card(path, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(WeightsError, match=r"net\.safetensors: not a safetensors file"):
        load_weights(path, DetectorCard)


@pytest.mark.parametrize("name", ["net.safetensors", "a.pt"])
def test_failed_saving_leaves_the_old_file(tmp_path, monkeypatch, name):
    def save(state):
        if name == "a.pt":
            save_checkpoint(tmp_path / name, state)
        else:
            save_weights(tmp_path / name, state, DetectorCard())

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    save(STATE)
    before = hash_tree(tmp_path)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=rf"{name}: can't be written \(No space left"):
        save({"a": torch.ones(2)})
    assert hash_tree(tmp_path) == before


def test_nets_are_found_by_folder_or_file(path, tmp_path):
    own = save_random_weights(tmp_path / "own")
    both = {name: own / f"{name}.safetensors" for name in ("detector", "classifier")}
    assert find_weights(own) == both
    for name, file in both.items():
        assert find_weights(file) == find_weights(file.with_suffix(".json")) == {name: file}
    assert find_weights(path) == {"detector": path}, "whatever its name"
    (own / "detector.safetensors").unlink()
    assert find_weights(own) == {"classifier": both["classifier"]}
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "checkpoint.pt").touch()
    (tmp_path / "bare.safetensors").touch()
    (tmp_path / "net.pth").touch()
    for name, words in {
        "begun": "training is not done: go on with --resume .*begun",
        "": "no detector.safetensors or classifier.safetensors .* did you mean .*own?",
        "none": "no such file or folder; weights are a run folder",
        "net.pth": "not a .safetensors file",
        "bare.safetensors": r"no card of a net beside it \(bare\.json\)",
    }.items():
        with pytest.raises(WeightsError, match=words):
            find_weights(tmp_path / name)


@pytest.mark.parametrize("kind", ["plain", "wrapped", "parallel", "safetensors"])
def test_bare_state_of_a_checkpoint(tmp_path, kind):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        prefix = "module." if kind == "parallel" else ""
        state = {prefix + name: tensor for name, tensor in STATE.items()}
        torch.save({"state_dict": state, "epoch": 3} if kind == "wrapped" else state, path)
    state = load_state(path)
    assert state.keys() == STATE.keys()
    assert torch.equal(state["a.weight"], STATE["a.weight"])


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", ["torch", "old torch", "pickle"])
def test_code_in_a_checkpoint_does_not_run(tmp_path, save):
    mark, file = tmp_path / "mark", tmp_path / "a.pth"
    content = {"a": torch.zeros(2), "b": Bomb(mark)}
    if save == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=save == "torch")
    with pytest.raises(WeightsError, match=r"a\.pth: damaged, or not a file of plain tensors"):
        load_state(file)
    with pytest.raises(WeightsError, match=r"a\.pth: can't be read as a checkpoint; delete it"):
        load_checkpoint(file)
    assert not mark.exists()
    torch.load(file, weights_only=False) if save != "pickle" else pickle.loads(file.read_bytes())
    assert mark.exists(), "the bomb is a dud"


@pytest.mark.parametrize(
    "content",
    [{}, {"a": 3}, [torch.zeros(1)], {"state_dict": 3}, {"state_dict": {}}, {1: torch.zeros(1)}, 7],
)
def test_file_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth: holds no state dict of tensors"):
        load_state(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content", [b"", b"no weights\n" * 50, b"PK\x03\x04" + bytes(90), b"\x80\x02}q\x00"]
)
def test_file_that_is_no_checkpoint(tmp_path, content):
    for file in (tmp_path / "a.pth", tmp_path / "a.safetensors"):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{file.name}: "):
            load_state(file)
    with pytest.raises(WeightsError, match=r"a\.pth: can't be read as a checkpoint; delete it"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("load", [load_state, load_checkpoint])
def test_random_damage_is_always_an_error_of_ours(tmp_path, load):
    chance, file = random.Random(0), tmp_path / "a.pth"
    torch.save(STATE, file)
    good = file.read_bytes()
    for _ in range(50):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        file.write_bytes(bad[: chance.choice([len(bad), len(bad), chance.randrange(len(bad))])])
        with suppress(WeightsError):
            load(file)


def walk(kind):
    for file in PIPELINE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield file.name, node


def test_every_torch_load_is_restricted():
    found = []
    for file, node in walk(ast.Call):
        if ast.unparse(node.func) in {"torch.load", "load_learner", "learn.load"}:
            found.append(file)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert options.get("weights_only") == "True", f"{file}:{node.lineno}"
    assert set(found) == {"cards.py"}


def test_pickle_is_imported_for_its_error_alone():
    for file, node in walk((ast.Import, ast.ImportFrom)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names]
        bad = [n for n in names if n.split(".")[0] in {"pickle", "dill", "joblib", "cloudpickle"}]
        assert bad in ([], ["pickle.UnpicklingError"]), f"{file}:{node.lineno}"


def test_checkpoint_comes_back(tmp_path):
    path, tensor = tmp_path / "run" / "a.pt", torch.arange(5.0)
    assert load_checkpoint(path) is None
    rest = {"loss": 0.25, "best": None, "history": [{"epoch": 0, "loss": float("inf")}]}
    save_checkpoint(path, {**rest, "net": {"a": tensor}})
    state = load_checkpoint(path)
    assert torch.equal(state.pop("net")["a"], tensor)
    assert state == rest
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="not a checkpoint"):
        load_checkpoint(path)
