#include "common/oci/parse.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "common/oci/cpu_list.h"

namespace kata::oci {

namespace {

using nlohmann::json;

/// The least that is a container.
json minimal() {
  return json::parse(R"({
    "ociVersion": "1.0.2-dev",
    "process": {"args": ["sh"], "cwd": "/"},
    "root": {"path": "rootfs"}
  })");
}

/// What a patched spec is refused with.
std::string refusal(const std::string& pointer, const json& value) {
  auto spec = minimal();
  spec[json::json_pointer(pointer)] = value;
  auto parsed = parse_spec(spec.dump());
  if (parsed) return "accepted";
  CHECK(parsed.error().code() == Code::kInvalidArgument);
  return parsed.error().message();
}

std::string refusal(std::string_view text) {
  auto parsed = parse_spec(text);
  if (parsed) return "accepted";
  CHECK(parsed.error().code() == Code::kInvalidArgument);
  return parsed.error().message();
}

}  // namespace

TEST_CASE("the least spec") {
  auto spec = parse_spec(minimal().dump());
  REQUIRE(spec.has_value());
  CHECK(spec->oci_version == "1.0.2-dev");
  CHECK(spec->process.args == std::vector<std::string>{"sh"});
  CHECK(spec->root.path == "rootfs");
  CHECK_FALSE(spec->process.capabilities.has_value());
  CHECK(not_enforced(*spec).empty());
}

TEST_CASE("a full process") {
  auto spec = minimal();
  spec["process"] = json::parse(R"({
    "terminal": true, "consoleSize": {"height": 25, "width": 80},
    "user": {"uid": 2147483647, "gid": 2, "umask": 18, "additionalGids": [5, 6]},
    "args": ["a", ""], "env": ["A=b=c", "EMPTY="], "cwd": "/x",
    "capabilities": {"bounding": ["CAP_KILL"], "ambient": [], "effective": null},
    "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}],
    "noNewPrivileges": true, "oomScoreAdj": -999, "apparmorProfile": "p", "selinuxLabel": "l",
    "scheduler": {"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0-1", "final": "2"}
  })");
  auto parsed = parse_spec(spec.dump());
  REQUIRE(parsed.has_value());
  const auto& process = parsed->process;
  CHECK(process.console_size->width == 80);
  CHECK(process.user.uid == 2147483647U);
  CHECK(process.user.umask == 18);
  CHECK(process.user.additional_gids == std::vector<gid_t>{5, 6});
  CHECK(process.capabilities->bounding == std::vector<std::string>{"CAP_KILL"});
  CHECK(process.rlimits[0].resource == RLIMIT_CORE);
  CHECK(process.rlimits[0].hard == RLIM_INFINITY);
  CHECK(process.oom_score_adj == -999);
  CHECK(process.scheduler->policy == "SCHED_FIFO");
  CHECK(process.exec_cpu_affinity->final == "2");
  CHECK(not_enforced(*parsed).empty());
}

