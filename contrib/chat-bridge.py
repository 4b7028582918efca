#!/usr/bin/env python3
"""Tells a chat of requests for access and of break-glass (docs/requests.md):

    chat-bridge.py [--once] [WEBHOOK]

Each message goes to WEBHOOK as {"text": ...}, or to standard output without one. Which database, and as whom, say
PGHOST, PGDATABASE, PGUSER, PGPASSFILE, PGSERVICE and the like; the role is a member of custodian_auditor.
--once: ends after the first message. When the connection is lost it ends with 1: let systemd start it again.
What waited meanwhile is told at the start.
"""

import json
import sys
import urllib.request

import psycopg
from psycopg.rows import dict_row

CHANNEL = "pg_custodian_access"
WORDS = {
    "requested": "asks for",
    "approved": "has one of two approvals for",
    "granted": "was granted",
    "rejected": "was refused",
    "cancelled": "no longer asks for",
    "expired": "got no answer for",
}


def text_of_request(connection, number, event):
    """What a person reads of a request, or None if it is not there (rolled back, or not ours to see)."""
    found = connection.execute(
        "SELECT id, user_id, privileges, object, duration, reason, ticket, approver_groups, comment"
        " FROM access.requests WHERE id = %s",
        (number,),
    ).fetchone()
    if found is None:
        return None
    lines = [
        f"{found['user_id']} {WORDS.get(event, event)} {', '.join(found['privileges'])} on {found['object']}"
        f" for {found['duration']} (request {found['id']})",
        f"> {found['reason']}" + (f" [{found['ticket']}]" if found["ticket"] else ""),
    ]
    if event in ("requested", "approved"):
        lines.append(f"{' and '.join(found['approver_groups'])}: SELECT access.approve({found['id']}, 'comment');")
    elif found["comment"]:
        lines.append(f"> {found['comment']}")
    return "\n".join(lines)


def text_of(connection, notice):
    if "request" in notice:
        return text_of_request(connection, notice["request"], notice["event"])
    incident, grant = notice.get("incident"), notice.get("grant")
    return f"ALERT {notice['event']}: {notice.get('user_id')}, incident {incident}, grant {grant}"


def tell(webhook, text):
    if webhook is None:
        print(text, flush=True)
        return
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(webhook, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30):
        pass


def main(arguments):
    once = "--once" in arguments
    rest = [argument for argument in arguments if argument != "--once"]
    if len(rest) > 1:
        sys.exit(__doc__)
    webhook = rest[0] if rest else None
    with psycopg.connect(autocommit=True, row_factory=dict_row) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        # Only now, so that nothing falls between the look and the listening.
        waiting = connection.execute("SELECT id FROM access.requests WHERE state = 'pending' ORDER BY id").fetchall()
        known = {row["id"] for row in waiting}
        for number in sorted(known):
            tell(webhook, text_of_request(connection, number, "requested"))
            if once:
                return
        while True:
            # Taken before they are looked at: the connection is locked while it is listened to.
            for notification in list(connection.notifies(stop_after=1)):
                notice = json.loads(notification.payload)
                if notice["event"] == "requested" and notice["request"] in known:
                    continue
                text = text_of(connection, notice)
                if text is not None:
                    tell(webhook, text)
                    if once:
                        return


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except psycopg.OperationalError as error:
        sys.exit(f"chat-bridge: {error}")
