"""Random ledgers, checkpoints and proofs, whole and corrupted: both verifiers must say the same of each.

    agree.py VERIFIER [CASES [SEED]]

The same: that it holds, or the number of the first bad row, or that it cannot be read. What is whole must hold,
and each kind of corruption must have been found by both.
"""

import copy
import json
import random
import re
import subprocess
import sys
import tempfile

import verify

WORDS = ["", "a", "select 1", "Zoë", "日本語", "\u0001\u001f", "🦀" * 3, "quote \" and \\ slash", "\n\t", "x" * 300]


def random_text(r):
    if r.random() < 0.005:
        return "".join(chr(r.choice([97, 233, 0x4E2D, 0x1F980])) for _ in range(r.randrange(50_000)))
    return r.choice(WORDS) + str(r.randrange(1000))


def random_value(r, kind):
    if r.random() < 0.35:
        return None
    if kind == verify.INT:
        return r.choice([0, 1, -1, 2**63 - 1, -(2**63), r.randrange(-(10**12), 10**12), True, False])
    if kind == verify.TEXT:
        return random_text(r)
    count = r.choice([0, 1, 2, 5])
    if kind == verify.TEXTS:
        return [None if r.random() < 0.2 else random_text(r) for _ in range(count)]
    return [r.randrange(-(2**63), 2**63) for _ in range(count)]


def random_ledger(r, count):
    rows, previous = [], verify.ZERO
    for seq in range(1, count + 1):
        row = {name: random_value(r, kind) for name, kind in verify.COLUMNS}
        row["seq"] = seq
        previous = verify.row_hash(previous, row)
        row["hash"] = previous.hex()
        if r.random() < 0.3:  # what is not there is NULL
            row = {name: value for name, value in row.items() if value is not None}
        rows.append(row)
    return rows


def random_checkpoints(r, rows):
    found, at, previous = [], 0, verify.ZERO
    while at < len(rows):
        size = min(r.randrange(1, 9), len(rows) - at)
        hashes = [bytes.fromhex(row["hash"]) for row in rows[at:at + size]]
        at += size
        top, when = verify.root(hashes), r.randrange(10**15)
        own = verify.link(previous, at, hashes[-1], size, top, when)
        found.append({"seq": at, "hash": hashes[-1].hex(), "rows": size, "root": top.hex(), "at": when,
                      "previous": previous.hex(), "link": own.hex(), "database": "shop"})
        previous = own
    return found


def reseal(rows, start):
    """What an attacker does who knows the format."""
    previous = bytes.fromhex(rows[start - 1]["hash"]) if start else verify.ZERO
    for row in rows[start:]:
        previous = verify.row_hash(previous, row)
        row["hash"] = previous.hex()


def proof(rows, checkpoints, seq):
    over = next(one for one in checkpoints if one["seq"] >= seq)
    first = over["seq"] - over["rows"] + 1
    hashes = [bytes.fromhex(row["hash"]) for row in rows[first - 1:over["seq"]]]
    return {"row": rows[seq - 1], "index": seq - first, "checkpoint": over,
            "previous_hash": rows[seq - 2]["hash"] if seq > 1 else verify.ZERO.hex(),
            "path": [one.hex() for one in verify.path(hashes, seq - first)]}


def lines(values):
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def altered(r, kind, value):
    while True:
        other = random_value(r, kind)
        if verify.encode(other, kind) != verify.encode(value, kind):
            return other


# ---- corruptions: each takes rows and checkpoints and returns what is checked and against what

def edit_field(r, rows, marks):
    row = r.choice(rows)
    name, kind = r.choice(verify.COLUMNS[1:])
    row[name] = altered(r, kind, row.get(name))
    return "ledger", rows, []


def edit_hash(r, rows, marks):
    row = r.choice(rows)
    row["hash"] = verify.sha(row["hash"].encode()).hex()
    return "ledger", rows, []


def broken_hash(r, rows, marks):
    r.choice(rows)["hash"] = r.choice([None, 7, "", "zz" * 32, "ab"])
    return "ledger", rows, []


