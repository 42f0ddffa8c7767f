"""Each data stage alone on plain files, and mistakes that are one clear line."""

import gzip
import io
import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from warcio.warcwriter import WARCWriter

from flows.cli import main
from tasks.common.manifest import Manifest
from tasks.crawl import remote
from tests.stages import given
from tests.unit.crawl.archive_host import CRAWL_ID, Fault, build_crawl, hosting, sample_pages
from tests.unit.crawl.crawl_site import numbered_site, serving
from tests.unit.extract.pdf_fixtures import paragraph, pdf

PROSE = (
    "The quick brown fox of the north is a careful animal, and it does not jump over the lazy dog "
    "that lives with the farmer. It goes to the river to drink, and when the night comes it is to "
    "be found at home with its young. People have said that the fox and the dog are friends; that "
    "is not so, but they have never been seen to fight. "
)


def bloomery(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _stage(name, source, output, *changes):
    options = [option for change in changes for option in ("--set", change)]
    done = bloomery("stage", name, "--input", source, "--output", output, "--workers", 1, *options)
    assert done.exit_code == 0, done.output
    manifest = Manifest.model_validate_json((output / "manifest.json").read_text())
    assert manifest.identity.stage == name
    return manifest


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "pages.warc.gz"
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number in range(3):
            html = f"<html><body><main><p>{PROSE} Number {number}.</p></main></body></html>"
            body = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{html}"
            record = writer.create_warc_record(
                f"https://fox.invalid/{number}", "response", payload=io.BytesIO(body.encode())
            )
            writer.write_record(record)
    return path


def test_the_data_stages_one_after_another_on_plain_files(archive, tmp_path):
    extracted = _stage("extract", archive, tmp_path / "texts")
    assert extracted.funnel.num_kept == 3
    texts = tmp_path / "texts"
    text = pq.read_table(texts / "part-00000.parquet")["text"][0].as_py()
    assert "careful animal" in text
    kept = _stage("filter", texts, tmp_path / "kept", "recipes=[gopher-quality]")
    assert kept.funnel.num_kept == 3
    unique = _stage("dedup", tmp_path / "kept" / "part-00000.parquet", tmp_path / "unique")
    assert unique.funnel.dropped == {"near_duplicate": 2}
    cut = _stage("passages", texts, tmp_path / "cut", "paragraphs.on=true", "min_left_words=2")
    assert cut.funnel.dropped == {"little_left": 2}
    again = _stage("dedup", tmp_path / "cut", tmp_path / "again")
    assert again.funnel.num_in == cut.funnel.num_kept, "repeated.jsonl is no document"


def test_what_a_filter_notes_of_suites_is_no_document(tmp_path):
    (tmp_path / "docs.jsonl").write_text(json.dumps({"text": PROSE * 4}))
    question = {"question": "Who has been seen to be a careful animal? " + PROSE[:200]}
    (tmp_path / "quiz.jsonl").write_text(json.dumps(question))
    kept = tmp_path / "kept"
    suites = f"decontamination.suites=[{tmp_path / 'quiz.jsonl'}]"
    settings = ["recipes=[]", suites, "decontamination.action=tag"]
    _stage("filter", tmp_path / "docs.jsonl", kept, *settings)
    assert "careful animal" in (kept / "contamination.jsonl").read_text()
    (kept / "later-notes.jsonl").write_text(json.dumps({"text": "of a stage to come"}))
    assert _stage("dedup", kept, tmp_path / "unique").funnel.num_in == 1


def test_a_folder_without_documents_is_refused(archive, tmp_path):
    _stage("crawl", archive, tmp_path / "pages")
    done = bloomery("stage", "dedup", "--input", tmp_path / "pages", "--output", tmp_path / "out")
    assert done.exit_code == 2 and "holds no documents" in done.stderr


def test_packed_jsonl_with_bad_lines_that_are_set_aside_and_counted(tmp_path, caplog):
    lines = [
        json.dumps({"text": PROSE + str(n), "url": f"https://x.invalid/{n}"}) for n in range(3)
    ]
    packed = tmp_path / "docs.jsonl.gz"
    packed.write_bytes(gzip.compress("\n".join([*lines, "not json", '{"no": "text"}']).encode()))
    manifest = _stage("dedup", packed, tmp_path / "unique", "minhash=false")
    assert manifest.funnel.num_kept == 3
    assert "set aside 2" in caplog.text


def test_crawl_takes_files_and_archives(archive, tmp_path):
    names = [entry.name for entry in _stage("crawl", archive, tmp_path / "pages").files]
    assert names == ["pages.parquet", "pages.warc.gz"]


def test_crawl_takes_a_list_of_urls(tmp_path):
    with serving(numbered_site(3)) as site:
        urls = [f"http://{site.address}/{number}" for number in (0, 2)]
        listed = tmp_path / "urls.txt"
        listed.write_text("# two pages\n" + "\n".join(urls) + "\n\n")
        manifest = _stage("crawl", listed, tmp_path / "pages", "private_hosts=[127.0.0.1]")
    assert manifest.funnel.num_kept == 2
    extracted = _stage("extract", tmp_path / "pages", tmp_path / "texts")
    assert extracted.funnel.num_in == 2


def _crawl_from(host, output):
    settings = ["type=common-crawl", f"crawl_id={CRAWL_ID}", "tlds=[de]", f"base_url={host.url}"]
    settings += ["requests_per_second=1000", "max_connections_per_host=1"]
    options = [option for setting in settings for option in ("--set", setting)]
    return bloomery("stage", "crawl", "--output", output, *options)


def test_a_crawl_alone_takes_a_source_without_files(tmp_path):
    build_crawl(tmp_path / "host", sample_pages())
    with hosting(tmp_path / "host") as host:
        done = _crawl_from(host, tmp_path / "pages")
    assert done.exit_code == 0, done.output
    texts = _stage("extract", tmp_path / "pages", tmp_path / "texts")
    assert texts.funnel.num_in == 54, "nine hosts under .de, six pages each"


def test_a_crawl_alone_that_gave_up_goes_on_when_it_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.001)
    last = build_crawl(tmp_path / "host", sample_pages())[-1].path
    with hosting(tmp_path / "host") as host:
        host.faults[last] = [Fault(503)] * remote.MAX_ATTEMPTS
        gave_up = _crawl_from(host, tmp_path / "pages")
        assert gave_up.exit_code == 1 and "run it again to go on" in gave_up.stderr
        num_asked = len(host.asked)
        assert _crawl_from(host, tmp_path / "pages").exit_code == 0
        indexes = [asked for asked in host.asked[num_asked:] if asked.path.endswith(".parquet")]
        assert indexes == []
    assert {path.name for path in tmp_path.iterdir()} == {"host", "pages"}


