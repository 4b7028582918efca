"""People who alternate over one server connection of a pooler, as tests/poolers.rs wants it:

    pooler.py session|transaction|forgetful ROUNDS SEED

"forgetful" is transaction mode with clients that identify as if the session were theirs.
Alice and Bob each go through ROUNDS rounds at the same time, and somebody who never identifies is about as
well. Prints a line per statement: its mark, whose it was, and how it ended ("?": nobody was left to see it).
"""

import os
import random
import socket
import sys
import threading

import psycopg

MODE, ROUNDS, SEED = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SEES = {"alice": "DE89370400440532013000", "bob": "DE89**************3000"}
FAILURES = []


class Client:
    """What one of them does, and believes."""

    def __init__(self, person):
        self.person = person
        self.random = random.Random(f"{SEED} {person}")
        self.statements = 0
        self.connection = None
        self.lines = []

    def connect(self):
        # In transaction mode a prepared statement may stay behind on another server connection.
        self.connection = psycopg.connect(autocommit=True, prepare_threshold=None)

    def run(self, command):
        return self.connection.execute(command)

    def mark(self):
        self.statements += 1
        return f"mark_{self.person}_{self.statements}"

    def note(self, mark, person, outcome):
        self.lines.append(f"{mark}\t{person or '-'}\t{outcome}")

    def identify(self, extra=""):
        self.connection.execute(f"select custodian.set_identity(%s{extra})", [os.environ["PGC_" + self.person.upper()]])

    def read(self):
        """As whoever identified: sees what is this person's."""
        mark = self.mark()
        row = self.run(f"select iban as {mark}, custodian.user_id() from masked.customers where id = 1").fetchone()
        self.note(mark, self.person, "ok")
        if row != (SEES[self.person], self.person):
            raise AssertionError(f"{mark} is {self.person}'s and saw {row}")

    def fail(self):
        mark = self.mark()
        try:
            self.run(f"select 1/0 as {mark}")
        except psycopg.errors.DivisionByZero:
            self.note(mark, self.person, "error")
        else:
            raise AssertionError(f"{mark} did not fail")

    def be_refused(self):
        """As nobody: whoever had this server connection before must not be here."""
        mark = self.mark()
        try:
            row = self.run(f"select iban as {mark}, custodian.user_id() from masked.customers where id = 1").fetchone()
        except psycopg.errors.InvalidAuthorizationSpecification:
            self.note(mark, None, "denied")
        else:
            raise AssertionError(f"{mark} is nobody's and saw {row}")

    def work(self):
        for _ in range(self.random.randint(1, 3)):
            self.read()

    def vanish(self, running=False):
        """The socket is cut, without a word to the pooler."""
        if running:
            mark = self.mark()
            self.connection.pgconn.send_query(f"select iban as {mark}, pg_sleep(0.01) from masked.customers".encode())
            self.note(mark, self.person, "?")
        line = socket.socket(fileno=os.dup(self.connection.fileno()))
        line.shutdown(socket.SHUT_RDWR)
        line.close()
        self.connection.close()
        self.connection = None

    def session_round(self):
        """A connection of one's own: the pooler's server connection for as long as it lasts."""
        self.connect()
        kind = self.random.choice(["polite", "polite", "forgets", "forgets", "forgets", "rolls back", "rolls back",
                                   "fails", "fails", "vanishes", "vanishes idle", "vanishes running",
                                   "does not identify"])
        if kind == "does not identify":
            self.be_refused()
        else:
            self.identify()
            self.work()
        if kind == "polite":
            self.run("select custodian.clear_identity()")
        elif kind == "rolls back":
            self.run("begin")
            self.work()
            self.run("rollback")
        elif kind == "fails":
            self.run("begin")
            self.fail()
        elif kind == "vanishes":
            self.run("begin")
            self.work()
        if kind.startswith("vanishes"):
            self.vanish(running=kind == "vanishes running")
        else:
            self.connection.close()

    def transaction_round(self):
        """A connection that stays: each transaction gets the server connection for itself."""
        if self.connection is None:
            self.connect()
        kind = self.random.choice(["commits", "commits", "commits", "commits", "rolls back", "rolls back", "fails",
                                   "fails", "vanishes", "vanishes running", "does not identify",
                                   "does not identify at all"])
        if kind == "does not identify at all":
            self.be_refused()
            return
        self.run("begin")
        if kind == "does not identify":
            self.be_refused()
            self.run("rollback")
            return
        self.identify("" if MODE == "forgetful" else ", for_transaction => true")
        self.work()
        if kind.startswith("vanishes"):
            self.vanish(running=kind == "vanishes running")
            return
        if kind == "fails":
            self.fail()
        self.run("commit" if kind == "commits" else "rollback")

    def round_as_nobody(self):
        self.connect()
        self.be_refused()
        self.connection.close()

    def rounds(self):
        if self.person == "nobody":
            one = self.round_as_nobody
        else:
            one = self.session_round if MODE == "session" else self.transaction_round
        try:
            for _ in range(ROUNDS // 4 if self.person == "nobody" else ROUNDS):
                one()
        except BaseException as error:
            FAILURES.append(f"{self.person}: {error!r}")
        finally:
            # The others wait for the server connection.
            if self.connection:
                self.connection.close()


clients = [Client("alice"), Client("bob"), Client("nobody")]
threads = [threading.Thread(target=client.rounds) for client in clients]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for client in clients:
    print("\n".join(client.lines))
if FAILURES:
    sys.exit("\n".join(FAILURES))
