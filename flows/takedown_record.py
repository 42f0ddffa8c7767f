"""The record of a takedown, which is kept in the store and can be shown to whoever asked for it.

In: what was asked, found and done. Out: a JSON file and the same in Markdown, under ``takedowns/``;
and, of a corpus about to be made, the takedowns that its parameters do not know of.
"""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from flows.params import Params
from tasks.common.files import expand_files
from tasks.common.store import Store
from tasks.common.trace import Footprint

RECORDS_FOLDER = "takedowns"
SETTING = "dedup.takedown"
MAX_DOCUMENTS = 1000  # named one by one in a record


class Document(BaseModel):
    """A document that the list names, or a copy of one."""

    id: str
    url: str
    because: str


class Remade(BaseModel):
    """A stage that a rebuild makes again, and what it cost when it was made."""

    stage: str
    old: str
    new: str
    wall_seconds: float
    cpu_seconds: float


class Proof(BaseModel):
    """What was looked for in the new artifacts after a rebuild, and found.

    Attributes:
        problems: each one a match, or a copy, that is still there; none if all is well.
    """

    num_artifacts: int
    problems: list[str]


class Record(BaseModel):
    """One takedown: what was asked, found, made and moved, and when.

    Attributes:
        documents, copies: those that are named, and their copies; the first of them.
        touched: what held them, or was made from what did, before.
        remade: what was made again; ``cached`` labels what was not.
        names: what the names that were moved point at now.
        replaced: what held them and is still there, though nothing needs it any more.
        sources: what the new corpus is made from and still holds their bytes.
        learned: pinned classifiers, or a model trained on, that learned from them before.
        needed_by_names: what other names stand on and still holds them, or was made from them.
        purged: what was deleted.
    """

    corpus: str
    store: str
    list_name: str
    list_sha256: str
    entries: list[str]
    unreadable: list[str]
    at: str
    num_documents: int
    documents: list[Document]
    num_copies: int
    copies: list[Document]
    touched: list[Footprint]
    remade: list[Remade] = []
    cached: list[str] = []
    names: dict[str, str] = {}
    proof: Proof | None = None
    replaced: list[str] = []
    sources: list[str] = []
    learned: list[str] = []
    needed_by_names: list[str] = []
    purged: list[str] = []

    def reminder(self) -> str:
        """What to do so that this takedown holds in later runs."""
        return (
            f"{self.list_name} (SHA-256 {self.list_sha256[:12]}…) was taken down from "
            f"{self.corpus} on {self.at}: its pages stay away only as long as {SETTING} has it; "
            "add that file, or one with all of its lines"
        )


def first_documents(documents: Iterable[Document]) -> list[Document]:
    """As many as a record names one by one."""
    return sorted(documents, key=lambda document: document.id)[:MAX_DOCUMENTS]


def earlier_takedowns(store: Store, params: Params) -> list[Record]:
    """Takedowns of this corpus of which its parameters' lists lack an entry: it would come back."""
    present = {
        line.strip()
        for path in expand_files(params.dedup.takedown).values()
        for line in path.read_text("utf-8-sig", "replace").splitlines()
    }
    return [
        record
        for record in takedowns(store)
        if record.corpus == params.name and record.proof and not present.issuperset(record.entries)
    ]


def takedowns(store: Store) -> list[Record]:
    """The takedowns that were done in a store, oldest first."""
    paths = sorted(store.fs.glob(f"{store.root}/{RECORDS_FOLDER}/*.json"))
    return [Record.model_validate_json(store.fs.cat_file(path)) for path in paths]


def leave_record(store: Store, record: Record) -> str:
    """Write the record into the store, for machines and for people; returns where."""
    stamp = record.at.replace(":", "").replace("+0000", "Z")
    folder = f"{store.root}/{RECORDS_FOLDER}"
    path = f"{folder}/{stamp}-{record.corpus}-{record.list_sha256[:12]}"
    store.fs.makedirs(folder, exist_ok=True)
    store.fs.pipe_file(f"{path}.md", as_markdown(record).encode())
    store.fs.pipe_file(f"{path}.json", record.model_dump_json(indent=1).encode())
    return f"{path}.md"


def as_markdown(record: Record) -> str:
    """The record as people read it."""
    proof = record.proof
    lines = [
        f"# Takedown from {record.corpus}, {record.at}",
        "",
        f"Asked for by `{record.list_name}`, SHA-256 `{record.list_sha256}`: "
        f"{len(record.entries)} hosts and addresses.",
        "",
        f"{record.num_documents} documents were named by it, and {record.num_copies} more were "
        "copies of those. Among old versions and withdrawn pages exact copies were looked for, and "
        "no near ones.",
        "",
    ]
    if proof:
        lines += [
            f"{len(record.remade)} artifacts were made again. In {proof.num_artifacts} of them, "
            "all that were made anew, what was taken down and its copies were looked for: "
            + ("**none is there.**" if not proof.problems else "**some are still there.**"),
            "",
            *(f"- {problem}" for problem in proof.problems),
        ]
    lines += _md_table(
        ("what went", "because of"),
        ((f"{d.url}", d.because) for d in (*record.documents, *record.copies)),
    )
    lines += _md_table(
        ("made again", "before", "now"),
        ((each.stage, f"`{each.old}`", f"`{each.new}`") for each in record.remade),
    )
    lines += _md_table(("name", "points at"), ((n, f"`{r}`") for n, r in record.names.items()))
    for title, artifacts in (
        ("Deleted", record.purged),
        ("Replaced, and still there until they are purged", record.replaced),
        ("Still hold the bytes: what was crawled and read, before the decision", record.sources),
        (
            "Learned from them before, and still used: classifiers, or a model trained on",
            record.learned,
        ),
        ("Still touched, and needed by other names", record.needed_by_names),
    ):
        if artifacts:
            lines += [f"{title}:", "", *(f"- `{artifact}`" for artifact in artifacts), ""]
    return "\n".join(lines)


def _md_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [" | ".join(cell.replace("|", "%7C") for cell in row) for row in rows]
    if not cells:
        return []
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {row} |" for row in cells),
        "",
    ]
