// Images and specs that mean harm, and mounts that only look odd.
#include "agent/isolation/mounts.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/test_container.h"

namespace kata::isolation {

namespace {

namespace fs = std::filesystem;
using testing::TestContainer;

/// A container and, beside its root, a directory that no mount may ever reach.
struct HostileImage : TestContainer {
  HostileImage() {
    fs::create_directories(outside);
    fs::create_directories(volume);
    std::ofstream(volume / "from-volume") << "volume\n";
    script("true");
  }

  void mount_volume_at(const std::string& destination) {
    spec["mounts"].push_back({{"destination", destination},
                              {"type", "bind"},
                              {"source", volume},
                              {"options", {"bind"}}});
  }

  void link(const std::string& target, const std::string& name) {
    fs::create_directories((rootfs() / name).parent_path());
    fs::create_symlink(target, rootfs() / name);
  }

  fs::path outside = bundle() / "outside";
  fs::path volume = bundle() / "volume";
};

}  // namespace

TEST_CASE_METHOD(HostileImage, "a mount never leaves the root, whatever its target is") {
  std::string destination;
  std::string lands;
  SECTION("absolute link to the host's directory") {
    link(outside, "vol");
    destination = "/vol";
    lands = outside;
  }
  SECTION("relative link upwards") {
    link("../../../../../../.." + outside.string(), "vol");
    destination = "/vol";
    lands = outside;
  }
  SECTION("link as the first of several components") {
    link("/../..", "vol");
    destination = "/vol/target";
    lands = "/target";
  }
  SECTION("link as a middle component, dangling") {
    link("/not/there", "a/b");
    destination = "/a/b/c";
    lands = "/not/there/c";
  }
  SECTION("chain of links") {
    link("/two", "one");
    link("three/../..", "two");
    link("/etc", "three");
    destination = "/one/x";
    lands = "/x";
  }
  SECTION("dots in the destination itself") {
    destination = "/../../a/../../../b";
    lands = "/b";
  }
  SECTION("dots through a link") {
    link("/etc", "deep/link");
    destination = "/deep/link/../up";
    lands = "/up";
  }
  mount_volume_at(destination);
  script("cat '" + lands + "/from-volume'; grep -c volume /proc/self/mountinfo");
  auto outcome = run();
  CHECK(outcome.error == "");
  CHECK(outcome.output == "volume\n1\n");
  CHECK(fs::is_empty(outside));
}

TEST_CASE_METHOD(HostileImage, "links that no mount may follow") {
  SECTION("magic links of /proc") {
    link(GENERATE("/proc/self/root", "/proc/self/cwd", "/proc/self/fd/3", "/proc/1/root/etc"),
         "vol");
    mount_volume_at("/vol");
    auto outcome = run();
    INFO(outcome.error);
    CHECK(outcome.code == Code::kInvalidArgument);
    CHECK(outcome.error.find("Too many levels of symbolic links") != std::string::npos);
  }
  SECTION("into /proc") {
    link("/proc/self/attr", "vol");
    mount_volume_at("/vol");
    CHECK(run().error.ends_with("/attr\" cannot be mounted because it is inside /proc"));
  }
  SECTION("a file into /proc") {
    link("/proc/sys/kernel/core_pattern", "vol");
    volume /= "from-volume";
    mount_volume_at("/vol");
    CHECK(run().error.ends_with(
        "\"/proc/sys/kernel/core_pattern\" cannot be mounted because it is inside /proc"));
  }
  SECTION("onto /proc") {
    link("proc", "vol");
    mount_volume_at("/vol");
    CHECK(run().error.ends_with("\"/proc\" cannot be mounted because it is not of type proc"));
  }
  SECTION("a tmpfs over /proc through a link") {
    link("/proc/self", "vol");
    spec["mounts"].push_back({{"destination", "/vol"}, {"type", "tmpfs"}, {"source", "tmpfs"}});
    CHECK(run().error.find("because it is inside /proc") != std::string::npos);
  }
  SECTION("/proc is a link") {
    fs::remove(rootfs() / "proc");
    link("tmp", "proc");
    CHECK(run().error.ends_with("filesystem \"proc\" must be mounted on ordinary directory"));
  }
  SECTION("/sys is a link") {
    fs::remove(rootfs() / "sys");
    link("tmp", "sys");
    CHECK(run().error.ends_with("filesystem \"sysfs\" must be mounted on ordinary directory"));
  }
  SECTION("a loop") {
    link("loop2", "loop1");
    link("loop1", "loop2");
    mount_volume_at("/loop1/x");
    CHECK(run().error.find("Too many levels of symbolic links") != std::string::npos);
  }
  CHECK(fs::is_empty(outside));
}

TEST_CASE_METHOD(HostileImage, "files of /proc that lxcfs emulates may be mounted upon") {
  volume /= "from-volume";
  mount_volume_at("/proc/uptime");
  script("cat /proc/uptime");
  CHECK(run().output == "volume\n");
}

TEST_CASE_METHOD(HostileImage, "/dev of the image does not become the host's") {
  SECTION("/dev is a link to the outside") {
    fs::remove(rootfs() / "dev");
    link(outside, "dev");
    script("ls /dev/ | sed 's/^/ /' | grep -c null");
    CHECK(run().output == "1\n");
  }
  SECTION("nodes are links to the outside") {
    spec["mounts"].erase(1);
    for (const char* name : {"null", "zero", "tty"})
      link((outside / name).string(), std::string("dev/") + name);
    // A masked file needs the real /dev/null.
    CHECK(run().error.find("/dev/null") != std::string::npos);
  }
  SECTION("null is a file") {
    spec["mounts"].erase(1);
    std::ofstream(rootfs() / "dev/null") << "trap";
    CHECK(run().error.find("is not the null device") != std::string::npos);
  }
  SECTION("a device below a link") {
    link(outside, "etc/out");
    spec["linux"]["devices"] = {
        {{"path", "/etc/out/null"}, {"type", "c"}, {"major", 1}, {"minor", 3}}};
    script("ls -l /etc/out/null | cut -c1-10");
    CHECK(run().error == "");
    CHECK(fs::exists(rootfs() / fs::path(outside / "null").relative_path()));
  }
  CHECK(fs::is_empty(outside));
}

TEST_CASE_METHOD(HostileImage, "masked and read-only paths that are links stay inside") {
  link(outside, "mask");
  link("/etc", "shield");
  spec["linux"]["maskedPaths"] = {"/mask", "/nosuch"};
  spec["linux"]["readonlyPaths"] = {"/shield", "/nosuch"};
  script("touch /etc/x 2>&1");
  auto outcome = run();
  CHECK(outcome.error == "");
  CHECK(outcome.output == "touch: /etc/x: Read-only file system\n");
}

TEST_CASE_METHOD(HostileImage, "a cwd outside of the container") {
  spec["process"]["cwd"] = GENERATE("/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/5");
  script("pwd; readlink /proc/self/cwd");
  auto outcome = run();
  INFO(outcome.error);
  CHECK(outcome.status != 0);
  CHECK(outcome.output == "");
}

TEST_CASE_METHOD(HostileImage, "mounts that cannot be made name themselves and the reason") {
  auto add = [&](nlohmann::json mount) { spec["mounts"].push_back(std::move(mount)); };
  auto fails_with = [&](const std::string& text, Code code) {
    auto outcome = run();
    INFO(outcome.error);
    CHECK(outcome.error.find(text) != std::string::npos);
    CHECK(outcome.code == code);
  };
  SECTION("missing source") {
    add({{"destination", "/x"}, {"type", "bind"}, {"source", "/nosuch"}, {"options", {"bind"}}});
    fails_with("error mounting \"/nosuch\" to rootfs at \"/x\": stat /nosuch: no such file",
               Code::kNotFound);
  }
  SECTION("file on directory") {
    volume /= "from-volume";
    mount_volume_at("/etc");
    fails_with("not a directory", Code::kInvalidArgument);
  }
  SECTION("unknown file system") {
    add({{"destination", "/x"}, {"type", "nofs"}, {"source", "x"}});
    fails_with("file system type \"nofs\": No such device", Code::kNotFound);
  }
  SECTION("option that the file system refuses, in its own words") {
    add({{"destination", "/x"}, {"type", "tmpfs"}, {"source", "x"}, {"options", {"size=foo"}}});
    fails_with("option size=foo: Invalid argument (tmpfs: Bad value for 'size')",
               Code::kInvalidArgument);
  }
  SECTION("idmapped for users alone") {
    add({{"destination", "/x"},
         {"type", "bind"},
         {"source", volume},
         {"options", {"bind"}},
         {"uidMappings", {{{"containerID", 0}, {"hostID", 1000}, {"size", 1}}}}});
    fails_with("id-mapped mounts must have both UID and GID mappings", Code::kInvalidArgument);
  }
  SECTION("idmapped as a user namespace that is not there") {
    add({{"destination", "/x"},
         {"type", "bind"},
         {"source", volume},
         {"options", {"bind", "idmap"}}});
    fails_with("needs uidMappings and gidMappings", Code::kInvalidArgument);
  }
  SECTION("idmapped, of a file system that cannot be") {
    add({{"destination", "/x"},
         {"type", "proc"},
         {"source", "proc"},
         {"uidMappings", {{{"containerID", 0}, {"hostID", 1000}, {"size", 1}}}},
         {"gidMappings", {{{"containerID", 0}, {"hostID", 1000}, {"size", 1}}}}});
    fails_with("idmapped mounts of proc are not supported by the guest's kernel",
               Code::kUnimplemented);
  }
  SECTION("idmapped and copied") {
    add({{"destination", "/x"},
         {"type", "tmpfs"},
         {"source", "tmpfs"},
         {"options", {"tmpcopyup"}},
         {"uidMappings", {{{"containerID", 0}, {"hostID", 1000}, {"size", 1}}}},
         {"gidMappings", {{{"containerID", 0}, {"hostID", 1000}, {"size", 1}}}}});
    fails_with("option \"tmpcopyup\" is for a tmpfs whose ids are not mapped",
               Code::kUnimplemented);
  }
  SECTION("options that are not supported") {
    add({{"destination", "/x"}, {"type", "tmpfs"}, {"source", "x"}, {"options", {"remount"}}});
    fails_with("option \"remount\" is not supported", Code::kUnimplemented);
  }
}

TEST_CASE_METHOD(HostileImage, "flags of a tree, flags of its top, and those of the source") {
  fs::create_directories(volume / "sub");
  auto mount_below_volume = [this] {
    auto sub = (volume / "sub").string();
    if (::mount("tmpfs", sub.c_str(), "tmpfs", MS_NOEXEC, nullptr) < 0) ::_exit(99);
  };
  auto bind = [&](const char* destination, std::vector<std::string> options) {
    spec["mounts"].push_back(
        {{"destination", destination}, {"type", "bind"}, {"source", volume}, {"options", options}});
  };
  bind("/whole", {"rbind", "rro", "rnosuid"});
  bind("/top", {"rbind", "ro", "nosuid"});
  bind("/alone", {"bind", "noatime"});
  bind("/exec", {"rbind", "rexec", "rslave"});
  script(
      "sed -nE 's/^[0-9]+ [0-9]+ [0-9:]+ [^ ]+ (\\/(whole|top|alone|exec)[^ ]*) ([^ ]+) .*/\\1 "
      "\\3/p' /proc/self/mountinfo");
  auto outcome = run(mount_below_volume);
  CHECK(outcome.error == "");
  CHECK(outcome.output ==
        "/whole ro,nosuid,relatime\n/whole/sub ro,nosuid,noexec,relatime\n"
        "/top ro,nosuid,relatime\n/top/sub rw,noexec,relatime\n"
        "/alone rw,noatime\n"
        "/exec rw,relatime\n/exec/sub rw,relatime\n");
}

TEST_CASE_METHOD(HostileImage, "an idmapped mount shows other ids, and files of them are made") {
  spec["mounts"].push_back(
      {{"destination", "/x"},
       {"type", "tmpfs"},
       {"source", "tmpfs"},
       {"options", {"mode=777"}},
       {"uidMappings", {{{"containerID", 0}, {"hostID", 1000}, {"size", 10}}}},
       {"gidMappings", {{{"containerID", 0}, {"hostID", 2000}, {"size", 10}}}}});
  spec["process"]["user"] = {{"uid", 1003}, {"gid", 2004}};
  script("stat -c '%u %g' /x; touch /x/new && stat -c '%u %g' /x/new");
  auto outcome = run();
  if (outcome.code == Code::kUnimplemented) return;  // before Linux 6.3
  CHECK(outcome.error == "");
  CHECK(outcome.output == "1000 2000\n1003 2004\n");
}

TEST_CASE_METHOD(HostileImage,
                 "a cgroup mount is cgroup2 and starts at the container's own group") {
  spec["mounts"].push_back({{"destination", "/sys/fs/cgroup"},
                            {"type", "cgroup"},
                            {"source", "cgroup"},
                            {"options", {"nosuid", "noexec", "nodev", "relatime", "ro"}}});
  script(
      "sed -nE 's/^[0-9]+ [0-9]+ [0-9:]+ ([^ ]+) (.sys.fs.cgroup) ([^ ]+) - ([^ ]+).*/\\1 \\2 \\3 "
      "\\4/p' /proc/self/mountinfo; grep ^0 /proc/self/cgroup");
  auto outcome = run();
  CHECK(outcome.error == "");
  CHECK(outcome.output == "/ /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime cgroup2\n0::/\n");
}

}  // namespace kata::isolation