TEST_CASE("linux, resources and seccomp") {
  auto spec = minimal();
  spec["mounts"] = json::parse(R"([{"destination": "/a", "type": "bind", "source": "/b",
    "options": ["rbind"], "uidMappings": [{"containerID": 0, "hostID": 7, "size": 1}]}])");
  spec["annotations"] = {{"io.katacontainers.x", "y"}};
  spec["linux"] = json::parse(R"({
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}, {"type": "time"}],
    "devices": [{"type": "c", "path": "/dev/x", "major": 10, "minor": 229, "fileMode": 432},
                {"type": "p", "path": "/dev/y"}],
    "cgroupsPath": "/a/b", "rootfsPropagation": "rslave",
    "maskedPaths": ["/m"], "readonlyPaths": ["/r"], "sysctl": {"net.core.somaxconn": "1"},
    "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 1}},
    "personality": {"domain": "LINUX32", "flags": []}, "mountLabel": "l",
    "resources": {
      "devices": [{"allow": false, "access": "rwm"},
                  {"allow": true, "type": "c", "major": 1, "minor": -1, "access": "r"}],
      "memory": {"limit": -1, "swap": 5, "swappiness": 60, "disableOOMKiller": false},
      "cpu": {"shares": 1, "quota": -1, "period": 100000, "cpus": "0-3"},
      "pids": {"limit": 100},
      "blockIO": {"weight": 10, "leafWeight": 0,
                  "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                  "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]},
      "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
      "network": {"classID": 0, "priorities": []},
      "rdma": {"mlx5_1": {"hcaHandles": 3}},
      "unified": {"memory.high": "1000"}},
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
      "architectures": ["SCMP_ARCH_X86_64"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
      "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 5, "value": 18446744073709551615, "valueTwo": 1,
                              "op": "SCMP_CMP_MASKED_EQ"}]}]}
  })");
  auto parsed = parse_spec(spec.dump());
  REQUIRE(parsed.has_value());
  const auto& linux = parsed->linux;
  CHECK(parsed->mounts[0].uid_mappings[0].host_id == 7);
  CHECK(linux.namespaces[1].path == "/run/netns/x");
  CHECK(linux.devices[0].file_mode == 0660);
  CHECK(linux.devices[1].type == DeviceType::kFifo);
  CHECK(linux.time_offsets.at("monotonic").secs == -5);
  CHECK(linux.resources.devices[1].minor == -1);
  CHECK(linux.resources.memory.limit == -1);
  CHECK(linux.resources.cpu.shares == 2);
  CHECK(linux.resources.pids_limit == 100);
  CHECK(linux.resources.rdma.at("mlx5_1").hca_handles == 3);
  CHECK(linux.resources.block_io.throttle_read_bps[0].rate == 600);
  CHECK(linux.seccomp->syscalls[0].args[0].value == UINT64_MAX);
  CHECK(parsed->annotations.at("io.katacontainers.x") == "y");
  const std::string prefix = "linux.resources.";
  CHECK(not_enforced(*parsed) == std::vector<std::string>{prefix + "memory.swappiness"});
}