def _texts(folder):
    shards = sorted(folder.glob("part-*.parquet"))
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    return {row["url"]: row for row in rows}


@pytest.fixture
def notes(tmp_path):
    """A folder of a user's own files, each of another kind."""
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    lines = [PROSE[i : i + 60].strip() for i in range(0, len(PROSE), 60)]
    (folder / "fox.pdf").write_bytes(pdf([paragraph(*lines)], info="/Title (The fox)"))
    (folder / "sub" / "fox.md").write_text(f"# Foxes\n\n{PROSE}")
    (folder / "fox.html").write_text(f"<title>Fox</title><main><p>{PROSE}</p></main>", "utf-16")
    row = {"text": PROSE, "url": "https://fox.invalid/1", "license": "CC0-1.0", "lang": "en"}
    (folder / "foxes.jsonl.gz").write_bytes(gzip.compress(f"{json.dumps(row)}\nbad\n".encode()))
    (folder / ".hidden.txt").write_text(PROSE)
    return folder


def test_a_users_own_files_become_texts_by_way_of_archives_or_at_once(notes, tmp_path):
    crawled = _stage("crawl", notes, tmp_path / "raw")
    assert crawled.funnel.dropped == {"not_json": 1}
    _stage("extract", tmp_path / "raw", tmp_path / "texts")
    _stage("extract", notes, tmp_path / "at-once")
    texts = _texts(tmp_path / "texts")
    assert texts == _texts(tmp_path / "at-once")
    assert {url: row["title"] for url, row in texts.items()} == {
        "file://files/fox.html": "Fox",
        "file://files/fox.pdf": "The fox",
        "file://files/sub/fox.md": "Foxes",
        "https://fox.invalid/1": None,
    }
    for row in texts.values():
        assert "that lives with the farmer" in row["text"]
        assert row["fetched_at"] is None
    stated = texts["https://fox.invalid/1"]
    assert (stated["licence"], stated["declared_language"]) == ("CC0-1.0", "en")


def test_one_pdf_is_extracted_at_once(notes, tmp_path):
    assert _stage("extract", notes / "fox.pdf", tmp_path / "texts").funnel.num_kept == 1


