// kata-runtime: the host's command line. One file per verb.
#include <CLI/CLI.hpp>

#include "runtime/cli/check.h"
#include "runtime/cli/direct_volume.h"
#include "runtime/cli/factory.h"
#include "runtime/cli/version.h"

int main(int argc, char** argv) {
  CLI::App app("Kata Containers in C++: containers in lightweight virtual machines",
               "kata-runtime");
  app.set_version_flag("-v,--version", "kata-runtime  : " KATA_VERSION);
  app.require_subcommand(1);
  std::filesystem::path config_file;
  const auto add_verb = [&config_file](CLI::App& parent, const char* name, const char* what) {
    CLI::App* verb = parent.add_subcommand(name, what);
    verb->add_option("--config", config_file, "configuration.toml to use, not the default one");
    return verb;
  };
  CLI::App* check = add_verb(app, "check", "Whether a pod could start on this host, and why not");
  CLI::App* factory = app.add_subcommand("factory", "Templates from which pods start");
  factory->require_subcommand(1);
  CLI::App* init = add_verb(*factory, "init", "Make the template now, so that no pod has to");
  CLI::App* status = add_verb(*factory, "status", "Which templates there are");
  add_verb(*factory, "destroy", "Remove all templates");
  CLI::App* direct_volume = app.add_subcommand("direct-volume", "Volumes that the guest mounts");
  direct_volume->require_subcommand(1);
  std::string volume_path;
  std::string mount_info;
  CLI::App* add = direct_volume->add_subcommand("add", "Say where a volume's file system is");
  CLI::App* remove = direct_volume->add_subcommand("remove", "Forget it");
  for (CLI::App* verb : {add, remove})
    verb->add_option("--volume-path", volume_path, "Source of the containers' mounts")->required();
  add->add_option("--mount-info", mount_info,
                  R"({"volume-type": "block", "device": ..., "fstype": ..., "options": [...]})")
      ->required();
  CLI::App* version = app.add_subcommand("version", "Print the version");
  CLI11_PARSE(app, argc, argv);

  if (version->parsed()) return kata::cli::run_version();
  if (check->parsed()) return kata::cli::run_check(config_file);
  if (add->parsed()) return kata::cli::run_direct_volume_add(volume_path, mount_info);
  if (remove->parsed()) return kata::cli::run_direct_volume_remove(volume_path);
  if (init->parsed()) return kata::cli::run_factory_init(config_file);
  if (status->parsed()) return kata::cli::run_factory_status(config_file);
  return kata::cli::run_factory_destroy(config_file);
}
