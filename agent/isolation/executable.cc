#include "agent/isolation/executable.h"

#include <string_view>
#include <unordered_map>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"

namespace kata::isolation {

namespace {

constexpr mode_t kAnyExecute = 0111;

std::unexpected<Error> fail_exec(Code code, const std::string& name, std::string_view why) {
  return fail(code, "exec: \"{}\": {}", name, why);
}

/// Whether the file looks like something to execute, as Go's exec.LookPath asks: any x bit will do.
Status check_file(const std::string& name, const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) < 0)
    return fail_exec(code_from_errno(errno), name,
                     fmt::format("stat {}: {}", path, lower_strerror(errno)));
  if (S_ISDIR(info.st_mode) || (info.st_mode & kAnyExecute) == 0)
    return fail_exec(Code::kPermissionDenied, name, lower_strerror(EACCES));
  return {};
}

Result<std::string> find_in_path(const std::string& name, std::string_view path) {
  while (!path.empty()) {
    auto end = path.find(':');
    std::string dir(path.substr(0, end));
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
    // An empty entry is the working directory.
    auto candidate = fmt::format("{}/{}", dir.empty() ? "." : dir, name);
    if (!check_file(name, candidate)) continue;
    if (!dir.starts_with('/'))
      return fail_exec(Code::kPermissionDenied, name,
                       "cannot run executable found relative to current directory");
    return candidate;
  }
  return fail_exec(Code::kNotFound, name, "executable file not found in $PATH");
}

}  // namespace

std::string env_value(const std::vector<std::string>& env, std::string_view key) {
  std::string value;
  for (std::string_view entry : env)
    if (entry.size() > key.size() && entry.starts_with(key) && entry[key.size()] == '=')
      value = entry.substr(key.size() + 1);
  return value;
}

Result<std::string> find_executable(const std::string& name, const std::vector<std::string>& env) {
  std::string found = name;
  if (name.find('/') != std::string::npos) {
    KATA_CHECK(check_file(name, name));
  } else {
    KATA_TRY(found, find_in_path(name, env_value(env, "PATH")));
  }
  // The bits may be another user's, or the mount noexec.
  if (::faccessat(AT_FDCWD, found.c_str(), X_OK, AT_EACCESS) < 0)
    return fail_call(fmt::format("exec {}", found));
  return found;
}

std::vector<std::string> complete_env(const std::vector<std::string>& env,
                                      const std::string& home) {
  std::vector<std::string> out;
  std::unordered_map<std::string_view, size_t> place;
  for (const auto& entry : env) {
    auto name = std::string_view(entry).substr(0, entry.find('='));
    auto [known, first] = place.emplace(name, out.size());
    if (first)
      out.push_back(entry);
    else
      out[known->second] = entry;
  }
  if (!env_value(out, "HOME").empty()) return out;
  if (auto known = place.find("HOME"); known != place.end())
    out[known->second] = "HOME=" + home;
  else
    out.push_back("HOME=" + home);
  return out;
}

}  // namespace kata::isolation
