//! What statements are made over: see `tests/masking_shapes/setup.sql`.

use super::Kind::{self, *};

/// Relations and what they have.
pub const RELATIONS: &[(&str, &[(&str, Kind)])] = &[
    (
        "customers",
        &[
            ("id", Int),
            ("email", Text),
            ("iban", Text),
            ("ssn", Text),
            ("member", Text),
            ("born", Date),
            ("credit", Num),
            ("profile", Json),
            ("name", Text),
            ("city", Text),
            ("joined", Date),
        ],
    ),
    (
        "orders",
        &[
            ("id", Int),
            ("card", Text),
            ("customer_id", Int),
            ("amount", Num),
            ("status", Text),
            ("ordered_on", Date),
        ],
    ),
    ("staff", &[("id", Int), ("salary", Int), ("email", Text), ("name", Text), ("manager_id", Int)]),
    ("visits", &[("id", Int), ("who", Text), ("address", Inet), ("at", Date), ("page", Text)]),
    ("things", &[("id", Int), ("serial", Text), ("label", Text)]),
    ("machines", &[("id", Int), ("serial", Text), ("power", Int)]),
    ("memos", &[("id", Int), ("body", Text), ("author", Text), ("public", Bool)]),
    (
        "readings",
        &[
            ("id", Int),
            ("level", Int),
            ("owner", Text),
            ("phone", Text),
            ("remark", Text),
            ("note", Text),
            ("charge", Num),
            ("taken", Date),
            ("place", Text),
        ],
    ),
    ("cities", &[("name", Text), ("country", Text), ("people", Int)]),
    ("contacts", &[("id", Int), ("email", Text), ("iban", Text), ("name", Text), ("city", Text)]),
    ("turin", &[("id", Int), ("email", Text), ("name", Text)]),
    ("guarded", &[("id", Int), ("ssn", Text), ("email", Text), ("name", Text), ("city", Text)]),
    ("totals", &[("city", Text), ("customers", Int), ("emails", Int), ("iban", Text), ("amount", Num)]),
    ("card_or_email", &[("id", Int), ("what", Text)]),
    ("ranks", &[("id", Int), ("name", Text), ("email", Text), ("depth", Int)]),
    ("visits_2025", &[("id", Int), ("who", Text), ("address", Inet), ("at", Date), ("page", Text)]),
    ("only things", &[("id", Int), ("serial", Text), ("label", Text)]),
    ("customers_in('Turin')", &[("id", Int), ("email", Text), ("ssn", Text), ("born", Date)]),
    ("pairs()", &[("id", Int), ("email", Text)]),
    ("definer_set('Lisbon')", &[("id", Int), ("iban", Text), ("ssn", Text), ("credit", Num)]),
];

/// Tables that are written to: name, columns that are not masked and columns that are, with values.
pub const WRITTEN: &[(&str, &[&str], &[&str])] = &[
    (
        "customers",
        &["name = 'written'", "city = 'Graz'", "joined = '2025-05-05'"],
        &[
            "email = 'new.comer@example.com'",
            "iban = 'DE89SECRET99910021'",
            "ssn = '1-2-3'",
            "born = '1999-01-01'",
            "credit = 5",
        ],
    ),
    ("orders", &["status = 'written'", "amount = 3"], &["card = '4000-SECRET-1234'", "card = null"]),
    (
        "staff",
        &["name = 'written'", "manager_id = 1"],
        &["salary = 77001", "email = 'new.comer@example.com'", "pay = null"],
    ),
    (
        "visits",
        &["page = '/written'", "at = '2025-02-02'"],
        &["who = 'visitor-secret'", "address = '10.9.9.9'"],
    ),
    ("things", &["label = 'written'"], &["serial = 'serial-secret-x'"]),
    ("contacts", &["name = 'written'"], &["email = 'new.comer@example.com'"]),
    ("guarded", &["name = 'written'"], &["ssn = '1-2-3'"]),
    (
        "readings",
        &["place = 'written'"],
        &[
            "note = 'written'",
            "level = 7",
            "charge = 1.23",
            "taken = '2025-05-05'",
            "phone = '+351 912 345 678'",
            "marks = '{new mark}'",
        ],
    ),
    ("memos", &["author = 'written'"], &["body = 'memo secret written'"]),
];