TEST_CASE("unknown capabilities are known not to be enforced") {
  auto spec = minimal();
  spec["process"]["capabilities"] = {{"bounding", {"CAP_KILL", "CAP_FOO"}},
                                     {"permitted", {"CAP_FOO"}}};
  auto parsed = parse_spec(spec.dump());
  REQUIRE(parsed.has_value());
  CHECK(not_enforced(*parsed) ==
        std::vector<std::string>{"process.capabilities: unknown \"CAP_FOO\""});
  // Each is compared with those before it, and all go to a log.
  json many = json::array();
  for (int i = 0; i < 300'000; ++i) many.push_back("CAP_" + std::to_string(i));
  spec["process"]["capabilities"] = {{"bounding", many}};
  CHECK(not_enforced(parse_spec(spec.dump()).value()).size() == 16);
}

TEST_CASE("refusals name the place and the value") {
  const std::string c = "config.json: ";
  CHECK(refusal("/process/rlimits", json::parse(R"([{"type":"RLIMIT_AS","soft":1,"hard":1},
                                {"type":"RLIMIT_FOO","soft":1,"hard":1}])")) ==
        c + "process.rlimits[1].type: unknown value \"RLIMIT_FOO\"");
  CHECK(refusal("/process/rlimits", json::parse(R"([{"type":"RLIMIT_AS","soft":2,"hard":1}])")) ==
        c + "process.rlimits[0].soft: 2 is above the hard limit of 1");
  CHECK(refusal("/process/rlimits", json::parse(R"([{"type":"RLIMIT_AS","soft":1,"hard":1},
                                {"type":"RLIMIT_AS","soft":1,"hard":1}])")) ==
        c + "process.rlimits: RLIMIT_AS is there twice");
  CHECK(refusal("/process/user", {{"uid", -1}}) ==
        c + "process.user.uid: -1 is out of range (0 to 4294967295)");
  CHECK(refusal("/process/user", {{"uid", 4294967296}}) ==
        c + "process.user.uid: 4294967296 is out of range (0 to 4294967295)");
  const std::string range = ": uids and gids must be in range 0-2147483647";
  CHECK(refusal("/process/user", {{"uid", 4294967295}}) ==
        c + "process.user.uid: 4294967295" + range);
  CHECK(refusal("/process/user", {{"gid", 2147483648}}) ==
        c + "process.user.gid: 2147483648" + range);
  CHECK(refusal("/process/user", {{"additionalGids", {1, 4294967295}}}) ==
        c + "process.user.additionalGids: 4294967295" + range);
  CHECK(refusal("/process/user", {{"uid", 1.5}}) ==
        c + "process.user.uid: expected an integer, found number");
  CHECK(refusal("/process/user", {{"uid", "0"}}) ==
        c + "process.user.uid: expected an integer, found string");
  CHECK(refusal("/process/args", "sh") == c + "process.args: expected an array, found string");
  CHECK(refusal("/process/args", {"sh", 5}) ==
        c + "process.args[1]: expected a string, found number");
  CHECK(refusal("/process/args", json::array()) == c + "process: args must not be empty");
  CHECK(refusal("/process/args", nullptr) == c + "process: args must not be empty");
  CHECK(refusal("/process/args", {std::string("a\0b", 3)}) ==
        c + "process.args[0]: string with a NUL byte");
  CHECK(refusal("/process/cwd", "x") == c + "process: cwd must be an absolute path, not \"x\"");
  CHECK(refusal("/process/env", {"A=1", "B"}) ==
        c + "process.env: invalid environment variable: \"B\"");
  CHECK(refusal("/process/env", {"=1"}) ==
        c + "process.env: environment variable name can't be empty: \"=1\"");
  CHECK(refusal("/process/terminal", 1) ==
        c + "process.terminal: expected a boolean, found number");
  CHECK(refusal("/process/oomScoreAdj", 1001) ==
        c + "process.oomScoreAdj: 1001 is not within -1000 and 1000");
  CHECK(refusal("/process", nullptr) == c + "process: missing");
  CHECK(refusal("/process", json::array()) == c + "process: expected an object, found array");
  CHECK(refusal("/ociVersion", "2.0.0") ==
        c + "ociVersion: \"2.0.0\" is not a version 1 of the specification");
  CHECK(refusal("/ociVersion", nullptr) == c + "ociVersion: missing");
  CHECK(refusal("/mounts", json::parse(R"([{"destination":"x"}])")) ==
        c + "mounts[0].destination: \"x\" is not absolute");
  CHECK(refusal("/linux/namespaces", json::parse(R"([{"type":"pid"},{"type":"moon"}])")) ==
        c + "linux.namespaces[1].type: unknown value \"moon\"");
  CHECK(refusal("/linux/namespaces", json::parse(R"([{"type":"pid"},{"type":"pid"}])")) ==
        c + "linux.namespaces: pid is there twice");
  CHECK(refusal("/linux/devices",
                json::parse(R"([{"type":"c","path":"/dev/x","major":4096,"minor":0}])")) ==
        c + "linux.devices[0].major: 4096 is above the kernel's limit of 4095");
  CHECK(refusal("/linux/devices",
                json::parse(R"([{"type":"c","path":"/dev/x","major":1,"minor":1048576}])")) ==
        c + "linux.devices[0].minor: 1048576 is above the kernel's limit of 1048575");
  CHECK(refusal("/linux/devices", json::parse(R"([{"type":"b","path":"/dev/x","major":1}])")) ==
        c + "linux.devices[0]: major and minor are needed for \"/dev/x\"");
  CHECK(refusal("/linux/devices", json::parse(R"([{"type":"z","path":"/dev/x"}])")) ==
        c + "linux.devices[0].type: unknown value \"z\"");
  CHECK(refusal("/linux/rootfsPropagation", "loud") ==
        c + "linux.rootfsPropagation: unknown value \"loud\"");
  CHECK(refusal("/linux/sysctl", {{"a.b", 5}}) ==
        c + "linux.sysctl[\"a.b\"]: expected a string, found number");
  CHECK(refusal("/linux/resources/devices", json::parse(R"([{"allow":true,"access":"rx"}])")) ==
        c + "linux.resources.devices[0].access: \"rx\" holds more than r, w and m");
  CHECK(refusal("/linux/seccomp", {{"defaultAction", "SCMP_ACT_MAYBE"}}) ==
        c + "linux.seccomp.defaultAction: unknown value \"SCMP_ACT_MAYBE\"");
  CHECK(refusal("/linux/seccomp",
                {{"defaultAction", "SCMP_ACT_ALLOW"}, {"architectures", {"SCMP_ARCH_PDP11"}}}) ==
        c + "linux.seccomp.architectures[0]: unknown value \"SCMP_ARCH_PDP11\"");
  CHECK(refusal("/linux/timeOffsets", {{"tai", json::object()}}) ==
        c + "linux.timeOffsets: unknown clock \"tai\"");
}

TEST_CASE("settings that contradict each other or this platform") {
  const std::string c = "config.json: ";
  for (const char* section : {"windows", "solaris", "zos"})
    CHECK(refusal(std::string("/") + section, json::object()) ==
          c + section + ": the platform of this runtime is linux");
  CHECK(refusal("/vm", json::object()) ==
        c + "vm: the VM is set up by the runtime's configuration");
  CHECK(refusal("/linux/intelRdt", {{"closID", "x"}}) ==
        c + "linux.intelRdt: a VM has no resctrl file system: Intel RDT is not supported");
  const auto mapping = json::parse(R"([{"containerID": 0, "hostID": 1000, "size": 1}])");
  for (const char* key : {"uidMappings", "gidMappings"})
    CHECK(
        refusal(std::string("/linux/") + key, mapping) ==
        c + "linux." + key +
            ": user namespace mappings specified, but user namespace isn't enabled in the config");
  CHECK(refusal("/linux/timeOffsets", {{"boottime", {{"secs", 1}}}}) ==
        c + "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled "
            "in the config");
  CHECK(refusal("/linux/personality", {{"domain", "LINUX"}, {"flags", {"ADDR_NO_RANDOMIZE"}}}) ==
        c + "linux.personality.flags: unknown value \"ADDR_NO_RANDOMIZE\"");
}

TEST_CASE("how a process is scheduled") {
  const std::string c = "config.json: process.";
  auto scheduler = [](const char* text) {
    return refusal("/process/scheduler", json::parse(text));
  };
  CHECK(scheduler(R"({"policy": "SCHED_BATCH", "nice": -20})") == "accepted");
  CHECK(scheduler(R"({"policy": "SCHED_OTHER", "nice": 20})") ==
        c + "scheduler.nice: 20 is not within -20 and 19");
  CHECK(scheduler(R"({"policy": "SCHED_OTHER", "nice": -21})") ==
        c + "scheduler.nice: -21 is not within -20 and 19");
  CHECK(scheduler(R"({"policy": "SCHED_IDLE", "priority": 1})") ==
        c + "scheduler.priority: is of SCHED_FIFO and SCHED_RR, not of SCHED_IDLE");
  CHECK(scheduler(R"({"policy": "SCHED_RR", "deadline": 1})") ==
        c + "scheduler.deadline: is of SCHED_DEADLINE alone");
  CHECK(scheduler(R"({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3})") ==
        "accepted");
  CHECK(scheduler(R"({"policy": "SCHED_FIFO", "flags": ["SCHED_FLAG_NONE"]})") ==
        c + "scheduler.flags[0]: unknown value \"SCHED_FLAG_NONE\"");
  CHECK(scheduler("{}") == c + "scheduler.policy: missing");
  for (int priority : {-1, 8})
    CHECK(refusal("/process/ioPriority", {{"class", "IOPRIO_CLASS_BE"}, {"priority", priority}}) ==
          c + "ioPriority.priority: " + std::to_string(priority) + " is not within 0 and 7");
  CHECK(refusal("/process/execCPUAffinity", {{"initial", "0"}, {"final", "3-1"}}) ==
        c + "execCPUAffinity.final: \"3-1\" is no processor below 1024 and no range of them");
}

TEST_CASE("lists of processors") {
  using Cpus = std::vector<unsigned>;
  CHECK(parse_cpu_list("0").value() == Cpus{0});
  CHECK(parse_cpu_list("3, 0-2 ,,2-4").value() == Cpus{0, 1, 2, 3, 4});
  CHECK(parse_cpu_list("1023").value() == Cpus{1023});
  // Each kept as often as it is named would be gigabytes.
  std::string repeated;
  for (int i = 0; i < 1'000'000; ++i) repeated += "0-1023,";
  CHECK(parse_cpu_list(repeated).value().size() == 1024);
  for (const char* bad : {"", ",", " ", "1024", "0-1024", "a", "1-", "-1", "2-1", "1-2-3", "0x1",
                          "1 2", "4294967296"})
    CHECK(parse_cpu_list(bad).error().code() == Code::kInvalidArgument);
}

TEST_CASE("resources that cgroup v2 does not have are refused by their place") {
  const std::string where = "config.json: linux.resources.";
  auto with = [](const std::string& pointer, const json& value) {
    return refusal("/linux/resources" + pointer, value);
  };
  CHECK(with("/memory/disableOOMKiller", true) ==
        where + "memory.disableOOMKiller: the OOM killer cannot be disabled on cgroup v2");
  CHECK(with("/cpu/realtimeRuntime", 950000) ==
        where + "cpu.realtimeRuntime: cgroup v2 has no limits for real-time scheduling");
  CHECK(with("/cpu/realtimePeriod", 1000000) ==
        where + "cpu.realtimePeriod: cgroup v2 has no limits for real-time scheduling");
  CHECK(with("/cpu/realtimePeriod", 0) == "accepted");
  CHECK(with("/blockIO/leafWeight", 10) ==
        where + "blockIO.leafWeight: cgroup v2 has no weight of the leaf");
  CHECK(with("/blockIO/weightDevice",
             json::parse(R"([{"major": 8, "minor": 0, "leafWeight": 10}])")) ==
        where + "blockIO.weightDevice[0].leafWeight: cgroup v2 has no weight of the leaf");
  CHECK(with("/network/classID", 1) ==
        where + "network.classID: cgroup v2 has no net_cls controller");
  CHECK(with("/network/priorities", json::parse(R"([{"name": "lo", "priority": 1}])")) ==
        where + "network.priorities: cgroup v2 has no net_prio controller");
}

TEST_CASE("sizes of huge pages") {
  const auto bytes = [](const char* size) { return HugepageLimit{size, 0}.page_bytes(); };
  CHECK(bytes("64KB") == 65536);
  CHECK(bytes("2MB") == 2097152);
  CHECK(bytes("1GB") == 1073741824);
  CHECK(bytes("17179869184GB") == 0);
  CHECK(bytes("99999999999999999999MB") == 0);
}

TEST_CASE("resources that name nothing real") {
  const std::string where = "config.json: linux.resources.";
  auto with = [](const std::string& pointer, const json& value) {
    return refusal("/linux/resources" + pointer, value);
  };
  CHECK(with("/blockIO/weight", 9) == where + "blockIO.weight: 9 is not within 10 and 1000");
  CHECK(with("/blockIO/weight", 1001) == where + "blockIO.weight: 1001 is not within 10 and 1000");
  CHECK(with("/blockIO/weight", 0) == "accepted");
  for (const char* size : {"", "2", "MB", "02MB", "2mb", "2MB/..", "2TB", "-2MB"})
    CHECK(with("/hugepageLimits", {{{"pageSize", size}, {"limit", 0}}}) ==
          where + "hugepageLimits[0].pageSize: \"" + size + "\" is no size as \"2MB\" is");
  for (const char* device : {"", "a b", "a\thca_handle=5"})
    CHECK(with("/rdma", {{device, json::object()}}).ends_with("is no name of a device"));
  CHECK(with("/unified", {{"../memory.max", "1"}}) ==
        where + "unified: unified resource \"../memory.max\" must be a file name (no slashes)");
  CHECK(with("/unified", {{"cgroup.procs", "1"}}) ==
        where + "unified: cgroup.procs would move processes of the guest");
}

TEST_CASE("user text in messages is cut and escaped") {
  CHECK(refusal("/ociVersion", "\x1b[31m\"" + std::string(100, 'x')) ==
        "config.json: ociVersion: \"\\x1b[31m\\\"" + std::string(58, 'x') +
            "\"... is not a version 1 of the specification");
}

TEST_CASE("documents that are none") {
  CHECK(refusal("") == "config.json: not valid JSON at byte 1");
  CHECK(refusal("{\"a\": }") == "config.json: not valid JSON at byte 7");
  CHECK(refusal("[]") == "config.json: expected an object, found array");
  CHECK(refusal("{\"ociVersion\": \"\xff\xfe\"}").find("not valid JSON") != std::string::npos);
  CHECK(refusal(std::string(kMaxSpecBytes + 1, ' ')) ==
        "config.json: 8388609 bytes, more than the limit of 8388608");
  CHECK(refusal(std::string(100'000, '[')) == "config.json: nested deeper than 32");
  CHECK(refusal("\"" + std::string(1000, '[') + "\"") ==
        "config.json: expected an object, found string");
  CHECK(refusal("\"\\\"" + std::string(1000, '{') + "\"") ==
        "config.json: expected an object, found string");
  // Integers that no type holds become doubles in the library.
  CHECK(refusal("/process/oomScoreAdj", json::parse("1e400", nullptr, false)) != "accepted");
}

TEST_CASE("large but right") {
  auto spec = minimal();
  for (int i = 0; i < 10'000; ++i)
    spec["process"]["env"].push_back("VARIABLE" + std::to_string(i) + "=" + std::string(100, 'v'));
  spec["process"]["args"].push_back(std::string(1024 * 1024, 'a'));
  auto parsed = parse_spec(spec.dump());
  REQUIRE(parsed.has_value());
  CHECK(parsed->process.env.size() == 10'000);
  CHECK(parsed->process.args[1].size() == 1024 * 1024);
}

TEST_CASE("unknown keys are ignored, null is absence") {
  auto spec = minimal();
  spec["moon"] = {{"phase", {"full"}}};
  spec["process"]["commandLine"] = "x";
  spec["linux"] = nullptr;
  spec["mounts"] = nullptr;
  CHECK(parse_spec(spec.dump()).has_value());
}

TEST_CASE("resources alone") {
  auto resources = parse_resources(R"({"memory": {"limit": 5, "kernel": 1, "useHierarchy": true},
                                       "pids": {"limit": 7}, "cpu": {"cpus": "0"}})");
  REQUIRE(resources.has_value());
  CHECK(resources->memory.limit == 5);
  CHECK(resources->pids_limit == 7);
  CHECK_FALSE(resources->cpu.quota_us);
  CHECK(not_enforced(*resources) == std::vector<std::string>{"linux.resources.memory.kernel"});
  CHECK(parse_resources(R"({"memory": {"limit": "5"}})").error().message() ==
        "resources: memory.limit: expected an integer, found string");
  CHECK(parse_resources("").error().code() == Code::kInvalidArgument);
}

TEST_CASE("a process alone") {
  auto process = parse_process(R"({"args": ["ls"], "cwd": "/"})");
  REQUIRE(process.has_value());
  CHECK(process->args[0] == "ls");
  CHECK(parse_process("{\"cwd\": \"/\"}").error().message() == "process: args must not be empty");
}

}  // namespace kata::oci
