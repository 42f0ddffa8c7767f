"""The store on a real S3 protocol: short faults are asked again, halves are never seen."""

import json
import logging
import shutil
import threading
import time
from collections import Counter

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from flows.takedown import Request, look
from flows.takedown_record import leave_record, takedowns
from tasks.common import store as store_module
from tasks.common.lease import Lease
from tasks.common.manifest import MANIFEST_NAME, ArtifactRef
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise
from tasks.common.store import Store
from tasks.common.trace import Wanted, footprints
from tasks.common.training import TRAIN_FOLDER, _Listener
from tasks.common.url_list import UrlList
from tests.stages import GivenConfig, document, given

BUCKET = "bucket"


class Faults:
    """An S3 server that answers the next requests as a busy one does."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.next: list[str] = []
        self.served: Counter[str] = Counter()

    def __call__(self, environ, start_response):
        reads = environ["REQUEST_METHOD"] != "PUT"
        if not self.next or (reads and self.next[0] == "lost answer"):
            return self.app(environ, start_response)
        fault = self.next.pop(0)
        self.served[fault] += 1
        if fault == "timeout":
            time.sleep(3)
            fault = "500"
        if fault == "lost answer":  # done, but the client never learns of it
            list(self.app(environ, lambda *_: None))
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


def test_a_lease_whose_first_answer_was_lost_is_ours(s3_machine):
    store = Store(s3_machine.store)
    FAULTS.next[:] = ["lost answer"]
    with Lease(store.fs, f"{store.root}/.lease/x/y", done=lambda: False) as lease:
        assert FAULTS.served["lost answer"] == 1
        assert lease.held
        lease.check()
    assert store.fs.find(store.root) == []


def test_of_two_leases_on_s3_one_is_held(s3_machine):
    store, looks = Store(s3_machine.store), iter([False, True])
    folder = f"{store.root}/.lease/x/y"
    with Lease(store.fs, folder, done=lambda: False) as holder:
        with Lease(store.fs, folder, done=lambda: next(looks)) as rival:
            assert (holder.held, rival.held) == (True, False)
        holder.check()


REF = ArtifactRef(stage="x", fingerprint="0" * 16)


def _commit(workspace, name, text):
    (workspace.path / name).write_text(text)
    workspace.commit("checkpoint", name, [name])


def _remote_names(store):
    return {path.removeprefix(f"{store.path(REF)}/") for path in store.fs.find(store.path(REF))}


def test_a_machine_that_comes_back_goes_on_from_the_newest_commit(s3_machine, tmp_path):
    first, second = (Store(s3_machine.store, tmp_path / name) for name in ("first", "second"))
    _commit(first.workspace(REF), "step-1", "one")
    _commit(second.workspace(REF), "step-2", "two")
    again = first.workspace(REF)
    assert again.committed("checkpoint") == "step-2"
    assert (again.path / "step-2").read_text() == "two"


def test_a_replaced_commit_leaves_nothing_behind_on_the_remote(s3_machine):
    store = Store(s3_machine.store)
    workspace = store.workspace(REF)
    for step in range(3):
        _commit(workspace, f"step-{step}", str(step))
    assert _remote_names(store) == {"step-2", ".commits/checkpoint.json"}


def test_a_commit_cut_short_leaves_the_former_one_whole(s3_machine, monkeypatch, tmp_path):
    store = Store(s3_machine.store)
    workspace = store.workspace(REF)
    _commit(workspace, "step-1", "one")
    put = store.fs.put_file

    def refuse_records(source, target):
        if target.endswith(".json"):
            raise ConnectionError("the network went away")
        put(source, target)

    monkeypatch.setattr(store.fs, "put_file", refuse_records)
    with pytest.raises(ConnectionError):
        _commit(workspace, "step-2", "two")
    assert workspace.committed("checkpoint") == "step-1"
    elsewhere = Store(s3_machine.store, tmp_path / "elsewhere").workspace(REF)
    assert elsewhere.committed("checkpoint") == "step-1"
    assert (elsewhere.path / "step-1").read_text() == "one"


def test_what_one_machine_discards_is_gone_for_all(s3_machine, tmp_path):
    first, second = (Store(s3_machine.store, tmp_path / name) for name in ("first", "second"))
    _commit(first.workspace(REF), "step-1", "one")
    second.workspace(REF).discard()
    assert _remote_names(first) == set()
    assert first.workspace(REF).committed("checkpoint") is None


def _save_checkpoint(path, step):
    folder = path / TRAIN_FOLDER / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_text(f"weights {step}")
    (folder / "checksums.json").write_text(json.dumps({"weights": "…"}))
    (path / TRAIN_FOLDER / "metrics.jsonl").write_text(f"up to {step}\n")
    return folder


@pytest.fixture
def training(s3_machine, tmp_path):
    workspace = Store(s3_machine.store, tmp_path / "here").workspace(REF)
    log = logging.getLogger("test")
    return StageContext(inputs={}, workspace=workspace, machine=s3_machine, log=log)


def _say(listener, folder):
    listener({"event": "checkpoint", "path": str(folder)})


def _committed_elsewhere(training, tmp_path):
    workspace = Store(training.machine.store, tmp_path / "elsewhere").workspace(REF)
    step = workspace.committed("checkpoint")["path"]
    return step, (workspace.path / TRAIN_FOLDER / "checkpoints" / step / "weights").read_text()


def test_a_checkpoint_deleted_while_it_is_uploaded_is_committed_all_the_same(
    training, monkeypatch, tmp_path
):
    folder = _save_checkpoint(training.path, 1)
    fs = training.workspace._store.fs
    put = fs.put_file

    def delete_then_put(source, target):
        shutil.rmtree(folder, ignore_errors=True)
        put(source, target)

    monkeypatch.setattr(fs, "put_file", delete_then_put)
    _say(_Listener(training), folder)
    assert _committed_elsewhere(training, tmp_path) == ("step-1", "weights 1")


@pytest.mark.parametrize("gone", ["all", "weights", "checksums.json"])
def test_a_checkpoint_deleted_before_its_commit_is_passed_over(training, tmp_path, gone):
    listener = _Listener(training)
    _say(listener, _save_checkpoint(training.path, 1))
    late = _save_checkpoint(training.path, 2)
    shutil.rmtree(late) if gone == "all" else (late / gone).unlink()
    _say(listener, late)
    assert _committed_elsewhere(training, tmp_path) == ("step-1", "weights 1")
    _say(listener, _save_checkpoint(training.path, 3))
    assert not [name for name in _remote_names(training.workspace._store) if "step-1" in name]


def test_a_damaged_copy_is_refused(s3_machine):
    ref = given(s3_machine, files=FILES)
    store = Store(s3_machine.store)
    store.fs.pipe_file(store.path(ref, "a.txt"), b"tampered")
    with pytest.raises(ValueError, match=r"a\.txt is damaged"):
        store.open(ref).fetch("a.txt")


def test_a_page_is_found_without_fetching_whole_artifacts(s3_machine):
    rows = [
        document(id=str(n), url=f"https://{'ab'[n % 2]}.example/{n}", text="t") for n in range(6)
    ]
    ref = given(s3_machine, [rows])
    store = Store(s3_machine.store)
    (found,) = footprints(store, Wanted(urls=UrlList(["a.example"])))
    assert (found.artifact, found.touch, found.num_kept) == (str(ref), "holds", 3)
    assert not (store.local_folder / "fetched").exists()


def test_what_is_deleted_is_deleted_here_too(s3_machine):
    ref = given(s3_machine, files={"a.txt": "secret"})
    store = Store(s3_machine.store)
    fetched = store.open(ref).fetch("a.txt")
    assert fetched.read_text() == "secret"
    store.delete(ref)
    assert not store.has(ref) and not fetched.exists()


def test_a_takedown_is_recorded_beside_the_artifacts(s3_machine, tmp_path):
    given(s3_machine, [[document(id="1", url="https://a.example/1", text="t")]])
    store, listed = Store(s3_machine.store), tmp_path / "list.txt"
    listed.write_text("a.example\n")
    record = look(Request.read(listed), store, "corpus")
    leave_record(store, record)
    assert takedowns(store) == [record]
    assert record.num_documents == 1
