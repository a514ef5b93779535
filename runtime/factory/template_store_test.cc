#include "runtime/factory/template_store.h"

#include <fstream>
#include <sstream>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fakes/temporary_directory.h"

namespace kata::factory {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

struct Fixture {
  Fixture() {
    write("qemu", "a program");
    write("kernel", "a kernel");
    recipe.files = {base / "qemu", base / "kernel"};
    recipe.settings = "-m 256M";
  }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(base / name) << text;
  }
  TemplateStore store() const { return TemplateStore(base / "templates"); }
  void make(const Recipe& wanted, const std::string& memory) {
    auto draft = store().begin(wanted);
    REQUIRE(draft);
    REQUIRE(::write((*draft)->memory(), memory.data(), memory.size()) > 0);
    REQUIRE((*draft)->publish());
  }
  std::string memory_of(const Result<SavedVm>& saved) {
    REQUIRE(saved);
    std::string text(64, '\0');
    const ssize_t got = ::pread(saved->memory.get(), text.data(), text.size(), 0);
    REQUIRE(got >= 0);
    return text.substr(0, static_cast<size_t>(got));
  }
  /// The directory of the only template, whole or not.
  fs::path published() const {
    for (const auto& entry : fs::directory_iterator(base / "templates"))
      if (entry.path().extension().empty()) return entry.path();
    return {};
  }
  /// Of the only template.
  std::string manifest() const {
    std::ifstream file(published() / "manifest.json");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  Code code_of(const Result<SavedVm>& saved) {
    REQUIRE_FALSE(saved);
    return saved.error().code();
  }

  fakes::TemporaryDirectory directory;
  fs::path base = directory.path();
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
  CHECK(store().list()->size() == 2);
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
  CHECK(store().list()->empty());
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
  CHECK((*draft)->publish().error().code() == Code::kFailedPrecondition);
}

TEST_CASE_METHOD(Fixture, "a failure is remembered until something changes") {
  {
    auto draft = store().begin(recipe);
    REQUIRE(draft);
    REQUIRE((*draft)->publish_failure("no guest came up"));
  }
  auto failed = store().open(recipe);
  REQUIRE(code_of(failed) == Code::kFailedPrecondition);
  CHECK_THAT(failed.error().message(), Catch::Contains("no guest came up"));
  REQUIRE(store().list()->size() == 1);
  CHECK(store().list()->front().failure == "no guest came up");
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
  const std::string deep = "{\"files\": " + std::string(60'000, '[') + std::string(5'000, ']');
  const std::string deep_and_whole =
      "{\"files\": " + std::string(30'000, '[') + std::string(30'000, ']') + "}";
  const std::string long_one = "{\"files\": [], \"x\": \"" + std::string(100'000, 'x') + "\"}";
  for (const std::string& text : {""s, "[]"s, "{\"files\": 3}"s, "{\"files\": [1, 2]}"s, "\xff"s,
                                  deep, deep_and_whole, long_one}) {
    std::ofstream(published() / "manifest.json") << text;
    CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  }
  fs::resize_file(published() / "manifest.json", uint64_t{1} << 30);
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  fs::remove(published() / "manifest.json");
  REQUIRE(::mkfifo((published() / "manifest.json").c_str(), 0600) == 0);
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  CHECK(store().list()->empty());
  make(recipe, "two");
  CHECK(memory_of(store().open(recipe)) == "two");
}

TEST_CASE_METHOD(Fixture, "files that are not as they were published") {
  for (const char* name : {"memory", "device_state"}) {
    const auto damaged = [&](auto damage) {
      make(recipe, "one");
      REQUIRE(store().open(recipe));
      damage(published() / name);
      CHECK(code_of(store().open(recipe)) == Code::kNotFound);
    };
    damaged([](const fs::path& file) { fs::resize_file(file, 1); });
    damaged([](const fs::path& file) { fs::resize_file(file, uint64_t{1} << 40); });
    damaged([](const fs::path& file) { fs::remove(file); });
    damaged([&](const fs::path& file) { fs::create_hard_link(file, base / name); });
    fs::remove(base / name);
    damaged([](const fs::path& file) { fs::permissions(file, fs::perms(0644)); });
    damaged([](const fs::path& file) { CHECK(::chown(file.c_str(), ::geteuid() + 1, -1) == 0); });
    damaged([&](const fs::path& file) {
      fs::rename(file, base / name);
      fs::create_symlink(base / name, file);
    });
    fs::remove(base / name);
    damaged([](const fs::path& file) {
      fs::remove(file);
      REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
    });
  }
}

TEST_CASE_METHOD(Fixture, "a file in a template's place") {
  make(recipe, "one");
  const fs::path place = published();
  fs::remove_all(place);
  std::ofstream(place) << "no directory";
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  make(recipe, "two");
  fs::rename(place, base / "elsewhere");
  fs::create_directory_symlink(base / "elsewhere", place);
  CHECK(code_of(store().open(recipe)) == Code::kNotFound);
  make(recipe, "three");
  CHECK(memory_of(store().open(recipe)) == "three");
}

TEST_CASE_METHOD(Fixture, "a failure with the guest's last words is remembered whole or cut") {
  {
    auto draft = store().begin(recipe);
    REQUIRE(draft);
    REQUIRE((*draft)->publish_failure("no guest came up" + std::string(200'000, '\xff')));
  }
  CHECK(code_of(store().open(recipe)) == Code::kFailedPrecondition);
  CHECK_THAT(store().list()->at(0).failure, Catch::StartsWith("no guest came up"));
}

TEST_CASE_METHOD(Fixture, "templates that are removed while one is made") {
  auto draft = store().begin(recipe);
  REQUIRE(draft);
  REQUIRE(::write((*draft)->memory(), "one", 3) == 3);
  Recipe other = recipe;
  other.settings = "-m 512M";
  make(other, "other");
  CHECK(store().remove_all().error().code() == Code::kUnavailable);
  CHECK(code_of(store().open(other)) == Code::kNotFound);
  // Nobody comes between: what the first publishes is its own.
  CHECK(store().begin(recipe).error().code() == Code::kUnavailable);
  REQUIRE((*draft)->publish());
  CHECK(memory_of(store().open(recipe)) == "one");
  draft->reset();
  REQUIRE(store().remove_all());
  CHECK_FALSE(fs::exists(base / "templates"));
}

TEST_CASE_METHOD(Fixture, "what is not a template is not removed") {
  make(recipe, "one");
  const fs::path foreign = base / "templates" / "letter";
  std::ofstream(foreign) << "dear";
  REQUIRE(store().remove_all());
  CHECK(fs::exists(foreign));
  CHECK(store().list()->empty());
}

TEST_CASE_METHOD(Fixture, "makers and removers at once") {
  std::vector<std::jthread> others;
  for (int i = 0; i < 2; ++i)
    others.emplace_back([this](const std::stop_token& ended) {
      while (!ended.stop_requested()) (void)store().remove_all();
    });
  for (int i = 0; i < 300; ++i) {
    auto draft = store().begin(recipe);
    if (!draft) {
      CHECK(draft.error().code() == Code::kUnavailable);
      continue;
    }
    REQUIRE(::write((*draft)->memory(), "one", 3) == 3);
    CHECK((*draft)->publish());
    const auto saved = store().open(recipe);
    if (saved) CHECK(memory_of(saved) == "one");
  }
}

TEST_CASE_METHOD(Fixture, "a file that is written over while it is read") {
  const std::string full(size_t{8} << 20, 'k');
  write("kernel", full);
  std::jthread other([&](const std::stop_token& ended) {
    while (!ended.stop_requested()) write("kernel", full);
  });
  for (int i = 0; i < 10; ++i) CHECK(store().begin(recipe));
}

}  // namespace
}  // namespace kata::factory