def remove_row(r, rows, marks):
    del rows[r.randrange(1, len(rows) - 1)]
    return "ledger", rows, []


def double_row(r, rows, marks):
    at = r.randrange(len(rows))
    rows.insert(r.randrange(at, len(rows)) + 1, copy.deepcopy(rows[at]))
    return "ledger", rows, []


def swap_rows(r, rows, marks):
    a, b = r.sample(range(len(rows)), 2)
    rows[a], rows[b] = rows[b], rows[a]
    return "ledger", rows, []


def swap_contents(r, rows, marks):
    a, b = r.sample(range(len(rows)), 2)
    rows[a], rows[b] = rows[b], rows[a]
    rows[a]["seq"], rows[b]["seq"] = a + 1, b + 1
    rows[a]["hash"], rows[b]["hash"] = rows[b]["hash"], rows[a]["hash"]
    return "ledger", rows, []


def smuggle_column(r, rows, marks):
    r.choice(rows)["approved_by"] = "the board"
    return "ledger", rows, []


def confuse_types(r, rows, marks):
    row = r.choice(rows)
    name, kind = r.choice(verify.COLUMNS[1:])
    row[name] = r.choice({verify.INT: ["7", 1.5, 2**63, [1]], verify.TEXT: [7, ["a"], {}, True],
                          verify.TEXTS: ["a", [7], [["a"]], {}], verify.INTS: [7, ["7"], [None], [1.5]]}[kind])
    return "ledger", rows, []


def cut_tail(r, rows, marks):
    del rows[r.randrange(1, len(rows)):]
    return "ledger", rows, marks[-1:]


def reseal_all(r, rows, marks):
    at = r.randrange(marks[-1]["seq"])
    rows[at]["query"] = altered(r, verify.TEXT, rows[at].get("query"))
    reseal(rows, at)
    kept = next(one for one in marks if one["seq"] > at)
    return "ledger", rows, [r.choice([kept, {"seq": kept["seq"], "hash": kept["hash"]}, marks[-1]])]


def part_that_does_not_follow(r, rows, marks):
    at = r.choice(marks[:-1])["seq"]
    kept = next(one for one in marks if one["seq"] == at)
    rows = rows[at:]
    rows[0]["query"] = altered(r, verify.TEXT, rows[0].get("query"))
    return "ledger", rows, [kept]


def header(rows, first, last):
    previous = rows[first - 2]["hash"] if first > 1 else verify.ZERO.hex()
    return {"format": "pg_custodian ledger 1", "first_seq": first, "last_seq": last,
            "previous_hash": previous, "last_hash": rows[last - 1]["hash"]}


def wrong_header(r, rows, marks):
    head = header(rows, 1, len(rows))
    change = r.choice(["last_seq", "last_hash", "previous_hash", "first_seq"])
    head[change] = {"last_seq": len(rows) + r.choice([-1, 1]), "first_seq": 2}.get(change, "ab" * 32)
    return "ledger", [head, *rows], []


def shortened_file(r, rows, marks):
    return "ledger", [header(rows, 1, len(rows)), *rows[:r.randrange(len(rows))]], []


def edit_checkpoint(r, rows, marks):
    one = r.choice(marks)
    name = r.choice(["seq", "hash", "rows", "root", "at", "previous", "link"])
    one[name] = one[name] + 1 if isinstance(one[name], int) else verify.sha(one[name].encode()).hex()
    return "checkpoints", marks, []


def remove_checkpoint(r, rows, marks):
    del marks[r.randrange(1, len(marks) - 1)]
    return "checkpoints", marks, []


def rewrite_checkpoints(r, rows, marks):
    kept = [copy.deepcopy(marks[-1])]
    at, previous = r.randrange(len(marks)), None
    marks[at]["root"] = verify.sha(b"forged").hex()
    for one in marks[at:]:
        one["previous"] = previous or one["previous"]
        own = [verify.hash_of(one[name]) for name in ("previous", "hash", "root")]
        previous = one["link"] = verify.link(own[0], one["seq"], own[1], one["rows"], own[2], one["at"]).hex()
    return "checkpoints", marks, kept


