#include "common/oci/parse.h"

#include <algorithm>
#include <array>

#include "common/oci/readers.h"

namespace kata::oci {

namespace {

/// runtime-spec is versioned semantically: every 1.x has the keys that we read.
constexpr std::string_view kVersionPrefix = "1.";

/// Of the specification's sections for one platform; linux is ours.
constexpr auto kOtherPlatforms = std::to_array<const char*>({"windows", "solaris", "zos"});

}  // namespace

// Readers stand in the namespace of their types: argument-dependent lookup finds them there.
static void read(JsonReader& in, Root& out) {
  in.required("path", out.path);
  in.optional("readonly", out.readonly);
}

static void read(JsonReader& in, Mount& out) {
  in.required("destination", out.destination);
  in.optional("type", out.type);
  in.optional("source", out.source);
  in.optional("options", out.options);
  in.optional("uidMappings", out.uid_mappings);
  in.optional("gidMappings", out.gid_mappings);
  if (!in.failed() && !out.destination.starts_with('/'))
    in.fail_at("destination", "{} is not absolute", quote(out.destination));
}

static void read(JsonReader& in, Hook& out) {
  in.required("path", out.path);
  in.optional("args", out.args);
  in.optional("env", out.env);
  in.optional("timeout", out.timeout_s);
  if (!in.failed() && !out.path.starts_with('/'))
    in.fail_at("path", "{} is not absolute", quote(out.path));
  if (out.timeout_s && *out.timeout_s <= 0) in.fail_at("timeout", "must be greater than zero");
}

static void read(JsonReader& in, Hooks& out) {
  in.optional("prestart", out.prestart);
  in.optional("createRuntime", out.create_runtime);
  in.optional("createContainer", out.create_container);
  in.optional("startContainer", out.start_container);
  in.optional("poststart", out.poststart);
  in.optional("poststop", out.poststop);
}

static void read(JsonReader& in, Spec& out) {
  in.required("ociVersion", out.oci_version);
  if (!in.failed() && !out.oci_version.starts_with(kVersionPrefix))
    in.fail_at("ociVersion", "{} is not a version 1 of the specification", quote(out.oci_version));
  in.required("process", out.process);
  in.required("root", out.root);
  in.optional("hostname", out.hostname);
  in.optional("domainname", out.domainname);
  in.optional("mounts", out.mounts);
  in.optional("hooks", out.hooks);
  in.optional("annotations", out.annotations);
  in.optional("linux", out.linux);
  for (const char* platform : kOtherPlatforms)
    if (in.has(platform)) in.fail_at(platform, "the platform of this runtime is linux");
  // What names a hypervisor and a kernel is not for a pod's author to choose.
  if (in.has("vm")) in.fail_at("vm", "the VM is set up by the runtime's configuration");
}

/// A quick look before the parser builds anything: the depth of brackets outside of strings.
static bool nested_too_deep(std::string_view json) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxSpecNesting) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

Status check_bounds(std::string_view json, std::string_view what) {
  if (json.size() > kMaxSpecBytes)
    return fail(Code::kInvalidArgument, "{}: {} bytes, more than the limit of {}", what,
                json.size(), kMaxSpecBytes);
  if (nested_too_deep(json))
    return fail(Code::kInvalidArgument, "{}: nested deeper than {}", what, kMaxSpecNesting);
  return {};
}

template <typename T>
static Result<T> parse_document(std::string_view text, std::string_view what) {
  KATA_CHECK(check_bounds(text, what));
  // The library's exceptions end here; only json::parse with exceptions tells where it failed.
  try {
    auto document = nlohmann::json::parse(text);
    if (!document.is_object())
      return fail(Code::kInvalidArgument, "{}: expected an object, found {}", what,
                  document.type_name());
    std::optional<Error> error;
    JsonReader root(document, error);
    T out;
    read(root, out);
    if (error) return std::unexpected(error->with_stage(what));
    return out;
  } catch (const nlohmann::json::parse_error& bad) {
    return fail(Code::kInvalidArgument, "{}: not valid JSON at byte {}", what, bad.byte);
  } catch (const std::exception& bad) {
    return fail(Code::kInvalidArgument, "{}: {}", what, bad.what());
  }
}

Result<Spec> parse_spec(std::string_view json) { return parse_document<Spec>(json, "config.json"); }

Result<Process> parse_process(std::string_view json) {
  return parse_document<Process>(json, "process");
}

Result<Resources> parse_resources(std::string_view json) {
  return parse_document<Resources>(json, "resources");
}

}  // namespace kata::oci
