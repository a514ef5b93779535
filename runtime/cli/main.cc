// kata-runtime: the host's command line. One file per verb.
#include <CLI/CLI.hpp>

#include "runtime/cli/check.h"
#include "runtime/cli/version.h"

int main(int argc, char** argv) {
  CLI::App app("Kata Containers in C++: containers in lightweight virtual machines",
               "kata-runtime");
  app.set_version_flag("-v,--version", "kata-runtime  : " KATA_VERSION);
  app.require_subcommand(1);
  std::filesystem::path config_file;
  CLI::App* check =
      app.add_subcommand("check", "Whether a pod could start on this host, and why not");
  check->add_option("--config", config_file,
                    "configuration.toml to check instead of the default one");
  CLI::App* version = app.add_subcommand("version", "Print the version");
  CLI11_PARSE(app, argc, argv);

  if (version->parsed()) return kata::cli::run_version();
  return kata::cli::run_check(config_file);
}
