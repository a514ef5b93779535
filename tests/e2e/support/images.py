"""Images that differ from another one in their configuration only."""

import hashlib
import io
import json
import tarfile


def with_config(archive, result, name, **changes):
    """Writes the OCI archive `result`, the image of `archive` under another name and with these
    fields of its config (OCI image-spec, config.md: User, Env, Cmd…)."""
    with tarfile.open(archive) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    index = json.loads(files["index.json"])
    [entry] = index["manifests"]
    manifest = json.loads(files[_blob(entry)])
    config = json.loads(files[_blob(manifest["config"])])
    config["config"].update(changes)
    manifest["config"] |= _add_blob(files, config)
    entry |= _add_blob(files, manifest)
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    files["index.json"] = json.dumps(index).encode()
    with tarfile.open(result, "w") as tar:
        for path, data in files.items():
            header = tarfile.TarInfo(path)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return result


def unpack(archive, directory):
    """Extracts the layers of the OCI archive's image to `directory`; knows no whiteouts."""
    with tarfile.open(archive) as tar:
        def document(path):
            return json.load(tar.extractfile(path))
        manifest = document(_blob(document("index.json")["manifests"][0]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=tar.extractfile(_blob(layer))) as files:
                files.extractall(directory, numeric_owner=True)
    return directory


def _blob(descriptor):
    return "blobs/" + descriptor["digest"].replace(":", "/")


def _add_blob(files, document):
    data = json.dumps(document).encode()
    descriptor = {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
    files[_blob(descriptor)] = data
    return descriptor
