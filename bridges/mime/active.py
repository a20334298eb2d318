# SPDX-License-Identifier: AGPL-3.0-or-later
"""Attachments that could do something on the device of who opens them, each with the reason (D2).

Judged by name and by content: a name is what the device goes by, and content is what a wrong name hides. Archives are
looked into, within bounds; one that cannot be looked into counts as active.
"""

import bz2
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from typing import IO, Any, Final
from xml.etree import ElementTree

from bridges import limits
from bridges.mime.readable import one_line

_PROGRAMS: Final = (
    "exe com scr pif cpl msi msp mst dll sys drv ocx ax efi elf so dylib run app appimage apk xapk ipa deb rpm pkg"
    " jar jnlp air gadget application appref-ms appx appxbundle msix msixbundle msc xbap xll wll chm hlp class vsix"
)
_SCRIPTS: Final = (
    "bat cmd btm ps1 ps1xml ps2 psc1 psd1 psm1 psrc vb vbe vbs js jse mjs ws wsc wsf wsh hta sct sh bash zsh csh ksh"
    " fish py pyc pyo pyw pyz pyzw pl rb php php3 php4 php5 phtml phar asp aspx jsp lua tcl applescript scpt action"
    " workflow reg inf ins isp its mad maf mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz ade adp accda accdb"
    " accde accdr prg rdp osd plg shb shs shf xnk theme themepack diagcab diagcfg diagpkg grp iqy dqy oqy rqy slk"
    " search-ms"
)
_PAGES: Final = "html htm xhtml xht shtml shtm mht mhtml svg svgz xsl xslt xul swf"
_LINKS: Final = (
    "lnk url scf desktop webloc inetloc fileloc website library-ms searchconnector-ms settingcontent-ms appcontent-ms"
)
_IMAGES: Final = "iso img ima vhd vhdx vmdk vdi dmg sparsebundle sparseimage toast nrg mdf udf wim"
_MACROS: Final = "docm dotm xlsm xltm xlam xlsb xla pptm potm ppam ppsm sldm ppa wiz one onetoc2 onepkg"
_DOCUMENTS: Final = (
    "docx dotx xlsx xltx pptx potx ppsx vsdx odt ott ods ots odp otp odg odf epub pages numbers key xps oxps 3mf"
)
_DOCUMENT_PARTS: Final = (
    "xml vml xhtml html htm svg css ncx opf"  # pages and pictures that its program shows, not a browser
)
_CLOSED_ARCHIVES: Final = "rar r00 r01 7z ace arj cab lzh lha arc zoo zpaq zpq uue xxe z cpio xar wim gpg-zip"
_ARCHIVES: Final = "zip gz tgz bz2 tbz tbz2 xz txz"

