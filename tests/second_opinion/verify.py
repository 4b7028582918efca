"""The offline verifier once more, from docs/ledger-format.md alone, with Python's own library only.

    verify.py ledger|checkpoints|proof [--against FILE] [FILE]

Ends as pg_custodian_verifier does: 0 it holds, 1 it does not, 2 used in a wrong way, 3 it cannot be read.
"""

import hashlib
import json
import struct
import sys

INT, TEXT, TEXTS, INTS = "int", "text", "texts", "ints"
COLUMNS = [
    ("seq", INT), ("at", INT), ("stored", INT), ("event", TEXT), ("session", TEXT), ("statement", INT), ("parent", INT),
    ("depth", INT), ("pid", INT), ("issuer", TEXT), ("user_id", TEXT), ("user_email", TEXT), ("token_id", TEXT),
    ("session_role", TEXT), ("role", TEXT), ("client_addr", TEXT), ("application", TEXT), ("class", TEXT),
    ("command", TEXT), ("origin", TEXT), ("objects", TEXTS), ("object_types", TEXTS), ("changes", TEXTS),
    ("columns_read", TEXTS), ("columns_written", TEXTS), ("masked", TEXTS), ("revealed", TEXTS), ("query", TEXT),
    ("parameters", TEXTS), ("grants", INTS), ("rows", INT), ("duration", INT), ("bytes", INT),
    ("transaction", INT), ("committed", INT), ("outcome", TEXT), ("sqlstate", TEXT), ("object", TEXT),
    ("detail", TEXT),
]
NAMES = {name for name, _ in COLUMNS} | {"hash"}
ZERO = bytes(32)


class Bad(Exception):
    def __init__(self, seq, problem):
        super().__init__(f"bad: row {seq}: {problem}")
        self.seq = seq


class Unreadable(Exception):
    pass


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# ---- reading

def parse(text):
    try:
        return json.loads(text, parse_constant=lambda name: refuse(name))
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def refuse(what):
    raise Unreadable(f"no JSON: {what}")


def is_int(value):
    return type(value) is int and -(2**63) <= value < 2**63


def hash_of(value):
    if not isinstance(value, str) or len(value) != 64:
        return None
    try:
        return bytes.fromhex(value) if value.isascii() and value.isalnum() else None
    except ValueError:
        return None


# ---- rows

def integer(value):
    if isinstance(value, bool):
        return int(value)
    if not is_int(value):
        raise TypeError
    return value


def text(value):
    if not isinstance(value, str):
        raise TypeError
    data = value.encode()
    return b"\2" + struct.pack("<I", len(data)) + data


def encode(value, kind):
    if value is None:
        return b"\0"
    if kind == INT:
        return b"\1" + struct.pack("<q", integer(value))
    if kind == TEXT:
        return text(value)
    if not isinstance(value, list):
        raise TypeError
    count = struct.pack("<I", len(value))
    if kind == TEXTS:
        return b"\3" + count + b"".join(encode(one, TEXT) for one in value)
    return b"\4" + count + b"".join(struct.pack("<q", integer(one)) for one in value)


def canonical(row):
    out = [b"\3"]
    for name, kind in COLUMNS:
        try:
            out.append(encode(row.get(name), kind))
        except TypeError as error:
            raise Bad(row["seq"], f'column "{name}" has another type') from error
        except UnicodeEncodeError as error:
            raise Unreadable("a text is not Unicode") from error
    return b"".join(out)


def row_hash(previous, row):
    return sha(previous, canonical(row))


def stored(row):
    """Number and hash of a row, after a look at what else it is."""
    if not isinstance(row, dict) or not is_int(row.get("seq")):
        raise Unreadable("a row is an object with a number")
    found = hash_of(row.get("hash"))
    if found is None:
        raise Bad(row["seq"], "the row's hash is not a hash")
    if set(row) - NAMES:
        raise Bad(row["seq"], "a column that the ledger does not have")
    canonical(row)
    return row["seq"], found


# ---- trees (RFC 6962, section 2.1, as it defines them)

def leaf(row):
    return sha(b"\0", row)


def node(left, right):
    return sha(b"\1", left, right)


def split(count):
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def root(rows):
    if len(rows) == 1:
        return leaf(rows[0])
    half = split(len(rows))
    return node(root(rows[:half]), root(rows[half:]))


