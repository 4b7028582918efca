//! What is written is read again, and nothing else is.

use super::*;

fn sample() -> (Vec<u8>, Vec<Record>) {
    let context = Context {
        session: 7,
        number: 2,
        database: 5,
        pid: 4711,
        session_role: b"readonly".to_vec(),
        role: b"readonly".to_vec(),
        client_address: Some(b"10.0.0.7".to_vec()),
        application: b"psql".to_vec(),
        person: Some(PersonTag {
            issuer: "https://id.example.com".into(),
            user_id: "alice".into(),
            email: Some("alice@example.com".into()),
            token_id: None,
        }),
        server: Vec::new(),
    };
    let shape = Shape {
        class: Class::Read,
        command: b"SELECT".to_vec(),
        origin: Origin::Trigger,
        objects: vec![Object {
            kind: b"table".to_vec(),
            name: b"public.customers".to_vec(),
            change: Change::Used,
        }],
        columns_read: vec![b"public.customers.iban".to_vec(), b"public.customers.id".to_vec()],
        columns_written: vec![],
        masked: vec![b"iban".to_vec()],
        revealed: vec![],
    };
    let begin = Begin {
        session: 7,
        statement: 12,
        parent: 11,
        depth: 1,
        context: 2,
        shape: 9,
        at: 812_345_678_901_234,
        text: Some(b"select iban from customers where id = $1".to_vec()),
        grants: vec![42, -1],
        parameters: vec![Some(b"4711".to_vec()), None, Some(vec![])],
    };
    let end = End {
        session: 7,
        statement: 12,
        at: -1,
        rows: 3,
        bytes: 99,
        transaction: 1 << 40,
        committed: Some(true),
        outcome: Outcome::Error,
        sqlstate: *b"22012",
    };
    let note = Note {
        event: "identity",
        outcome: Outcome::Denied,
        sqlstate: Some(*b"28000"),
        object: None,
        detail: Some("{}".into()),
    };
    let mut out = Vec::new();
    put_context(&mut out, &context);
    put_shape(&mut out, 7, 9, &shape);
    let mut parameters = Vec::new();
    for value in &begin.parameters {
        put_parameter(&mut parameters, value.as_deref());
    }
    let head = BeginHead {
        session: 7,
        statement: 12,
        parent: 11,
        depth: 1,
        context: 2,
        shape: 9,
        at: begin.at,
        text: begin.text.as_deref(),
        grants: &begin.grants,
    };
    put_begin(&mut out, head, 3, &parameters);
    let again = Begin { statement: 13, text: None, grants: vec![], parameters: vec![], ..begin.clone() };
    put_begin(&mut out, BeginHead { statement: 13, text: None, grants: &[], ..head }, 0, &[]);
    let objects =
        vec![Object { kind: b"table".to_vec(), name: b"public.t".to_vec(), change: Change::Dropped }];
    put_objects(&mut out, 7, 12, &objects);
    put_end(&mut out, &end);
    put_note(&mut out, 7, 2, 5, &note);
    let forwarded = Forwarded {
        database: 5,
        role: b"standby1".to_vec(),
        server: b"one".to_vec(),
        journal: [9; 16],
        from: Place { position: 1, rows: 2, needed_from: 1 },
        to: Place { position: 10, rows: 0, needed_from: 8 },
        records: b"records".to_vec(),
    };
    put_forwarded(&mut out, &forwarded);
    let noted = Noted {
        session: 7,
        context: 2,
        at: 5,
        event: b"identity".to_vec(),
        outcome: Outcome::Denied,
        sqlstate: Some(*b"28000"),
        object: None,
        detail: Some(b"{}".to_vec()),
    };
    let records = vec![
        Record::Context(context),
        Record::Shape { session: 7, number: 9, shape },
        Record::Begin(begin),
        Record::Begin(again),
        Record::Objects { session: 7, statement: 12, objects },
        Record::End(end),
        Record::Note(noted),
        Record::Forwarded(forwarded),
    ];
    (out, records)
}

#[test]
fn every_record_comes_back_as_it_went() {
    let (bytes, expected) = sample();
    let got: Result<Vec<_>, _> = records(&bytes).collect();
    assert_eq!(got, Ok(expected));
}

#[test]
fn each_number_has_one_form() {
    for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 63, u64::MAX] {
        let mut bytes = Vec::new();
        put_u64(&mut bytes, number);
        assert_eq!(Input { bytes: &bytes, at: 0 }.u64(), Some(number));
    }
    for bytes in
        [&[0x80, 0][..], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
    {
        assert_eq!(Input { bytes, at: 0 }.u64(), None, "{bytes:?}");
    }
}

#[test]
fn cut_or_altered_payloads_are_malformed_or_differ_but_never_panic() {
    let (bytes, expected) = sample();
    for end in 0..bytes.len() {
        let got: Result<Vec<_>, _> = records(&bytes[..end]).collect();
        assert_ne!(got, Ok(expected.clone()));
    }
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x81;
        let got: Result<Vec<_>, _> = records(&altered).collect();
        assert_ne!(got, Ok(expected.clone()), "byte {at} does not matter");
    }
}