def test_code_is_taken_with_its_licence(tmp_path):
    (tmp_path / "repo" / "src").mkdir(parents=True)
    (tmp_path / "repo" / "pyproject.toml").write_text('[project]\nname = "x"\nlicense = "MIT"\n')
    (tmp_path / "repo" / "src" / "fox.py").write_text(f'"""{PROSE}"""\n')
    _stage("extract", tmp_path / "repo", tmp_path / "texts", "kind=code")
    found = _texts(tmp_path / "texts")["file://files/src/fox.py"]
    assert (found["licence"], found["kind"]) == ("MIT", "code")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stage", "crawl", "--output", "out"], "--input"),
        (["stage", "filter", "--output", "out"], "--input"),
        (["stage", "crawl", "--output", "out", "--set", "type=common-crawl"], "no crawl_id"),
        (["stage", "crawl", "--output", "out", "--set", "type=tape"], "type"),
        (
            [
                *("stage", "classifiers", "--input", __file__, "--output", "out"),
                *("--set", f"pinned=classifiers/{'0' * 16}"),
            ],
            "for a whole run",
        ),
        (["stage", "extract", "--input", "nowhere.warc.gz", "--output", "out"], "nowhere.warc.gz"),
        (["stage", "filter", "--input", "x.docx", "--output", "out"], "x.docx"),
        (["stage", "passages", "--input", __file__, "--output", "out"], "documents are read from"),
        (["run", "pipeline", "--set", "train.steps=0"], "train.steps"),
        (["run", "pipeline", "--set", "train.step=1"], "there is no 'step'; known here: model"),
        (["run", "pipeline", "--set", "train.steps"], "write --set path.to.field=value"),
        (
            ["run", "pipeline", "--set", "filter.gopher_quality.max_words=2"],
            "min_words must not exceed",
        ),
        (["run", "pipeline", "--preset", "huge"], "demo, small, base"),
        (["run", "pipeline", "--params", "nowhere.yaml"], "nowhere.yaml"),
        (["plan", "pipeline", "--preset", "small"], "data/pages"),
        (["plan", "pipeline", "--set", "preferences.origin=given"], "instruct.origin=files"),
        (["show", "mix/zzz"], "bloomery ls"),
        (["lineage", "nothing"], "bloomery ls"),
        (["generate", "nothing", "--prompt", "x"], "bloomery ls"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_exit_code_2(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOOMERY_STORE", str(tmp_path / "store"))
    done = bloomery(*arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and said in line


def test_several_files_may_follow_one_input_option(tmp_path):
    for name in ("a", "b"):
        line = json.dumps({"text": PROSE + name, "url": f"https://x.invalid/{name}"})
        (tmp_path / f"{name}.jsonl").write_text(line)
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    done = bloomery("stage", "dedup", "--input", *files, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2


def test_a_removed_artifact_is_gone_and_planned_again(tmp_path, machine, store):
    ref = given(machine, files={"a": "x"})
    assert bloomery("rm", ref, "--store", machine.store).exit_code == 0
    assert not store.has(ref)


def test_an_output_that_is_there_is_not_overwritten(archive, tmp_path):
    (tmp_path / "out").mkdir()
    done = bloomery("stage", "extract", "--input", archive, "--output", tmp_path / "out")
    assert done.exit_code == 2 and "there already" in done.stderr


@pytest.mark.parametrize("command", ["run", "plan", "stage", "ls", "show", "lineage", "generate"])
def test_help_teaches(command):
    done = bloomery(command, "--help")
    assert done.exit_code == 0 and len(done.output) > 200


def test_classifiers_are_trained_alone_and_score_other_files(tmp_path):
    """What one folder of classifiers says does not depend on the documents beside a document."""
    seeds, documents = tmp_path / "seeds.jsonl", tmp_path / "docs.jsonl"
    kinds = {"animals": "fox dog river bird", "money": "bank loan price market"}
    records = [
        {"text": f"{words} {number} {words}", "label": kind}
        for kind, words in kinds.items()
        for number in range(40)
    ]
    seeds.write_text("".join(json.dumps(record) + "\n" for record in records))
    documents.write_text(json.dumps({"text": PROSE}) + "\n" + json.dumps({"text": "a bank loan"}))
    judges = tmp_path / "judges"
    made = _stage("classifiers", documents, judges, f"domain.seed_files=[{seeds}]")
    assert made.metrics["domain"]["accuracy"] == 1.0
    done = bloomery(
        *("stage", "classify", "--input", documents, "--input", judges),
        *("--output", tmp_path / "scored", "--workers", 1),
    )
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "scored" / "part-00000.parquet").to_pylist()
    assert [row["domain"] for row in rows] == ["animals", "money"]
    alone = _stage("classify", documents, tmp_path / "unlabelled")
    assert alone.funnel.num_kept == 2
