"""Common Crawl from a bucket: unsigned where there are no credentials, else as they say."""

import hashlib
import threading
from collections import Counter
from pathlib import Path

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl import remote
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
from tests.unit.crawl.archive_host import CRAWL_ID, build_crawl, hosting, sample_pages

BUCKET = "commoncrawl"
PREFIX = "mirror"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Bucket:
    """An S3 server that notes who asks for objects, and first answers as it is told to."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.next: list[str] = []
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # bytes by file name

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] != "GET":
            return self.app(environ, start_response)
        self.asked["signed" if "HTTP_AUTHORIZATION" in environ else "unsigned"] += 1
        self.asked[environ["HTTP_USER_AGENT"]] += 1
        fault = self.next.pop(0) if self.next else None
        if fault == "cut":
            headers = []
            body = b"".join(self.app(environ, lambda *args: headers.append(args)))
            start_response(*headers[0][:2])
            return [body[: len(body) // 2]]
        if fault:
            start_response(f"{fault} X", [("Content-Length", str(len(DENIED)))])
            return [DENIED]
        body = b"".join(self.app(environ, start_response))
        self.sent[environ["PATH_INFO"].rpartition("/")[2]] += len(body)
        return [body]


BUCKET_SERVER = Bucket()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bucket")
    build_crawl(folder, sample_pages())
    return folder


@pytest.fixture(scope="module")
def s3_url(root):
    server = make_server("127.0.0.1", 0, BUCKET_SERVER, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="owner",
        aws_secret_access_key="owner",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    for path in root.rglob("*"):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            client.put_object(
                Bucket=BUCKET,
                Key=f"{PREFIX}/{name}",
                Body=path.read_bytes(),
                ACL="public-read",
            )
    yield url
    server.shutdown()


@pytest.fixture(autouse=True)
def _no_credentials(s3_url, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.002)
    BUCKET_SERVER.next.clear()
    BUCKET_SERVER.asked.clear()


def take(
    store: Path | str, base_url: str = f"s3://{BUCKET}/{PREFIX}", **fields: object
) -> Manifest:
    config = SourceConfig(
        name="cc",
        type="common-crawl",
        crawl_id=CRAWL_ID,
        base_url=base_url,
        **{"requests_per_second": 1000.0, **fields},
    )
    return materialise(STAGE, config, {}, Machine(store=str(store), num_workers=1))[0]


def contents(manifest: Manifest) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in manifest.files}


PARTS = [{"crawl_part": "warc", "num_files": 2}, {"tlds": ["de"]}]


@pytest.mark.parametrize("fields", PARTS, ids=["archives", "pages"])
def test_a_bucket_gives_the_same_bytes_as_the_web_host(root, tmp_path, fields):
    with hosting(root) as host:
        by_http = take(tmp_path / "http", host.url, **fields)
    by_s3 = take(tmp_path / "s3", **fields)
    assert contents(by_s3) == contents(by_http)
    assert by_s3.ref == by_http.ref


def test_without_credentials_nothing_is_signed_and_with_them_all_is(tmp_path, monkeypatch):
    take(tmp_path / "a", user_agent="TestBot/1", **PARTS[0])
    assert BUCKET_SERVER.asked["unsigned"] == BUCKET_SERVER.asked["TestBot/1"] == 3
    assert not BUCKET_SERVER.asked["signed"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "me")
    take(tmp_path / "b", **PARTS[0])
    assert BUCKET_SERVER.asked["signed"] == 3


@pytest.mark.parametrize("fields", PARTS, ids=["archives", "pages"])
def test_a_busy_bucket_and_cut_bodies_change_nothing(tmp_path, fields):
    undisturbed = contents(take(tmp_path / "a", **fields))
    BUCKET_SERVER.next[:] = ["503", "500", "cut", "cut", "429", "cut", "503"]
    assert contents(take(tmp_path / "b", **fields)) == undisturbed
    assert BUCKET_SERVER.next == []


def test_a_bucket_that_wants_credentials_is_not_asked_twice(tmp_path):
    BUCKET_SERVER.next[:] = ["403"]
    with pytest.raises(ValueError, match="AWS_ACCESS_KEY_ID"):
        take(tmp_path, **PARTS[0])
    assert BUCKET_SERVER.asked["unsigned"] == 1


def test_what_is_not_in_the_bucket_is_said(tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        take(tmp_path, base_url=f"s3://{BUCKET}/elsewhere/", **PARTS[0])


def test_a_run_goes_on_where_a_bucket_left_it(tmp_path, monkeypatch, root):
    monkeypatch.setattr(remote, "MAX_ATTEMPTS", 2)
    fields = {**PARTS[0], "max_connections_per_host": 1}
    BUCKET_SERVER.next[:] = ["", "cut", "503", "503"]  # the listing is given
    with pytest.raises(RuntimeError, match="run it again"):
        take(tmp_path, **fields)
    (partial,) = [path for path in tmp_path.rglob(".download/*.warc.gz") if path.stat().st_size]
    size_before = partial.stat().st_size
    BUCKET_SERVER.sent.clear()
    manifest = take(tmp_path, **fields)
    whole = {path.name: path.read_bytes() for path in root.rglob("*.warc.gz")}
    taken = {entry.name: entry.sha256 for entry in manifest.files if entry.name in whole}
    assert taken == {name: hashlib.sha256(whole[name]).hexdigest() for name in taken}
    assert BUCKET_SERVER.sent[partial.name] == len(whole[partial.name]) - size_before


def test_pages_go_from_bucket_to_bucket(tmp_path, monkeypatch):
    local = take(tmp_path / "local", **PARTS[1])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner")
    store = f"s3://{BUCKET}/store"
    assert contents(take(store, **PARTS[1])) == contents(local)
    names = {path.removeprefix(f"{BUCKET}/store/crawl/") for path in Store(store).fs.find(store)}
    assert {name.partition("/")[2] for name in names} == {*contents(local), "manifest.json"}
