// Options without mounting; real mounts in child processes with a mount namespace of their own.
#include "common/sys/mount.h"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/sys/mount_data.h"
#include "tests/fakes/mount_namespace.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::sys {

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Directory {
  std::string make(const std::string& name) const {
    fs::create_directories(path / name);
    return path / name;
  }
  fakes::TemporaryDirectory directory;
  fs::path path = directory.path();
};

std::string text_of(const Status& status) { return status ? "ok" : status.error().message(); }

/// "<options> <type> <source> <superblock>" of the last mount at the target.
std::string mounted_as(const std::string& target) {
  std::ifstream info("/proc/self/mountinfo");
  std::string found = "nothing";
  for (std::string line; std::getline(info, line);) {
    std::istringstream words(line);
    std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
    if (fields[4] != target) continue;
    found = fields[5];
    for (size_t i = 6; i < fields.size(); ++i) found += " " + fields[i];
  }
  return found;
}

std::string content(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("mount options") {
  auto parse = [](Words words) { return parse_mount_options(words); };
  auto options = parse({"nosuid", "ro", "mode=755", "size=1m", "newinstance", "sync"});
  CHECK(options.attr_set == (MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY));
  CHECK(options.data == Words{"mode=755", "size=1m", "newinstance"});
  CHECK(options.superblock == Words{"sync"});
  CHECK_FALSE(options.bind);

  options = parse({"rbind", "ro", "rw", "dev", "exec", "noexec"});
  CHECK(options.bind);
  CHECK(options.bind_recursive);
  CHECK(options.attr_set == MOUNT_ATTR_NOEXEC);
  CHECK(options.attr_clear == (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV));

  options = parse({"noatime", "strictatime"});
  CHECK(options.attr_set == MOUNT_ATTR_STRICTATIME);
  CHECK(options.attr_clear == MOUNT_ATTR__ATIME);

  options = parse({"rro", "rnosuid", "rrelatime", "rprivate", "shared"});
  CHECK(options.recursive_attr_set == (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID));
  CHECK(options.recursive_attr_clear == MOUNT_ATTR__ATIME);
  REQUIRE(options.propagation.size() == 2);
  CHECK(options.propagation[0].type == MS_PRIVATE);
  CHECK(options.propagation[0].recursive);
  CHECK(options.propagation[1].type == MS_SHARED);
  CHECK_FALSE(options.propagation[1].recursive);
  CHECK(options.attr_set == 0);

  CHECK(parse({"defaults", "", "silent"}).data.empty());
  CHECK(parse({"remount"}).unsupported == "remount");
  CHECK(parse({"idmap"}).id_mapped);
  CHECK_FALSE(parse({"idmap"}).id_mapped_tree);
  CHECK(parse({"ridmap"}).id_mapped_tree);
  CHECK(parse({"tmpcopyup"}).copy_up);
  CHECK(parse({"r", "rfoo", "rsize=5"}).data == Words{"r", "rfoo", "rsize=5"});
}

TEST_CASE("propagation words") {
  CHECK(parse_propagation("rslave")->recursive);
  CHECK(parse_propagation("unbindable")->type == MS_UNBINDABLE);
  CHECK_FALSE(parse_propagation("rr").has_value());
  CHECK_FALSE(parse_propagation("").has_value());
  CHECK(parse_propagation("both").error().code() == Code::kInvalidArgument);
}

TEST_CASE_METHOD(Directory, "a file system, a bind of it and their ends") {
  auto a = make("a");
  auto b = make("b");
  auto result = fakes::in_own_mount_namespace([&] {
    std::string out;
    out += text_of(mount({"tmpfs", "name", a, {"nosuid", "size=1m", "mode=700"}})) + "\n";
    out += mounted_as(a) + "\n";
    out += text_of(mount({"bind", a, b, {"rbind", "ro"}})) + "\n";
    out += mounted_as(b) + "\n";
    out += text_of(unmount(b)) + "\n";
    out += mounted_as(b) + "\n";
    out += std::string(code_name(unmount(b).error().code())) + "\n";
    out += text_of(mount({"tmpfs", "second", a, {}})) + "\n";
    out += text_of(unmount_all_at(a)) + "\n";
    out += mounted_as(a) + "\n";
    out += text_of(unmount_all_at(a)) + "\n";
    return out;
  });
  CHECK(result ==
        "ok\nrw,nosuid,relatime - tmpfs name rw,size=1024k,mode=700\n"
        "ok\nro,nosuid,relatime - tmpfs name rw,size=1024k,mode=700\n"
        "ok\nnothing\nnot found\nok\nok\nnothing\nok\n");
}

TEST_CASE_METHOD(Directory,
                 "what is mounted below a directory is detached, and nothing beside it") {
  auto inside = make("c1/rootfs"), beside = make("c10"), at = (path / "c1").string();
  auto text = fakes::in_own_mount_namespace([&] {
    auto tmpfs = [](const std::string& target) {
      return text_of(mount({"tmpfs", "tmpfs", target, {}}));
    };
    auto out = tmpfs(at) + " ";
    fs::create_directories(inside);
    out += tmpfs(inside) + " " + tmpfs(inside) + " " + tmpfs(beside) + " ";
    out += text_of(detach_all_below(at)) + " ";
    for (const auto& target : {inside, beside, at}) out += text_of(unmount(target)) + " ";
    return out + text_of(detach_all_below(at));
  });
  CHECK(text == "ok ok ok ok ok unmount " + inside + ": No such file or directory ok ok ok");
}

TEST_CASE_METHOD(Directory, "a list of mounts is made whole or not at all") {
  auto a = make("a");
  auto result = fakes::in_own_mount_namespace([&] {
    std::vector<MountEntry> entries = {{"tmpfs", "one", a, {}}, {"tmpfs", "two", a, {"size=bad"}}};
    auto text = text_of(mount_all(entries));
    return text + "\n" + mounted_as(a);
  });
  CHECK(result == "mount tmpfs two on " + a +
                      ": option size=bad: Invalid argument (tmpfs: Bad value for 'size')\nnothing");
}

TEST_CASE_METHOD(Directory, "overlay: a few layers, and more than a page can name") {
  auto layers = GENERATE(3, 60, 120);
  // Upper directories must not lie on an overlay themselves.
  auto result = fakes::in_own_mount_namespace([&] {
    auto work = make("work");
    if (!mount({"tmpfs", "tmpfs", work, {}})) return std::string("no tmpfs");
    std::string lower;
    for (int i = 0; i < layers; ++i) {
      auto name = fs::path(work) / fmt::format("layer-with-a-long-name-{:040}", i) / "fs:x";
      fs::create_directories(name);
      std::ofstream(name / fmt::format("file{}", i)) << i;
      auto escaped = name.string();
      escaped.insert(escaped.rfind(':'), "\\");
      lower += (lower.empty() ? "" : ":") + escaped;
    }
    for (const char* name : {"upper", "wrk", "merged"})
      fs::create_directories(fs::path(work) / name);
    auto merged = work + "/merged";
    auto status = mount({"overlay",
                         "overlay",
                         merged,
                         {"index=off", "workdir=" + work + "/wrk", "upperdir=" + work + "/upper",
                          "lowerdir=" + lower}});
    if (!status) return status.error().message();
    std::ofstream(merged + "/new") << "new";
    return content(merged + "/file0") + content(merged + fmt::format("/file{}", layers - 1)) +
           content(work + "/upper/new");
  });
  CHECK(result == fmt::format("0{}new", layers - 1));
}

TEST_CASE_METHOD(Directory, "options that no page holds") {
  Words options = {"lowerdir=" + make("only"), "x=" + std::string(5000, 'y')};
  auto data = MountData::make("overlay", options);
  REQUIRE_FALSE(data.has_value());
  CHECK(data.error().code() == Code::kInvalidArgument);
  CHECK(data.error().message().find("the kernel takes 4095") != std::string::npos);
  data = MountData::make("ext4", Words{std::string(5000, 'y')});
  CHECK_FALSE(data.has_value());
  Words missing = {"lowerdir=/nosuch/" + std::string(5000, 'z') + ":/nosuch"};
  CHECK_FALSE(MountData::make("overlay", missing).has_value());
}

TEST_CASE_METHOD(Directory, "what cannot be mounted says why") {
  auto a = make("a");
  std::ofstream(path / "file") << "x";
  auto result = fakes::in_own_mount_namespace([&] {
    return text_of(mount({"bind", "/nosuch", a, {"bind"}})) + "\n" +
           text_of(mount({"bind", path / "file", a, {"bind"}})) + "\n" +
           text_of(mount({"tmpfs", "t", path / "nosuch", {}})) + "\n" +
           text_of(mount({"nofs", "t", a, {}})) + "\n" +
           text_of(mount({"tmpfs", "t", a, {"remount"}})) + "\n";
  });
  CHECK(result ==
        "mount bind /nosuch on " + a + ": stat /nosuch: No such file or directory\n" +
            "mount bind " + path.string() + "/file on " + a +
            ": not a directory: is a directory to be mounted on a file, or the other way round?\n" +
            "mount target " + path.string() + "/nosuch: No such file or directory\n" +
            "mount nofs t on " + a + ": file system type \"nofs\": No such device\n" +
            "mount tmpfs t on " + a + ": option \"remount\" is not supported\n");
}

}  // namespace kata::sys
