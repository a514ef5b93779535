#include "runtime/cli/factory.h"

#include <cstdlib>
#include <iostream>
#include <optional>

#include "runtime/config/config.h"
#include "runtime/factory/template_store.h"
#include "runtime/sandbox/template.h"

namespace kata::cli {
namespace {

constexpr uint64_t kBytesPerMib = 1024 * 1024;

Result<config::Config> load(const std::filesystem::path& config_file) {
  return config_file.empty() ? config::load_default() : config::load_file(config_file);
}

Status provide_template(const config::Config& config) {
  asio::io_context io;
  std::optional<Status> provided;
  asio::co_spawn(io, sandbox::provide_template(io.get_executor(), config),
                 [&](std::exception_ptr, Status status) { provided = std::move(status); });
  io.run();
  if (!provided) return fail(Code::kInternal, "the template came to no end");
  return *provided;
}

int report(const Error& error) {
  std::cerr << "kata-runtime factory: " << error.message() << "\n";
  return EXIT_FAILURE;
}

void print(const factory::TemplateInfo& info) {
  std::cout << info.directory.native() << ": ";
  if (info.failure.empty())
    std::cout << info.memory_bytes / kBytesPerMib << " MiB of memory\n";
  else
    std::cout << "could not be made: " << info.failure << "\n";
}

}  // namespace

int run_factory_init(const std::filesystem::path& config_file) {
  const auto config = load(config_file);
  if (!config) return report(config.error());
  if (Status provided = provide_template(*config); !provided) return report(provided.error());
  std::cout << "the template is in " << config->factory.template_path.native() << "\n";
  if (!config->factory.use_template)
    std::cout << "pods do not use it: set template = \"auto\" in [factory]\n";
  return EXIT_SUCCESS;
}

int run_factory_status(const std::filesystem::path& config_file) {
  const auto config = load(config_file);
  if (!config) return report(config.error());
  const auto templates = factory::TemplateStore(config->factory.template_path).list();
  if (!templates) return report(templates.error());
  for (const auto& info : *templates) print(info);
  if (templates->empty())
    std::cout << "no template in " << config->factory.template_path.native() << "\n";
  return EXIT_SUCCESS;
}

int run_factory_destroy(const std::filesystem::path& config_file) {
  const auto config = load(config_file);
  if (!config) return report(config.error());
  if (Status removed = factory::TemplateStore(config->factory.template_path).remove_all(); !removed)
    return report(removed.error());
  return EXIT_SUCCESS;
}

}  // namespace kata::cli