_BY_SUFFIX: Final[dict[str, str]] = {
    suffix: reason
    for reason, suffixes in (
        ("a program", _PROGRAMS),
        ("a script, or a file that makes a device do something", _SCRIPTS),
        ("a page that can run scripts or load something", _PAGES),
        ("a link that opens something else", _LINKS),
        ("the image of a disk", _IMAGES),
        ("a document that can hold macros or programs", _MACROS),
        ("an archive of a kind that nobody can look into here", _CLOSED_ARCHIVES),
        ("a mail that was not looked into", "eml"),
    )
    for suffix in suffixes.split()
}
_BY_TYPE: Final = {
    **dict.fromkeys(("text/html", "application/xhtml+xml", "image/svg+xml"), _BY_SUFFIX["html"]),
    **dict.fromkeys(("text/javascript", "application/javascript", "application/x-javascript"), _BY_SUFFIX["js"]),
    **dict.fromkeys(("application/x-msdownload", "application/x-dosexec", "application/java-archive"), "a program"),
    **dict.fromkeys(("application/hta", "application/x-sh", "application/x-ms-shortcut"), _BY_SUFFIX["js"]),
}
_BY_MAGIC: Final = (
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xce\xfa\xed\xfe", "a program"),
    (b"\xfe\xed\xfa\xce", "a program"),
    (b"\xfe\xed\xfa\xcf", "a program"),
    (b"dex\n", "a program"),
    (b"#!", "a script, or a file that makes a device do something"),
    (b"L\x00\x00\x00\x01\x14\x02\x00", "a link that opens something else"),
    (b"[InternetShortcut]", "a link that opens something else"),
    (b"ITSF", "a program"),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "a document that can hold macros or programs"),  # OneNote
    (b"vhdxfile", "the image of a disk"),
    (b"conectix", "the image of a disk"),
    (b"Rar!\x1a\x07", "an archive of a kind that nobody can look into here"),
    (b"7z\xbc\xaf\x27\x1c", "an archive of a kind that nobody can look into here"),
    (b"MSCF", "an archive of a kind that nobody can look into here"),
)
_PAGE: Final = re.compile(
    rb"<\?xml-stylesheet|http://www\.w3\.org/(?:1999/xhtml|2000/svg)|"
    rb"<\s*(?:!doctype\s+(?:html|svg)|html|head|body|script|svg|iframe|meta|form|object|embed|[a-z]+:svg)\b",
    re.IGNORECASE,
)
_PLAIN: Final = "txt text log csv tsv md rst json yaml yml ini conf c h cpp diff patch asc sig"
"""What every device opens as text: a tag or a script in them does nothing."""

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # .doc, .xls, .ppt, .msg; old macros have no name to look for
_PDF_ESCAPE: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_PDF_ACTIVE: Final = re.compile(rb"/(?:JavaScript|JS|Launch|RichMedia|ImportData|SubmitForm|GoToE|XFA)(?![A-Za-z0-9])")
_HOLDS: Final = "a document with macros or programs in it"
_LOADS: Final = "a document that loads something from elsewhere"
_RTF_OBJECTS: Final = re.compile(rb"\\(?:objdata|objupdate|objautlink|template)\b")
_LZMA_MEMORY_MAX_BYTES: Final = 256 << 20
_ISO_AT: Final = 0x8001
_ENCRYPTED: Final = "an archive with a password, which nobody can look into"
UNREADABLE: Final = "a broken archive, or one that is too large to be looked into"


class _TooMuch(Exception):
    """There is more in an archive than is looked at."""


def active_reason(name: str, kind: str, content: bytes, depth: int = 0) -> str:
    """Why an attachment of this name, content type and content could do something, or "" where nothing says so."""
    reason = _BY_SUFFIX.get(suffix_of(name)) or _BY_TYPE.get(kind) or _by_content(name, content)
    if reason:
        return reason
    try:
        return _in_archive(name, content, depth)
    except _TooMuch:
        return UNREADABLE


def suffix_of(name: str) -> str:
    """What a device takes a file's type from: in lower case, blanks and dots at the end not counted."""
    return one_line(name).rstrip(". ").rpartition(".")[2].casefold().strip() if "." in name else ""


def _by_content(name: str, content: bytes) -> str:
    if suffix_of(name) in _PLAIN.split():
        return ""
    known = next((reason for magic, reason in _BY_MAGIC if content.startswith(magic)), "")
    if known:
        return known
    if _PAGE.search(content[:1024].replace(b"\x00", b"")):
        return _BY_SUFFIX["html"]
    if content[_ISO_AT : _ISO_AT + 5] == b"CD001" or content[-512:-508] == b"koly":
        return _BY_SUFFIX["iso"]
    if content.startswith(_OLE):
        return _BY_SUFFIX["docm"]
    rtf = content.startswith(b"{\\rt") and _RTF_OBJECTS.search(content) is not None
    return _HOLDS if rtf or (b"%PDF-" in content[:1024] and _active_pdf(content)) else ""


def _active_pdf(content: bytes) -> bool:
    """Whether it names an action that does something; what it has compressed is not seen."""
    plain = _PDF_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), content)
    return _PDF_ACTIVE.search(plain) is not None


def _in_archive(name: str, content: bytes, depth: int) -> str:
    """The same for what an archive holds."""
    if content.startswith(b"PK"):
        reason = _in_zip(name, content, depth)
    elif content.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")):
        reason = _in_compressed(name, content, depth)
    elif content[257:262] == b"ustar" or suffix_of(name) == "tar":
        reason = _in_tar(content, depth)
    else:
        return UNREADABLE if suffix_of(name) in _ARCHIVES.split() else ""
    return reason


def _member(name: str, content: bytes, depth: int) -> str:
    if depth >= limits.ARCHIVE_DEPTH_MAX:
        return UNREADABLE
    reason = active_reason(name, "", content, depth + 1)
    return f"an archive; in it {one_line(name)[-80:]!r}, {reason}" if reason else ""


