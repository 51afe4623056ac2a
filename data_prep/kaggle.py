"""Datasets of Kaggle, through its own library: resuming and checking of hashes are its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from data_prep.fetch import About, DatasetName, FetchError
from data_prep.files import OutputError

CREDENTIALS = (
    "make an API token in your Kaggle settings and put it into ~/.kaggle/kaggle.json, or into "
    "KAGGLE_USERNAME and KAGGLE_KEY"
)


class Kaggle:
    """Kaggle as a `Remote`.

    What is fetched stays in its library's cache, `KAGGLEHUB_CACHE` or `~/.cache/kagglehub`, too;
    a stopped download goes on from there.

    Raises:
        FetchError: The library isn't installed.
    """

    def __init__(self) -> None:
        try:
            self._hub: Any = import_module("kagglehub")
        except ImportError as error:
            raise FetchError(
                "kagglehub is not installed; get it with: pip install kagglehub"
            ) from error
        self._clients: Any = import_module("kagglehub.clients")
        self._types: Any = import_module("kagglesdk.datasets.types.dataset_api_service")

    def describe(self, name: DatasetName) -> About:
        """See `Remote.describe`."""
        request = self._types.ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = name.owner, name.name
        with self._explain(f"kaggle:{name.owner}/{name.name}"), self._client() as client:
            found = client.datasets.dataset_api_client.get_dataset(request)
        version = name.version or found.current_version_number
        # Size and licence are told of the newest version.
        is_newest = version == found.current_version_number
        return About(
            source=f"kaggle:{name.owner}/{name.name}/versions/{version}",
            title=found.title or name.name,
            licence=found.license_name,
            bytes=(found.total_bytes or None) if is_newest else None,
        )

    def download(self, about: About) -> Path:
        """See `Remote.download`."""
        with self._explain(about.source):
            return Path(self._hub.dataset_download(about.source.removeprefix("kaggle:")))

    def _client(self) -> Any:
        return self._clients.build_kaggle_client()

    @contextmanager
    def _explain(self, source: str) -> Iterator[None]:
        requests: Any = import_module("requests")
        exceptions: Any = import_module("kagglehub.exceptions")
        try:
            yield
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            raise FetchError(_explain_status(source, status)) from error
        except requests.RequestException as error:
            raise FetchError(
                f"{source}: Kaggle can't be reached ({type(error).__name__}). Run it again: it "
                "goes on where it stopped."
            ) from error
        except (exceptions.DataCorruptionError, BadZipFile) as error:
            raise FetchError(
                f"{source}: what came is damaged; run it again, and if that does not help, remove "
                "it from the cache of kagglehub first."
            ) from error
        except ValueError as error:  # A broken kaggle.json, or what is no archive.
            raise FetchError(
                f"{source}: {error} Mend it, or remove the dataset from the cache of kagglehub."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{error.filename or 'the cache of kagglehub'}: can't be written "
                f"({error.strerror or error}); free some space, or put the cache elsewhere with "
                "KAGGLEHUB_CACHE."
            ) from error


def _explain_status(source: str, status: int) -> str:
    if status in {401, 403}:
        return f"{source}: Kaggle asks who you are ({status}): {CREDENTIALS}."
    if status == 404:
        return f"{source}: Kaggle knows no such dataset (404); check the owner and the name."
    return f"{source}: Kaggle answers with an error ({status}); try again later."
