"""What the manifests say, as far as it can be seen without a cluster."""

import re
from pathlib import Path

import pytest
import yaml

import containerd_config
import handler_block
import installer
import node_label

HERE = Path(__file__).resolve().parent
DAEMON_SETS = ("daemonset.yaml", "remove.yaml")


def objects(name):
    return {(item["kind"], item["metadata"]["name"]): item
            for item in yaml.safe_load_all((HERE / name).read_text())}


def daemon_set(name):
    [found] = [item for (kind, _), item in objects(name).items() if kind == "DaemonSet"]
    return found


@pytest.mark.parametrize("name", DAEMON_SETS)
def test_only_the_init_container_has_rights_and_the_token(name):
    pod = daemon_set(name)["spec"]["template"]["spec"]
    assert not pod["automountServiceAccountToken"]
    assert not {"hostPID", "hostNetwork", "hostIPC"} & set(pod)
    [init], [stays] = pod["initContainers"], pod["containers"]
    assert init["securityContext"]["privileged"]
    mounts = {mount["name"]: mount["mountPath"] for mount in init["volumeMounts"]}
    assert mounts == {"host": installer.parse(["install"]).root, "token": str(node_label.ACCOUNT)}
    assert "volumeMounts" not in stays and stays["securityContext"]["runAsNonRoot"]
    assert stays["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", DAEMON_SETS)
def test_the_program_understands_what_it_is_called_with(name):
    item = daemon_set(name)
    spec = item["spec"]["template"]
    [init] = spec["spec"]["initContainers"]
    assert installer.parse(init["args"]).command == init["name"]
    assert "NODE_NAME" in {variable["name"] for variable in init["env"]}
    assert item["spec"]["selector"]["matchLabels"] == spec["metadata"]["labels"]


def test_the_two_do_not_take_each_other_for_theirs():
    names = [daemon_set(name)["spec"]["selector"]["matchLabels"] for name in DAEMON_SETS]
    assert names[0] != names[1]


def test_the_account_may_label_nodes_and_nothing_else():
    found = objects("daemonset.yaml")
    [binding] = [item for (kind, _), item in found.items() if kind == "ClusterRoleBinding"]
    account = ("ServiceAccount", binding["subjects"][0]["name"])
    role = found[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}]
    assert found[account]["metadata"]["namespace"] == binding["subjects"][0]["namespace"]
    for name in DAEMON_SETS:
        item = daemon_set(name)
        assert item["metadata"]["namespace"] == binding["subjects"][0]["namespace"]
        assert item["spec"]["template"]["spec"]["serviceAccountName"] == account[1]


def test_the_runtime_class_names_handler_and_label():
    runtime_class = yaml.safe_load((HERE.parent / "runtimeclass.yaml").read_text())
    assert runtime_class["handler"] == installer.parse(["install"]).handler
    assert runtime_class["scheduling"]["nodeSelector"] == {node_label.LABEL: "true"}


def test_the_image_holds_what_the_program_looks_for():
    text = (HERE / "Containerfile").read_text()
    copied = dict(re.findall(r"^COPY (\S+) (\S+)$", text, re.MULTILINE))
    assert copied["kata-cpp"] == str(installer.parse(["install"]).artifacts)
    assert f"{copied['program']}/installer.py" in text


@pytest.mark.parametrize("version", handler_block.PLUGINS)
def test_the_snippets_are_what_containerd_reads(version):
    settings = containerd_config.parse((HERE.parent / f"containerd/v{version}.toml").read_text(),
                                       "snippet", "")
    assert settings["version"] == version
    written = containerd_config.parse(handler_block.handler_table(version, "kata"), "handler", "")
    assert settings["plugins"] == written["plugins"]
