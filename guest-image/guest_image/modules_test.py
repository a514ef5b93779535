import subprocess

import pytest

from . import GuestImageError, modules


@pytest.fixture(name="available")
def available_fixture(tmp_path):
    """Object files with the .modinfo of modules: virtio-pci needs ring and virtio, virtio ring."""
    result = {}
    for name, depends in {"ring": "", "virtio": "ring", "virtio_pci": "virtio,ring",
                          "share": "fuse-core,virtio", "fuse_core": "", "broken": "absent"}.items():
        source, module = tmp_path / f"{name}.c", tmp_path / f"{name}.ko"
        source.write_text('static const char info[] __attribute__((section(".modinfo"), used)) = '
                          f'"license=GPL\\0depends={depends}\\0name={name}";')
        subprocess.run(["gcc", "-c", source, "-o", module], check=True)
        result[name] = module
    return result


def names(order):
    return [name for name, _ in order]


def test_dependencies_load_first_and_once(available):
    order = modules.load_order(["virtio_pci", "share"], available, built_in=set())
    assert names(order) == ["ring", "virtio", "virtio_pci", "fuse_core", "share"]
    assert order[0][1] == available["ring"]


def test_dash_and_underscore_are_one(available):
    assert names(modules.load_order(["virtio-pci"], available, {"ring"})) == ["virtio", "virtio_pci"]


def test_built_in_modules_are_left_out(available):
    assert modules.load_order(["share"], available, {"share"}) == []


def test_a_missing_module_is_named_with_who_needs_it(available):
    with pytest.raises(GuestImageError, match=r"absent \(needed by broken\)"):
        modules.load_order(["broken"], available, set())
