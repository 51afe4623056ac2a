"""Prepared folders and small weights for the tests of the pipeline."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet34

from data_prep.build import BuildOptions, build
from data_prep.labels import CLASSES
from pipeline.console import SHIPPED
from pipeline.weights import CLASSIFIER, DETECTOR, ClassifierCard, DetectorCard, save_weights
from tests.pipeline.makers import make_net, paint_dataset

SHARED = Path(__file__).parents[3] / "shared"
THIRD_PARTY = SHARED / "weights"

needs_third_party = pytest.mark.skipif(
    not THIRD_PARTY.is_dir(), reason="the third-party weights are not here"
)
needs_real_data = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the real datasets are not here"
)
needs_shipped = pytest.mark.skipif(
    not all((SHIPPED / f"{name}.safetensors").is_file() for name in (DETECTOR, CLASSIFIER)),
    reason="no weights are shipped yet",
)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A folder prepared from sixteen painted photos with three faces each."""
    folder = tmp_path_factory.mktemp("painted")
    out = folder / "prepared"
    build([paint_dataset(folder / "set", 16)], out, BuildOptions(blur_rule="none"), workers=1)
    return out


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory) -> Path:
    """A weights folder with both nets, weights random but always the same."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_weights(folder / f"{DETECTOR}.safetensors", make_net().state_dict(), DetectorCard())
    net = resnet34(num_classes=len(CLASSES))
    card = ClassifierCard(input_size=64)
    save_weights(folder / f"{CLASSIFIER}.safetensors", net.state_dict(), card)
    return folder
