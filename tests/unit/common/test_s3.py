"""The store on a real S3 protocol: short faults are asked again, halves are never seen."""

import threading
import time
from collections import Counter

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tasks.common import store as store_module
from tasks.common.manifest import MANIFEST_NAME
from tasks.common.stage import Machine, Outcome, Stage, materialise
from tasks.common.store import Store
from tests.stages import GivenConfig, given

BUCKET = "bucket"


class Faults:
    """An S3 server that answers the next requests as a busy one does."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.next: list[str] = []
        self.served: Counter[str] = Counter()

    def __call__(self, environ, start_response):
        if not self.next:
            return self.app(environ, start_response)
        fault = self.next.pop(0)
        self.served[fault] += 1
        if fault == "timeout":
            time.sleep(3)
            fault = "500"
        start_response(f"{fault} Busy", [("Content-Length", "0")])
        return [b""]


FAULTS = Faults()


@pytest.fixture(scope="module")
def s3_url():
    server = make_server("127.0.0.1", 0, FAULTS, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def s3_machine(s3_url, monkeypatch, tmp_path, request):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(store_module.S3_OPTIONS["config_kwargs"], "read_timeout", 1)
    FAULTS.next.clear()
    FAULTS.served.clear()
    boto3.client("s3", endpoint_url=s3_url).create_bucket(Bucket=BUCKET)
    return Machine(store=f"s3://{BUCKET}/{request.node.name}", num_workers=1)


FILES = {"a.txt": "first", "deep/b.txt": "second" * 1000}


def test_an_artifact_on_s3_reads_back_as_it_was_written(s3_machine):
    ref = given(s3_machine, files=FILES)
    store = Store(s3_machine.store)
    artifact = store.open(ref)
    assert {name: artifact.fetch(name).read_text() for name in FILES} == FILES
    assert (artifact.folder() / "deep/b.txt").read_text() == FILES["deep/b.txt"]
    assert store.verify(ref) == []
    assert [m.ref for m in store.manifests()] == [ref]
    assert given(s3_machine, files=FILES) == ref


def test_the_address_does_not_depend_on_where_the_store_is(s3_machine, machine):
    assert given(s3_machine, files=FILES) == given(machine, files=FILES)


@pytest.mark.parametrize("fault", ["500", "503", "timeout"])
def test_faults_that_pass_are_asked_again(s3_machine, fault):
    FAULTS.next[:] = [fault, fault]
    ref = given(s3_machine, files=FILES)
    FAULTS.next[:] = [fault, fault]
    assert Store(s3_machine.store).open(ref).fetch("a.txt").read_text() == "first"
    assert FAULTS.served[fault] == 4


def test_a_half_written_artifact_is_never_seen_and_is_finished_later(s3_machine, monkeypatch):
    store = Store(s3_machine.store)

    def refuse_manifest(path, *args, **kwargs):
        if path.endswith(MANIFEST_NAME):
            raise ConnectionError("the network went away")
        return original(path, *args, **kwargs)

    original = store.fs.pipe_file
    monkeypatch.setattr(store.fs, "pipe_file", refuse_manifest)
    with pytest.raises(ConnectionError):
        given(s3_machine, files=FILES)
    assert store.fs.find(store.root), "its files are there"
    assert list(store.manifests()) == [], "but it is not"
    monkeypatch.setattr(store.fs, "pipe_file", original)
    assert store.verify(given(s3_machine, files=FILES)) == []


def _two_pieces(context, config):
    made = context.map(_piece, [(context.path, n) for n in "ab"], names=lambda i: ["ab"[i]])
    return Outcome(metrics={"made": made})


def _piece(folder, name):
    FAULTS.served[f"made {name}"] += 1
    if name == "b" and FAULTS.served["made b"] == 1:
        raise OSError("this machine broke")
    (folder / name).write_text(name)
    return name


def test_another_machine_goes_on_from_what_was_committed(s3_machine, monkeypatch, tmp_path):
    stage = Stage("pieces", 1, GivenConfig, (), _two_pieces)
    with pytest.raises(OSError, match="broke"):
        materialise(stage, GivenConfig(), {}, s3_machine)
    monkeypatch.setenv("HOME", str(tmp_path / "another-machine"))
    manifest, _ = materialise(stage, GivenConfig(), {}, s3_machine)
    assert FAULTS.served["made a"] == 1
    assert [entry.name for entry in manifest.files] == ["a", "b"]
    names = {path.rpartition("/")[2] for path in Store(s3_machine.store).fs.find(s3_machine.store)}
    assert names == {"a", "b", MANIFEST_NAME}, "no commits or leases are left behind"


def test_a_damaged_copy_is_refused(s3_machine):
    ref = given(s3_machine, files=FILES)
    store = Store(s3_machine.store)
    store.fs.pipe_file(store.path(ref, "a.txt"), b"tampered")
    with pytest.raises(ValueError, match=r"a\.txt is damaged"):
        store.open(ref).fetch("a.txt")
