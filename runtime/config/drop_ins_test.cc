#include "runtime/config/drop_ins.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "runtime/config/config.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::config {
namespace {

struct Directory : fakes::TemporaryDirectory {
  std::filesystem::path write(const std::filesystem::path& name, std::string_view text) {
    std::filesystem::create_directories((path() / name).parent_path());
    std::ofstream(path() / name) << text;
    return path() / name;
  }
};

TEST_CASE("drop-ins change single keys, in the order of their names") {
  Directory directory;
  const auto base = directory.write("configuration.toml",
                                    "[hypervisor.qemu]\ndefault_vcpus = 2\ndefault_memory = 300\n"
                                    "enable_annotations = [\"a\", \"b\"]\n");
  const auto second = directory.write("config.d/20-b.toml",
                                      "[hypervisor.qemu]\ndefault_memory = 500\n"
                                      "enable_annotations = [\"c\"]\n");
  const auto first = directory.write("config.d/10-a.toml",
                                     "[hypervisor.qemu]\ndefault_memory = 400\n"
                                     "kernel_params = \"quiet\"\n[agent.kata]\ndial_timeout = 7\n");
  directory.write("config.d/30-c.toml.bak", "nonsense");
  directory.write("config.d/.30-c.toml", "nonsense");
  const auto config = load_file(base);
  INFO((config ? "" : config.error().message()));
  REQUIRE(config.has_value());
  CHECK(config->hypervisor.default_vcpus == 2);
  CHECK(config->hypervisor.default_memory_mib == 500);
  CHECK(config->hypervisor.kernel_params == "quiet");
  CHECK(config->hypervisor.enable_annotations == std::vector<std::string>{"c"});
  CHECK(config->agent.dial_timeout == std::chrono::seconds(7));
  CHECK(config->source == base);
  CHECK(config->drop_ins == std::vector{first, second});
  CHECK(describe_sources(*config) ==
        base.native() + ", " + first.native() + ", " + second.native());
}

TEST_CASE("drop-ins lie beside the file to which a link leads") {
  Directory directory;
  const auto real = directory.write("shipped/configuration-qemu.toml", "");
  const auto counts = directory.write("shipped/config.d/a.toml", "");
  directory.write("etc/config.d/a.toml", "nonsense");
  std::filesystem::create_symlink(real, directory.path() / "etc/configuration.toml");
  const auto config = load_file(directory.path() / "etc/configuration.toml");
  REQUIRE(config.has_value());
  CHECK(config->drop_ins == std::vector{counts});
}

TEST_CASE("a drop-in that is wrong is named, whatever the others say") {
  Directory directory;
  const auto base = directory.write("configuration.toml", "");
  const auto wrong = directory.write("config.d/10.toml", "\n[agent.kata]\ndail_timeout = 1\n");
  directory.write("config.d/20.toml", "");
  CHECK(load_file(base).error().message() ==
        "configuration " + wrong.native() +
            " line 3: the key 'dail_timeout' is not supported in [agent.kata]: the nearest known "
            "one is 'dial_timeout'");
  directory.write("config.d/10.toml", "[agent.kata");
  CHECK(load_file(base).error().message().starts_with("configuration " + wrong.native() +
                                                      " line 1: "));
}

TEST_CASE("files that contradict each other are all named") {
  Directory directory;
  const auto base = directory.write("configuration.toml", "[factory]\ntemplate = \"auto\"\n");
  const auto other =
      directory.write("config.d/x.toml", "[hypervisor.qemu]\nlauncher = \"libvirt\"\n");
  const auto config = load_file(base);
  REQUIRE_FALSE(config.has_value());
  CHECK(config.error().message().starts_with("configuration " + base.native() + ", " +
                                             other.native() + " [factory]: "));
}

TEST_CASE("drop-ins that cannot be read are no missing configuration.toml") {
  Directory directory;
  const auto base = directory.write("configuration.toml", "");
  SECTION("a link to nowhere") {
    std::filesystem::create_directory(directory.path() / "config.d");
    std::filesystem::create_symlink("/nonexistent", directory.path() / "config.d/a.toml");
  }
  SECTION("a directory") {
    std::filesystem::create_directories(directory.path() / "config.d/a.toml");
  }
  SECTION("config.d is a file") { directory.write("config.d", ""); }
  SECTION("too many") {
    for (int i = 0; i < 257; ++i) directory.write(fmt::format("config.d/{}.toml", i), "");
  }
  const auto config = load_file(base);
  REQUIRE_FALSE(config.has_value());
  CHECK(config.error().code() != Code::kNotFound);
  CHECK(config.error().message().find("config.d") != std::string::npos);
}

}  // namespace
}  // namespace kata::config
