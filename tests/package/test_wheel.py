"""The wheel: built from a copy of the sources, installed where nothing else of ours is, and used there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built without the network, by the setuptools that requirements.txt pins."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("tests", "book"):  # must not be packed
        (source / name).mkdir()
        (source / name / "extra.py").write_text("")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    subprocess.run([*PIP, "wheel", *options, str(source)], check=True)
    (built,) = target.iterdir()
    return built


def test_wheel_holds_the_package_its_data_and_licences_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert {name.split("/")[0] for name in names} == {"unstuck", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    inside = {name for name in names if name.startswith("unstuck/")}
    there = {
        f"unstuck/{path.relative_to(ROOT / 'src' / 'unstuck').as_posix()}"
        for path in (ROOT / "src" / "unstuck").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert inside == there
    licences = {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name}
    assert licences >= {"LICENSE", "LICENSE-mnist", "LICENSE-fashion-mnist"}
    assert "License-Expression: MIT" in metadata


def test_wheel_is_small(wheel):
    assert wheel.stat().st_size < 16e6


def test_wheel_works_in_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    variables = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", variables))
    install = [*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    # numpy and torch come from here; a .pth file inside that folder, such as our editable install's, is not followed
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "borrowed.pth").write_text("\n".join(sorted(folders)) + "\n")
    program = """
import unstuck, unstuck.data
split = unstuck.data.mnist()
print(unstuck.__file__)
print(tuple(split.x_train.shape), tuple(split.x_test.shape), split.y_train.bincount().tolist())
"""
    result = subprocess.run([python, "-I", "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path)
    place, seen = result.stdout.splitlines()
    assert Path(place).is_relative_to(packages)
    assert seen == f"(10000, 1, 28, 28) (10000, 1, 28, 28) {[1000] * 10}"
