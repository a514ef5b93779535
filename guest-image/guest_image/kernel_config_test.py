import pytest

from . import GuestImageError, kernel_config, tuned_kernel


@pytest.fixture(name="fragments")
def fragments_fixture(tmp_path):
    (tmp_path / "a.config").write_text("# Why.\nCONFIG_NET=y\n# CONFIG_USB is not set\n\n")
    (tmp_path / "b.config").write_text('CONFIG_NR_CPUS=240\nCONFIG_LSM="landlock,yama"\n')
    (tmp_path / "README").write_text("CONFIG_IGNORED=y\n")
    return tmp_path


def test_fragments_are_read_with_their_origin(fragments):
    options = kernel_config.read(fragments)
    assert [(option.name, option.value, option.fragment) for option in options] == [
        ("CONFIG_NET", "y", "a.config"), ("CONFIG_USB", "n", "a.config"),
        ("CONFIG_NR_CPUS", "240", "b.config"), ("CONFIG_LSM", '"landlock,yama"', "b.config")]
    assert kernel_config.parse(kernel_config.render(options)) == {
        option.name: option.value for option in options}


KEPT = 'CONFIG_NET=y\nCONFIG_NR_CPUS=240\nCONFIG_LSM="landlock,yama"\n# CONFIG_USB is not set\n'


def test_a_configuration_with_every_option_is_accepted(fragments):
    options = kernel_config.read(fragments)
    kernel_config.verify(options, KEPT)
    # An option whose dependencies are off is not even mentioned.
    kernel_config.verify(options, KEPT.replace("# CONFIG_USB is not set\n", "CONFIG_MORE=y\n"))


@pytest.mark.parametrize("was, became, message", [
    ("CONFIG_NET=y\n", "", r"CONFIG_NET \(a.config\) should be y and is n"),
    ("CONFIG_NET=y\n", "# CONFIG_NET is not set\n", r"CONFIG_NET \(a.config\) should be y and is n"),
    ("CONFIG_NR_CPUS=240", "CONFIG_NR_CPUS=64", r"CONFIG_NR_CPUS \(b.config\) .* 240 and is 64"),
    ("# CONFIG_USB is not set", "CONFIG_USB=y", r"CONFIG_USB \(a.config\) should be n and is y"),
    ('"landlock,yama"', '"landlock"', r'CONFIG_LSM \(b.config\)'),
])
def test_a_lost_option_is_named_with_its_fragment(fragments, was, became, message):
    with pytest.raises(GuestImageError, match=message):
        kernel_config.verify(kernel_config.read(fragments), KEPT.replace(was, became))


def test_an_option_in_two_fragments_is_refused(fragments):
    (fragments / "c.config").write_text("# CONFIG_NET is not set\n")
    with pytest.raises(GuestImageError, match="CONFIG_NET is in a.config and in c.config"):
        kernel_config.read(fragments)


def test_a_line_that_is_no_option_is_refused(fragments):
    (fragments / "c.config").write_text("CONFIG_USB\n")
    with pytest.raises(GuestImageError, match="CONFIG_USB"):
        kernel_config.read(fragments)


def test_the_fragments_of_the_tree_say_why():
    assert kernel_config.read(tuned_kernel.FRAGMENTS)
    for path in tuned_kernel.FRAGMENTS.glob("*.config"):
        for group in path.read_text().strip().split("\n\n"):
            assert group.startswith("# ") and not group.startswith("# CONFIG_"), (path, group)