def forge_proof(r, rows, marks):
    seq = r.randrange(1, len(rows) + 1)
    found = copy.deepcopy(proof(rows, marks, seq))
    kind = r.randrange(6)
    if kind == 0:
        found["row"]["query"] = altered(r, verify.TEXT, found["row"].get("query"))
    elif kind == 1:  # with a hash that fits
        found["row"]["query"] = altered(r, verify.TEXT, found["row"].get("query"))
        found["row"]["hash"] = verify.row_hash(bytes.fromhex(found["previous_hash"]), found["row"]).hex()
    elif kind == 2:
        found["index"] += 1
    elif kind == 3:
        found["path"] = found["path"] + [verify.ZERO.hex()]
    elif kind == 4:
        found["path"] = found["path"][:-1] or [verify.ZERO.hex()]
    else:  # the root is made to fit, and the checkpoint sealed again: what was kept differs
        one = found["checkpoint"]
        one["at"] += 1
        own = [verify.hash_of(one[name]) for name in ("previous", "hash", "root")]
        one["link"] = verify.link(own[0], one["seq"], own[1], one["rows"], own[2], one["at"]).hex()
    return "proof", [found], marks


CORRUPTIONS = [edit_field, edit_hash, broken_hash, remove_row, double_row, swap_rows, swap_contents, smuggle_column,
               confuse_types, cut_tail, reseal_all, part_that_does_not_follow, wrong_header, shortened_file,
               edit_checkpoint, remove_checkpoint, rewrite_checkpoints, forge_proof]


# ---- what is whole

def whole_ledger(r, rows, marks):
    return "ledger", rows, marks


def whole_part(r, rows, marks):
    at = r.choice(marks[:-1])["seq"]
    return "ledger", rows[at:], r.choice([[], marks])


def whole_file(r, rows, marks):
    first = r.randrange(1, len(rows))
    return "ledger", [header(rows, first, len(rows)), *rows[first - 1:]], []


def whole_checkpoints(r, rows, marks):
    return "checkpoints", marks[r.randrange(len(marks)):], [marks[-1]]


def whole_proof(r, rows, marks):
    return "proof", [proof(rows, marks, r.randrange(1, len(rows) + 1))], r.choice([[], marks])


WHOLE = [whole_ledger, whole_part, whole_file, whole_checkpoints, whole_proof]


def theirs(verifier, what, text, against):
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as kept:
        kept.write(against)
        kept.flush()
        command = [verifier, what] + (["--against", kept.name] if against else [])
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    return done.stdout.decode().strip(), done.returncode


def verdict(said, status):
    row = re.match(r"bad: row (-?\d+):", said)
    return status, row and int(row[1])


def main(verifier, cases="300", seed=None):
    seed = seed or str(random.SystemRandom().randrange(10**9))
    print(f"seed {seed}, {cases} cases")
    r = random.Random(seed)
    for number in range(int(cases)):
        make = [*WHOLE, *CORRUPTIONS][number % (len(WHOLE) + len(CORRUPTIONS))]
        rows = random_ledger(r, r.randrange(12, 40))
        marks = random_checkpoints(r, rows)
        # One is taken out of the middle.
        while len(marks) < 3:
            marks = random_checkpoints(r, rows)
        what, values, kept = make(r, copy.deepcopy(rows), copy.deepcopy(marks))
        text, against = lines(values), lines(kept)
        ours = verify.run(what, text.split("\n"), against.split("\n"))
        other = theirs(verifier, what, text, against)
        if verdict(*ours) != verdict(*other):
            sys.exit(f"case {number}, {make.__name__}: one says {ours}, the other {other}")
        if (ours[1] == 0) != (make in WHOLE):
            sys.exit(f"case {number}, {make.__name__}: both say {ours}")
        if make not in WHOLE and make not in (smuggle_column, confuse_types) and ours[1] != 1:
            sys.exit(f"case {number}, {make.__name__}: not found to be bad but {ours}")
    print("both agree on all")


if __name__ == "__main__":
    main(*sys.argv[1:])
