"""What travels, what does not, and what an archive made to do harm gets."""

import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest

from maillage.control.archives import FolderChanged, entries, in_words, look, pack, read_entry, shown, unpack
from maillage.control.patterns import Patterns
from maillage.errors import Invalid, NotFound, TooLarge


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    (root / "data" / "empty").mkdir(parents=True)
    (root / "train.py").write_text("print('hello')\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "data" / "corpus.txt").write_text("words\n" * 1000)
    (root / "latest").symlink_to("data/corpus.txt")
    return root


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    file.seek(0)
    return file


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def test_a_folder_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, into=tmp_path)
    with packed.path.open("rb") as archive:
        unpack(archive, tmp_path / "there")
    there = tmp_path / "there"
    assert (there / "train.py").read_text() == "print('hello')\n"
    assert (there / "data" / "empty").is_dir()
    assert os.access(there / "run.sh", os.X_OK) and not os.access(there / "train.py", os.X_OK)
    assert (there / "latest").is_symlink() and (there / "latest").read_text() == "words\n" * 1000
    assert dict(packed.files) == {"train.py": 15, "run.sh": 10, "data/corpus.txt": 6000}
    assert packed.size_bytes == packed.path.stat().st_size


def test_the_same_files_give_the_same_digest_whatever_their_times(folder: Path, tmp_path: Path) -> None:
    first = pack(folder, into=tmp_path)
    os.utime(folder / "train.py", (1, 1))
    assert pack(folder, into=tmp_path).digest == first.digest
    (folder / "train.py").write_text("print('other')\n")
    assert pack(folder, into=tmp_path).digest != first.digest


def test_ignored_files_stay_at_home(folder: Path, tmp_path: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / "scratch.tmp").write_text("x")
    (folder / ".maillageignore").write_text("# what is big\ndata/\n")
    names = {name for name, _ in pack(folder, ignore=("*.tmp",), into=tmp_path).files}
    assert names == {"train.py", "run.sh", ".maillageignore"}