def _in_zip(name: str, content: bytes, depth: int) -> str:
    """Office documents are archives of this kind, too; what they hold of XML is theirs."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            # What stands before the first member may be another archive, which another program opens.
            begins_at = min((one.header_offset for one in members), default=0)
            if begins_at or len(members) > limits.ARCHIVE_MEMBERS_MAX:
                return UNREADABLE
            if any(member.flag_bits & 0x1 for member in members):
                return _ENCRYPTED
            document = suffix_of(name) in _DOCUMENTS.split() and ("[Content_Types].xml" in names or "mimetype" in names)
            if document and (reason := _in_document(names)):
                return reason
            left = limits.ARCHIVE_LOOKED_INTO_MAX_BYTES
            for member in members:
                if member.is_dir():
                    continue
                with archive.open(member) as file:
                    inner = _bounded(file, left)
                left -= len(inner)
                look = _document_member if document else _member
                if reason := look(member.filename, inner, depth):
                    return reason
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        zlib.error,
        lzma.LZMAError,
    ):
        return UNREADABLE
    return ""


def _document_member(name: str, content: bytes, depth: int) -> str:
    """The same for a part of a document: what it names outside, and what is no part of a document at all."""
    suffix = suffix_of(name)
    if suffix == "rels":
        return _LOADS if _loads(content) else ""
    if suffix in _DOCUMENT_PARTS.split():
        return ""
    if depth >= limits.ARCHIVE_DEPTH_MAX:
        return UNREADABLE
    return _HOLDS if active_reason(name, "", content, depth + 1) else ""


def _loads(content: bytes) -> bool:
    """Whether relations (ECMA-376-2 §9.3) name anything outside but links, which wait for a click."""
    if b"\x00" in content or b"<!" in content.replace(b"<!--", b""):
        return True  # in no way that Office writes them
    try:
        relations = list(ElementTree.fromstring(content))  # noqa: S314 - without a DOCTYPE there are no entities
    except ElementTree.ParseError:
        return True
    outside = [one for one in relations if one.get("TargetMode", "").lower() == "external"]
    return any(one.get("Type", "").rpartition("/")[2] != "hyperlink" for one in outside)


def _in_document(names: set[str]) -> str:
    lower = {name.lower().rpartition("/")[2] for name in names}
    programs = [name for name in lower if name.startswith(("vbaproject", "oleobject", "activex"))]
    programs += [name for name in names if "macro" in name.lower()]
    scripts = any(name.lower().startswith(("basic/", "scripts/")) for name in names)
    if (
        programs
        or scripts
        or any(_BY_SUFFIX.get(suffix_of(name)) == "a program" and not name.endswith(".bin") for name in lower)
    ):
        return _HOLDS
    return ""


def _in_compressed(name: str, content: bytes, depth: int) -> str:
    """A single file; its name is that of the archive without the last suffix."""
    try:
        inner = _unpacked(content)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return UNREADABLE
    stem, _, suffix = name.rpartition(".")
    return _member(f"{stem}.tar" if suffix.lower() in ("tgz", "tbz", "tbz2", "txz") else stem or "file", inner, depth)


def _unpacked(content: bytes) -> bytes:
    """What is in a compressed file. Raises ValueError for one that is cut off, or that has another behind it."""
    bound = limits.ARCHIVE_LOOKED_INTO_MAX_BYTES
    reader: Any
    if content.startswith(b"\x1f\x8b"):
        reader = zlib.decompressobj(wbits=31)
    elif content.startswith(b"BZh"):
        reader = bz2.BZ2Decompressor()
    else:
        reader = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_MAX_BYTES)
    inner: bytes = reader.decompress(content, bound + 1)
    if len(inner) > bound:
        raise _TooMuch
    if not reader.eof or reader.unused_data.strip(b"\x00"):
        raise ValueError("not one whole file")
    return inner


def _in_tar(content: bytes, depth: int) -> str:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= limits.ARCHIVE_MEMBERS_MAX:
                    return UNREADABLE
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and (reason := _member(member.name, file.read(), depth)):
                    return reason
    except (tarfile.TarError, ValueError, EOFError, OSError, RecursionError):
        return UNREADABLE
    return ""


def _bounded(file: IO[bytes], left: int) -> bytes:
    content = file.read(left + 1)
    if len(content) > left:
        raise _TooMuch
    return content
