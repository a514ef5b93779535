#include "runtime/factory/template_store.h"

#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace kata::factory {
namespace {

namespace fs = std::filesystem;

struct Fixture {
  Fixture() {
    std::string pattern = "/tmp/kata-factory-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()));
    base = pattern;
    write("qemu", "a program");
    write("kernel", "a kernel");
    recipe.files = {base / "qemu", base / "kernel"};
    recipe.settings = "-m 256M";
  }
  ~Fixture() { fs::remove_all(base); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(base / name) << text;
  }
  TemplateStore store() const { return TemplateStore(base / "templates"); }
  void make(const Recipe& wanted, const std::string& memory) {
    auto draft = store().begin(wanted);
    REQUIRE(draft);
    REQUIRE(::write(draft->memory(), memory.data(), memory.size()) > 0);
    REQUIRE(draft->publish());
  }
  std::string memory_of(const Result<SavedVm>& saved) {
    REQUIRE(saved);
    std::string text(64, '\0');
    const ssize_t got = ::pread(saved->memory.get(), text.data(), text.size(), 0);
    REQUIRE(got >= 0);
    return text.substr(0, static_cast<size_t>(got));
  }
  /// Of the only template.
  std::string manifest() const {
    std::ifstream file(store().list().at(0).directory / "manifest.json");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  Code code_of(const Result<SavedVm>& saved) {
    REQUIRE_FALSE(saved);
    return saved.error().code();
  }

  fs::path base;
  Recipe recipe;
};

TEST_CASE_METHOD(Fixture, "a template is found again by its recipe alone") {
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  make(recipe, "one");
  CHECK(memory_of(store().open(recipe)) == "one");
  Recipe other = recipe;
  other.settings = "-m 512M";
  CHECK(code_of(store().open(other)) == Code::kNotFound);
  make(other, "two");
  CHECK(memory_of(store().open(recipe)) == "one");
  CHECK(memory_of(store().open(other)) == "two");
  CHECK(store().list().size() == 2);
  REQUIRE(store().remove_all());
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  CHECK_FALSE(fs::exists(base / "templates"));
  REQUIRE(store().remove_all());
}

TEST_CASE_METHOD(Fixture, "other content makes it stale, another time of change does not") {
  make(recipe, "one");
  const std::string before = manifest();
  CHECK(memory_of(store().open(recipe)) == "one");
  CHECK(manifest() == before);
  write("kernel", "a kernel");
  CHECK(memory_of(store().open(recipe)) == "one");
  // And that is noted, so that the files are read once.
  CHECK(manifest() != before);
  const std::string noted = manifest();
  CHECK(memory_of(store().open(recipe)) == "one");
  CHECK(manifest() == noted);
  fs::remove(base / "kernel");
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  write("kernel", "a kernex");  // as long as before
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  make(recipe, "two");
  CHECK(memory_of(store().open(recipe)) == "two");
}

TEST_CASE_METHOD(Fixture, "what is open stays whole when another takes its place") {
  make(recipe, "one");
  const auto open_before = store().open(recipe);
  write("kernel", "a newer kernel");
  make(recipe, "two");
  CHECK(memory_of(open_before) == "one");
  CHECK(memory_of(store().open(recipe)) == "two");
}

TEST_CASE_METHOD(Fixture, "one maker at a time, and nothing of one that gave up") {
  {
    auto draft = store().begin(recipe);
    REQUIRE(draft);
    CHECK(store().begin(recipe).error().code() == Code::kUnavailable);
    CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  }
  CHECK(store().list().empty());
  // Of one that was killed.
  fs::path left;
  {
    auto draft = store().begin(recipe);
    REQUIRE(draft);
    for (const auto& entry : fs::directory_iterator(base / "templates"))
      if (entry.is_directory()) left = entry.path();
  }
  fs::create_directory(left);
  std::ofstream(left / "memory") << "half";
  make(recipe, "whole");
  CHECK(memory_of(store().open(recipe)) == "whole");
}

TEST_CASE_METHOD(Fixture, "files that change while it is made") {
  auto draft = store().begin(recipe);
  REQUIRE(draft);
  write("qemu", "another program");
  CHECK(draft->publish().error().code() == Code::kFailedPrecondition);
}

TEST_CASE_METHOD(Fixture, "a failure is remembered until something changes") {
  {
    auto draft = store().begin(recipe);
    REQUIRE(draft);
    REQUIRE(draft->publish_failure("no guest came up"));
  }
  auto failed = store().open(recipe);
  REQUIRE(code_of(failed) == Code::kFailedPrecondition);
  CHECK_THAT(failed.error().message(), Catch::Contains("no guest came up"));
  REQUIRE(store().list().size() == 1);
  CHECK(store().list().front().failure == "no guest came up");
  write("kernel", "a better kernel");
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
}

TEST_CASE_METHOD(Fixture, "a root that others can reach is refused") {
  make(recipe, "one");
  REQUIRE(::chmod((base / "templates").c_str(), 0755) == 0);
  CHECK(code_of(store().open(recipe)) == Code::kPermissionDenied);
  CHECK(store().begin(recipe).error().code() == Code::kPermissionDenied);
  REQUIRE(::chmod((base / "templates").c_str(), 0700) == 0);
  fs::rename(base / "templates", base / "elsewhere");
  fs::create_directory_symlink(base / "elsewhere", base / "templates");
  CHECK_FALSE(store().open(recipe));
  CHECK_FALSE(store().begin(recipe));
}

TEST_CASE_METHOD(Fixture, "files are the owner's alone") {
  make(recipe, "one");
  for (const auto& entry : fs::recursive_directory_iterator(base / "templates")) {
    INFO(entry.path());
    CHECK((entry.status().permissions() & fs::perms(077)) == fs::perms::none);
  }
}

TEST_CASE_METHOD(Fixture, "a manifest that is not of our making") {
  make(recipe, "one");
  for (const char* text : {"", "[]", "{\"files\": 3}", "{\"files\": [1, 2]}", "\xff"}) {
    for (const auto& entry : fs::recursive_directory_iterator(base / "templates"))
      if (entry.path().filename() == "manifest.json") std::ofstream(entry.path()) << text;
    CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  }
}

}  // namespace
}  // namespace kata::factory
