"""A token shard gives back what was put in, or refuses."""

import numpy as np
import pytest

from model.tokens import TokenShard, TokenWriter


def write(folder, documents, vocab_size=1000, name="tokens-00000"):
    with TokenWriter(folder, name, vocab_size) as out:
        for ids in documents:
            out.add(ids)
    return folder / f"{name}.bin"


@pytest.mark.parametrize(("vocab_size", "item_bytes"), [(65_535, 2), (65_536, 4), (200_000, 4)])
def test_documents_come_back(tmp_path, vocab_size, item_bytes):
    documents = [[1, 2, 3], [], [vocab_size - 1, 0]]
    path = write(tmp_path, documents, vocab_size)
    shard = TokenShard(path)
    assert [shard.document(i).tolist() for i in range(shard.num_documents)] == documents
    assert shard.tokens_N.tolist() == [1, 2, 3, vocab_size - 1, 0]
    assert (shard.num_tokens, path.stat().st_size) == (5, 5 * item_bytes)


def test_the_same_documents_give_the_same_bytes(tmp_path):
    one, two = (write(tmp_path / name, [[1, 2], np.array([3])]) for name in "ab")
    for suffix in (".bin", ".idx.npy"):
        files = [path.with_name("tokens-00000" + suffix).read_bytes() for path in (one, two)]
        assert files[0] == files[1]


def test_an_empty_shard_is_a_shard(tmp_path):
    shard = TokenShard(write(tmp_path, []))
    assert (shard.num_tokens, shard.num_documents) == (0, 0)


@pytest.mark.parametrize("ids", [[1000], [-1]])
def test_ids_outside_the_vocabulary_are_refused(tmp_path, ids):
    with pytest.raises(ValueError, match="vocab_size = 1000"):
        write(tmp_path, [ids])


def test_nothing_is_left_of_a_shard_that_failed(tmp_path):
    with pytest.raises(RuntimeError), TokenWriter(tmp_path, "tokens", 1000) as out:
        out.add([1, 2])
        raise RuntimeError("disk on fire")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [lambda b: b[:-2], lambda b: b[:-1], lambda b: b + b"\0\0"])
def test_a_shard_of_the_wrong_size_is_refused(tmp_path, change):
    path = write(tmp_path, [[1, 2, 3]])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="its index says 6"):
        TokenShard(path)


def test_a_missing_or_foreign_index_is_refused(tmp_path):
    path = write(tmp_path, [[1, 2, 3]])
    index = path.with_name("tokens-00000.idx.npy")
    index.write_bytes(b"not numpy")
    with pytest.raises(ValueError, match="cannot be read"):
        TokenShard(path)
    np.save(index, np.array([9, 1000, 3]))
    with pytest.raises(ValueError, match="format 9"):
        TokenShard(path)
    np.save(index, np.array([1, 1000, 4, 3]))
    with pytest.raises(ValueError, match="ends before it begins"):
        TokenShard(path)
    index.unlink()
    with pytest.raises(ValueError, match="is missing"):
        TokenShard(path)
