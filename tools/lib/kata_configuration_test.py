import tomllib

import kata_configuration


def test_tables_are_toml(tmp_path):
    path = tmp_path / "configuration.toml"
    tables = {"hypervisor.qemu": {"kernel": "/with \"quotes\"", "default_vcpus": 2},
              "runtime": {"enable_debug": True}}
    kata_configuration.write(path, tables)
    assert tomllib.loads(path.read_text()) == {"hypervisor": {"qemu": tables["hypervisor.qemu"]},
                                               "runtime": {"enable_debug": True}}


def test_who_has_opened_it_reads_the_old_one_to_its_end(tmp_path):
    path = tmp_path / "configuration.toml"
    kata_configuration.write(path, {"runtime": {"state_root": "/old"}})
    with path.open() as old:
        kata_configuration.write(path, {"runtime": {"state_root": "/new"}})
        assert old.read() == '[runtime]\nstate_root = "/old"\n'
    assert path.read_text() == '[runtime]\nstate_root = "/new"\n'
    assert list(tmp_path.iterdir()) == [path]