def path(rows, index):
    if len(rows) == 1:
        return []
    half = split(len(rows))
    if index < half:
        return path(rows[:half], index) + [root(rows[half:])]
    return path(rows[half:], index - half) + [root(rows[:half])]


def climb(row, index, size, siblings):
    """The root above a row, or None if the path does not fit: from the top down, as the path was made."""
    if not 0 <= index < size:
        return None
    if size == 1:
        return None if siblings else leaf(row)
    if not siblings:
        return None
    half, sibling = split(size), siblings[-1]
    if index < half:
        below = climb(row, index, half, siblings[:-1])
        return below and node(below, sibling)
    below = climb(row, index - half, size - half, siblings[:-1])
    return below and node(sibling, below)


# ---- checkpoints

class Checkpoint:
    def __init__(self, value):
        try:
            numbers = [value[name] for name in ("seq", "rows", "at")]
            hashes = [hash_of(value[name]) for name in ("hash", "root", "previous", "link")]
        except (KeyError, TypeError) as error:
            raise Unreadable("no checkpoint") from error
        if not all(map(is_int, numbers)) or None in hashes:
            raise Unreadable("no checkpoint")
        self.seq, self.rows, self.at = numbers
        self.hash, self.root, self.previous, self.link = hashes

    @property
    def first(self):
        return self.seq - self.rows + 1

    def parts(self):
        return (self.seq, self.hash, self.rows, self.root, self.at, self.previous, self.link)

    def sealed(self):
        return self.link == link(self.previous, self.seq, self.hash, self.rows, self.root, self.at)


def link(previous, seq, row, rows, top, at):
    return sha(b"\2", previous, struct.pack("<q", seq), row, struct.pack("<q", rows), top, struct.pack("<q", at))


class Kept:
    def __init__(self, value):
        if not isinstance(value, dict) or not is_int(value.get("seq")) or hash_of(value.get("hash")) is None:
            raise Unreadable("no checkpoint")
        self.seq, self.hash, self.whole = value["seq"], hash_of(value["hash"]), None
        if "link" in value:
            self.whole = Checkpoint(value)
            if not self.whole.sealed():
                raise Unreadable("no checkpoint")

    def compare(self, other):
        if self.seq != other.seq:
            return
        if self.hash != other.hash or (self.whole and self.whole.parts() != other.parts()):
            raise Bad(self.seq, "the checkpoint is not the one that was kept")


def check_checkpoints(lines, kept):
    last = None
    for line in lines:
        one = Checkpoint(parse(line))
        if not one.sealed() or one.rows < 1 or one.rows > one.seq:
            raise Bad(one.seq, "the checkpoint was altered")
        if last is None:
            if (one.previous == ZERO) != (one.rows == one.seq):
                raise Bad(one.seq, "the checkpoint was altered")
        elif one.previous != last.link or one.first != last.seq + 1:
            raise Bad(one.seq, "the checkpoint does not follow the one before it")
        for other in kept:
            other.compare(one)
        last = one
    if last is None:
        raise Unreadable("there is no checkpoint")
    if any(other.seq > last.seq for other in kept):
        raise Bad(last.seq, "the list ends before a checkpoint that was kept")
    return f"to row {last.seq}"


# ---- proofs

def check_proof(whole, kept):
    value = parse(whole)
    if not isinstance(value, dict) or "row" not in value:
        raise Unreadable("a proof has a row")
    seq, found = stored(value["row"])
    previous, index = hash_of(value.get("previous_hash")), value.get("index")
    siblings = value.get("path")
    if previous is None or not is_int(index) or index < 0 or not isinstance(siblings, list):
        raise Unreadable("no proof")
    siblings = [hash_of(one) for one in siblings]
    if None in siblings or "checkpoint" not in value:
        raise Unreadable("no proof")
    over = Checkpoint(value["checkpoint"])
    if row_hash(previous, value["row"]) != found:
        raise Bad(seq, "the row, or its hash, was altered")
    if not over.sealed():
        raise Bad(seq, "the checkpoint was altered")
    if over.first + index != seq:
        raise Bad(seq, "the row is not at this place of the checkpoint")
    if len(siblings) > 64 or climb(found, index, over.rows, siblings) != over.root:
        raise Bad(seq, "the row is not under the checkpoint's root")
    if seq == over.seq and found != over.hash:
        raise Bad(seq, "the chain differs from the checkpoint")
    same = [other for other in kept if other.seq == over.seq]
    if kept and not same:
        raise Bad(seq, "the checkpoint was not kept")
    for other in same:
        other.compare(over)
    return f"row {seq} under the checkpoint at row {over.seq}"