def test_outputs_are_kept_by_pattern(folder: Path, tmp_path: Path) -> None:
    assert [name for name, _ in pack(folder, keep=("*.txt",), into=tmp_path).files] == ["data/corpus.txt"]


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "data/../../outside"])
def test_a_symlink_that_leads_outside_is_refused_by_name(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    (folder / "escape").symlink_to(target)
    with pytest.raises(Invalid, match="escape is a symlink that leads outside"):
        pack(folder, into=tmp_path)
    lenient = pack(folder, into=tmp_path, strict=False)
    assert lenient.skipped == ("escape: a symlink that leads outside",)
    assert not list(tmp_path.glob("maillage-*.tar"))[1:]  # the refused one left nothing behind


def test_all_symlinks_that_lead_outside_are_named_at_once(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "data/two", "three"):
        (folder / name).symlink_to("/etc/hostname")
    for work in (pack, look):
        with pytest.raises(Invalid) as refused:
            work(folder)
        assert all(
            f"{folder / name} is a symlink" in str(refused.value) for name in ("one", "data/two", "three")
        )


def test_a_look_refuses_and_leaves_out_what_packing_does(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert look(folder) == ("pipe: not a file, folder or symlink",)
    with (folder / "data" / "huge.bin").open("wb") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(TooLarge, match="Biggest: data/"):
        look(folder)


def test_a_chain_of_symlinks_that_leads_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("/etc")
    with pytest.raises(Invalid, match="leads outside"):
        pack(folder, into=tmp_path)


def test_ten_gigabytes_are_refused_with_what_is_big_and_how_to_mend(folder: Path, tmp_path: Path) -> None:
    with (folder / "data" / "huge.bin").open("wb") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(TooLarge, match=r"10\.0 GiB.*Biggest: data/ 10\.0 GiB.*\.maillageignore"):
        pack(folder, into=tmp_path)
    (folder / ".maillageignore").write_text("*.bin\n")
    assert pack(folder, into=tmp_path).size_bytes < 100_000


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="missing is not a folder"):
        pack(tmp_path / "missing")


def test_a_fifo_is_left_out_and_told(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert pack(folder, into=tmp_path).skipped == ("pipe: not a file, folder or symlink",)


def test_a_file_that_shrinks_while_it_is_packed_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_mkstemp = tempfile.mkstemp

    def shrink_then(*args: object, **kwargs: object) -> object:
        (folder / "data" / "corpus.txt").write_text("")
        return true_mkstemp(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(tempfile, "mkstemp", shrink_then)
    with pytest.raises(FolderChanged, match=r"corpus\.txt changed"):
        pack(folder, into=tmp_path)


@pytest.mark.parametrize(
    "member",
    [
        _member("../evil"),
        _member("/etc/evil"),
        _member("a/../../evil"),
        _member("device", tarfile.CHRTYPE),
        _member("pipe", tarfile.FIFOTYPE),
        _member("hard", tarfile.LNKTYPE, "train.py"),
        _member("link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("link", tarfile.SYMTYPE, "../../etc/passwd"),
    ],
    ids=lambda member: f"{member.name}-{member.linkname}",
)
def test_an_archive_made_to_do_harm_is_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        unpack(_tar((member, b"")), tmp_path / "deep" / "er")
    assert not (tmp_path / "evil").exists() and not (tmp_path / "deep" / "evil").exists()


def test_nothing_is_written_through_a_symlink_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    into = tmp_path / "in"
    into.mkdir()
    (into / "way").symlink_to(tmp_path / "outside")
    with pytest.raises(Invalid, match="outside"):
        unpack(_tar((_member("way/evil"), b"x")), into)
    assert not list((tmp_path / "outside").iterdir())


def test_links_through_links_cannot_leave(tmp_path: Path) -> None:
    archive = _tar(
        (_member("a", tarfile.SYMTYPE, "."), b""),
        (_member("a/b", tarfile.SYMTYPE, "../.."), b""),
    )
    with pytest.raises(Invalid):
        unpack(archive, tmp_path / "in")


def test_size_and_number_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="more than 1\\.0 KiB"):
        unpack(_tar((_member("big"), b"x" * 2000)), tmp_path / "in", max_bytes=1024)
    with pytest.raises(TooLarge, match="more than 2 files"):
        unpack(_tar(*((_member(str(n)), b"") for n in range(3))), tmp_path / "in", max_files=2)


@pytest.mark.parametrize("data", [b"", b"nonsense" * 200, b"\x1f\x8b\x08\x00" + b"\0" * 600])
def test_what_is_no_archive_is_said(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        unpack(io.BytesIO(data), tmp_path / "in")


def test_a_cut_archive_is_said(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, into=tmp_path)
    data = packed.path.read_bytes()
    with pytest.raises(Invalid):
        unpack(io.BytesIO(data[:3000]), tmp_path / "in")


def test_files_in_an_archive_are_listed_and_read_in_place(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, into=tmp_path)
    with packed.path.open("rb") as archive:
        assert entries(archive) == packed.files
    with packed.path.open("rb") as archive:
        size, stream = read_entry(archive, "train.py")
        assert (size, stream.read()) == (15, b"print('hello')\n")
    with packed.path.open("rb") as archive, pytest.raises(NotFound):
        read_entry(archive, "missing")


@pytest.mark.parametrize(
    ("pattern", "name", "is_folder", "expected"),
    [
        ("*.gguf", "model.gguf", False, True),
        ("*.gguf", "deep/model.gguf", False, True),
        ("/*.gguf", "deep/model.gguf", False, False),
        ("build/", "build", True, True),
        ("build/", "build", False, False),
        ("a/b", "x/a/b", False, False),
        ("**/b", "x/a/b", False, True),
        ("a/**", "a/b/c", False, True),
        ("data/**/*.txt", "data/x.txt", False, True),
        ("[ab].txt", "b.txt", False, True),
        ("[!ab].txt", "b.txt", False, False),
        ("?.txt", "ab.txt", False, False),
        ("# note", "# note", False, False),
    ],
)
def test_patterns_read_as_gitignore_does(pattern: str, name: str, is_folder: bool, expected: bool) -> None:
    assert Patterns([pattern]).matches(name, is_folder=is_folder) is expected


def test_names_that_no_line_of_text_can_hold_are_shown_escaped(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    names = [b"plain.txt", b"caf\xe9", b"caf\\xe9", b"new\nline", b"new\\nline", "café".encode()]
    for name in names:
        Path(os.fsdecode(bytes(made) + b"/" + name)).write_bytes(name)
    packed = pack(made, strict=False, into=tmp_path)
    with packed.path.open("rb") as archive:
        listed = [name for name, _ in entries(archive)]
        assert len(set(listed)) == len(names) and {"plain.txt", "café", "new\\nline"} < set(listed)
        assert all(name.isprintable() and name.encode() for name in listed)
        for name in names:
            archive.seek(0)
            assert read_entry(archive, shown(os.fsdecode(name)))[1].read() == name


def test_sizes_in_words() -> None:
    assert [in_words(n) for n in (12, 2048, 3 * 1024**2)] == ["12 bytes", "2.0 KiB", "3.0 MiB"]


def test_archives_made_to_do_harm_are_refused_by_our_own_rules_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11.2, as in Debian 12, has no extraction filter."""
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / "outside").mkdir()
    into = tmp_path / "deep" / "in"
    into.mkdir(parents=True)
    (into / "way").symlink_to(tmp_path / "outside")
    for name in ("../evil", "/tmp/evil-of-maillage", "a/../../evil", "way/evil", "."):
        with pytest.raises(Invalid):
            unpack(_tar((_member(name), b"x")), into)
    assert not list((tmp_path / "outside").iterdir()) and not (tmp_path / "deep" / "evil").exists()
