"""The user's lists, as files, folders and archives; words found where they stand alone."""

import re
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given as examples
from hypothesis import strategies as st

from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.filter.bad_words import BadWordLists
from tasks.filter.config import FilterConfig
from tasks.filter.list_files import read_bad_words, read_blocklists
from tasks.filter.stage import STAGE
from tests.stages import given


def ut1(folder: Path) -> Path:
    """A list in the layout of UT1."""
    for name, text in {
        "adult/domains": "bad.example\n",
        "adult/urls": "some.example/bad\n",
        "adult/expressions": "(.*)everything(.*)\n",
        "press/domains": "paper.example\n",
        "LICENSE.pdf": "%PDF",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("form", ["folder", "tar.gz", "tar.zst"])
def test_ut1_is_read_as_a_folder_and_packed(form: str, tmp_path: Path):
    folder = path = ut1(tmp_path / "lists")
    if form != "folder":
        path = tmp_path / f"lists.{form}"
        with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as archive:
            archive.add(folder, "blacklists")
        if form == "tar.zst":
            path.write_bytes(zstandard.compress(path.read_bytes()))
    lists = read_blocklists([str(path)], ["*"])
    assert (lists.names, len(lists)) == (["adult", "press"], 3)
    assert lists.match("https://x.bad.example/") == {"adult": "bad.example"}
    assert lists.match("https://some.example/bad/1") == {"adult": "some.example/bad"}
    assert lists.match("https://everything.example/") == {}
    assert read_blocklists([str(path)], ["press"]).match("https://bad.example/") == {}
    with pytest.raises(ValueError, match=r"no category adlut.* there: adult, press"):
        read_blocklists([str(path)], ["adlut"])


def test_folders_of_single_categories_and_their_files_are_named_by_the_folder(tmp_path: Path):
    one, other = ut1(tmp_path / "one"), ut1(tmp_path / "other")
    (other / "adult" / "domains").write_text("worse.example\n")
    paths = [one / "adult", one / "press" / "domains", other / "adult"]
    lists = read_blocklists(list(map(str, paths)), ["*"])
    assert lists.names == ["adult", "press"]
    for host, category in (("bad", "adult"), ("worse", "adult"), ("paper", "press")):
        assert lists.match(f"http://{host}.example/") == {category: f"{host}.example"}
    for paths in ([one, other], [one / "adult", other]):
        both = read_blocklists(list(map(str, paths)), ["adult"])
        assert both.match("http://worse.example/") and both.match("http://bad.example/")
    (one / "press" / "domains").write_text("bad.example\n")
    configs = [
        FilterConfig.model_validate({"blocklists": {"paths": [str(one / name / "domains")]}})
        for name in ("adult", "press")
    ]
    identities = [STAGE.identify(config, {"documents": []}) for config in configs]
    assert identities[0].ref() != identities[1].ref(), "the same hosts, but another category"


def test_a_plain_file_is_a_category(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("# my list\nbad.example\n")
    lists = read_blocklists([str(tmp_path / "mine.txt")], ["*"])
    assert lists.match("http://bad.example/") == {"mine": "bad.example"}


def test_lists_enter_the_identity_by_what_they_hold(machine: Machine, store: Store, tmp_path: Path):
    rows = [[{"id": "a", "text": "x", "url": "http://bad.example/"}, {"id": "b", "text": "y"}]]
    documents = given(machine, rows)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    refs = []
    for folder, line in (("one", "bad.example"), ("two", "bad.example"), ("two", "other.example")):
        path = tmp_path / folder / "mine.txt"
        path.write_text(line)
        config = FilterConfig.model_validate(
            {
                "languages": [],
                "recipes": [],
                "blocklists": {"paths": [str(path)], "drop": ["mine"]},
            }
        )
        manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
        refs.append(manifest.ref)
        expected = {"blocklist:mine": 1} if line == "bad.example" else {}
        assert manifest.funnel and manifest.funnel.dropped == expected
    assert refs[0] == refs[1] != refs[2]


LISTS = BadWordLists(
    {
        "en": ["ass", "ass hole", "Foo Bar", "", "x"],
        "fr-CA": ["tabarnak"],
        "zh": ["坏词", "性"],
    }
)


@pytest.mark.parametrize(
    ("text", "language", "num_words", "share"),
    [
        ("An ass.", "en", 1, 3 / 6),
        ("An ASS hole!", "en", 1, 7 / 10),
        ("Classes assess assets", "en", 0, 0),
        ("foo  bar foo bar", "en", 1, 6 / 12),
        ("ass", "de", 0, 0),
        ("ass", None, 0, 0),
        ("tabarnak", "fr", 1, 1),
        ("这是坏词吗", "zh", 1, 2 / 5),
        ("性", "zh", 0, 0),
    ],
)
def test_bad_words_stand_alone_but_where_there_are_no_blanks(text, language, num_words, share):
    use = LISTS.find(text, language)
    assert (use.num_words, use.share) == (num_words, pytest.approx(share))


@examples(st.text("ab _é", max_size=40), st.sets(st.text("ab", min_size=1, max_size=3), max_size=4))
def test_single_words_are_found_as_a_regular_expression_finds_them(text: str, words: set[str]):
    """Without overlaps, which single words that stand alone cannot have."""
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)") if words else re.compile("(?!)")
    assert BadWordLists({"en": words}).find(text, "en").num_words == len(pattern.findall(text))


def test_word_lists_are_files_named_by_language(tmp_path: Path):
    (tmp_path / "en").write_text("ass\n")
    (tmp_path / "README.md").write_text("ass\n")
    (tmp_path / "zh.txt").write_text("坏词\n")
    assert read_bad_words([str(tmp_path)]).languages == ["en", "zh"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "en").write_text("hole\n")
    both = read_bad_words([str(tmp_path / "en"), str(tmp_path / "more" / "en")])
    assert [both.find(text, "en").num_words for text in ("ass", "hole")] == [1, 1]
    with pytest.raises(ValueError, match="named by language"):
        read_bad_words([str(tmp_path / "README.md")])


@pytest.mark.parametrize(("action", "kept", "tags"), [("tag", 1, ["bad-words"]), ("drop", 0, None)])
def test_texts_full_of_bad_words_are_tagged_or_dropped(
    action, kept, tags, machine, store, tmp_path
):
    (tmp_path / "en").write_text("ass\n")
    config = FilterConfig.model_validate(
        {
            "languages": [],
            "recipes": [],
            "signals": True,
            "bad_words": {"paths": [str(tmp_path / "en")], "action": action},
        }
    )
    rows = [[{"id": "a", "text": "An ass.", "language": "en", "language_score": 1.0}]]
    manifest, _ = materialise(STAGE, config, {"documents": [given(machine, rows)]}, machine)
    assert manifest.funnel and manifest.funnel.num_kept == kept
    name = "part-00000.parquet" if kept else "dropped/part-00000.parquet"
    (row,) = pq.read_table(store.open(manifest.ref).fetch(name)).to_pylist()
    assert row["tags"] == tags
    assert dict(row["signals"])["rps_doc_ldnoobw_words"] == 1
    if not kept:
        assert (row["reason"], row["detail"]) == ("bad_words", "bad_word_chars 0.5 > 0.005")


@pytest.mark.external
def test_published_lists_are_read_whole(external_data: Path):
    hosts = read_blocklists([str(external_data / "lists/ut1-blacklists.tar.zst")], ["*"])
    assert len(hosts.names) > 60 and len(hosts) > 250_000
    found = hosts.match("https://WWW.Facebook.com:443/someone")
    assert found["social_networks"] == "facebook.com"
    assert hosts.match("https://peps.python.org/pep-0008/") == {}
    words = read_bad_words([str(external_data / "lists/ldnoobw-bad-words.tar.zst")])
    assert {"en", "de", "ja", "zh", "fr"} <= set(words.languages)
    assert words.find("Scunthorpe is a town in Lincolnshire; assess it.", "en").num_words == 0