# ---- ledgers

def check_ledger(lines, kept):
    at = first = header = None
    compared, seen, anchored = 0, {}, False
    for number, line in enumerate(lines):
        value = parse(line)
        if number == 0 and isinstance(value, dict) and "first_seq" in value:
            header = (value["first_seq"], value.get("last_seq"), hash_of(value.get("previous_hash")), hash_of(value.get("last_hash")))
            if not is_int(header[0]) or not is_int(header[1]) or None in header:
                raise Unreadable("no header")
            if header[0] == 1 and header[2] != ZERO:
                raise Bad(1, "nothing stands before the first row")
            at = (header[0] - 1, header[2])
            continue
        seq, found = stored(value)
        if at is None:
            before = [other for other in kept if other.seq == seq - 1]
            if before:
                at = (seq - 1, before[0].hash)
            elif seq <= 1:
                at = (0, ZERO)
        if at is not None:
            if not anchored:
                for other in kept:
                    if other.seq == at[0]:
                        if other.hash != at[1]:
                            raise Bad(at[0], "the chain differs from the checkpoint")
                        compared += 1
                anchored = True
            if seq != at[0] + 1:
                raise Bad(min(seq, at[0] + 1), "the row is missing" if seq > at[0] + 1 else "the row is there twice")
            if row_hash(at[1], value) != found:
                raise Bad(seq, "the row, or its hash, was altered")
        anchored = True
        first = seq if first is None else first
        at = (seq, found)
        seen[seq] = found
        for other in kept:
            if other.seq != seq:
                continue
            if other.hash != found:
                raise Bad(seq, "the chain differs from the checkpoint: it was sealed anew")
            whole = other.whole
            if whole and whole.rows > 0 and all(n in seen for n in range(whole.first, seq + 1)):
                if root([seen[n] for n in range(whole.first, seq + 1)]) != whole.root:
                    raise Bad(seq, "the rows are not those under the checkpoint's root")
            compared += 1
    if first is None:
        if header:
            raise Bad(header[0], "the row is missing: the end was cut off")
        raise Unreadable("there is no row")
    if header:
        if at[0] < header[1]:
            raise Bad(at[0] + 1, "the row is missing: the end was cut off")
        if at != (header[1], header[3]):
            raise Bad(at[0], "the file does not end as its first line says")
    elif any(other.seq > at[0] for other in kept):
        raise Bad(at[0] + 1, "the ledger ends before a checkpoint")
    if kept and not compared:
        raise Unreadable("none of the checkpoints lies among these rows")
    return f"rows {first} to {at[0]}, hash {at[1].hex()}"


def run(what, lines, kept_lines):
    """What is said, and the exit status."""
    try:
        kept = [Kept(parse(line)) for line in kept_lines if line.strip()]
        lines = [line for line in lines if line.strip()]
        if what == "ledger":
            said = check_ledger(lines, kept)
        elif what == "checkpoints":
            said = check_checkpoints(lines, kept)
        else:
            said = check_proof("\n".join(lines), kept)
        return f"ok: {said}", 0
    except Bad as bad:
        return str(bad), 1
    except Unreadable as unreadable:
        return f"unreadable: {unreadable}", 3


def main(arguments):
    against = []
    if "--against" in arguments:
        at = arguments.index("--against")
        with open(arguments[at + 1], encoding="utf-8") as file:
            against = file.read().split("\n")
        del arguments[at:at + 2]
    if not arguments or arguments[0] not in ("ledger", "checkpoints", "proof") or len(arguments) > 2:
        print(__doc__, file=sys.stderr)
        return 2
    if len(arguments) == 2 and arguments[1] != "-":
        with open(arguments[1], encoding="utf-8") as file:
            lines = file.read().split("\n")
    else:
        lines = sys.stdin.read().split("\n")
    said, status = run(arguments[0], lines, against)
    print(said)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
