use super::*;
use crate::event::{Change, Class, End, Object};

fn context(session: u64) -> Rc<PreparedContext> {
    Rc::new(prepare_context(Context {
        session,
        number: 77,
        database: 5,
        pid: session as u32,
        session_role: b"readonly".to_vec(),
        ..Context::default()
    }))
}

fn statement(context: &Rc<PreparedContext>, shape: &Rc<PreparedShape>, number: u32, ended: bool) -> Row {
    let at = i64::from(number) * 1000;
    let end = End {
        session: context.value.session,
        statement: number,
        at: at + 5,
        rows: 1,
        bytes: 2,
        transaction: 0,
        committed: None,
        outcome: Outcome::Ok,
        sqlstate: *b"00000",
    };
    Row {
        at,
        event: Cow::Borrowed(b"statement"),
        context: context.clone(),
        statement: Some(Statement {
            number,
            parent: 0,
            depth: 0,
            shape: shape.clone(),
            text: format!("select {number}").into_bytes().into(),
            parameters: vec![None, Some(b"x".to_vec())],
            grants: vec![3],
            end: ended.then_some(end),
        }),
        outcome: if ended { Outcome::Ok } else { Outcome::Interrupted },
        sqlstate: (!ended).then_some(*b"57P02"),
        object: None,
        detail: None,
    }
}

fn note(context: &Rc<PreparedContext>, event: &'static str, detail: &str) -> Row {
    Row {
        at: 1,
        event: Cow::Borrowed(event.as_bytes()),
        context: context.clone(),
        statement: None,
        outcome: Outcome::Denied,
        sqlstate: Some(*b"28000"),
        object: None,
        detail: Some(detail.as_bytes().to_vec()),
    }
}

fn shape() -> Rc<PreparedShape> {
    let mut shape = Shape::of(Class::Read, b"SELECT");
    shape.name(Object { kind: b"table".to_vec(), name: b"public.t".to_vec(), change: Change::Used });
    Rc::new(prepare_shape(shape))
}

fn rows() -> Vec<Row> {
    let (one, two, shape) = (context(1), context(2), shape());
    vec![
        statement(&one, &shape, 1, true),
        statement(&two, &shape, 1, false),
        note(&one, "identity", "{\"problem\": \"expired\"}"),
        statement(&two, &shape, 2, true),
        statement(&one, &shape, 2, false),
    ]
}

fn canonical(row: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    row.put_canonical(&mut out, 9, 0);
    out
}

#[test]
fn rows_arrive_as_they_left_but_for_the_name_of_the_server() {
    let rows = rows();
    let (records, count) = encode(&rows);
    assert_eq!(count, rows.len());
    let got = decode(&records, b"").unwrap();
    assert_eq!(got.iter().map(canonical).collect::<Vec<_>>(), rows.iter().map(canonical).collect::<Vec<_>>());
    assert_eq!(check(&got, |text| str::from_utf8(text).is_ok()), Ok(()));
    let named = decode(&records, b"one").unwrap();
    assert!(named.iter().all(|row| row.context.session.ends_with(b"@one")));
}

#[test]
fn a_batch_has_room_for_one_row_at_least_and_for_no_more_than_a_frame() {
    let mut rows = rows();
    for row in &mut rows {
        if let Some(statement) = &mut row.statement {
            statement.text = vec![b'x'; ROOM].into();
        }
    }
    let (records, count) = encode(&rows);
    assert_eq!((count, decode(&records, b"one").unwrap().len()), (1, 1));
    rows[0].statement.as_mut().unwrap().text = vec![b'x'; frame::MAX_PAYLOAD].into();
    let (records, count) = encode(&rows);
    assert!(count == 1 && records.len() < ROOM);
    let got = decode(&records, b"one").unwrap().remove(0).statement.unwrap();
    assert_eq!(*got.text, *b"(4194304 bytes, too many to forward)");
}

fn place(position: u64, rows: u32) -> Place {
    Place { position, rows, needed_from: position }
}

fn batch(role: &str, from: Place, to: Place) -> Forwarded {
    Forwarded {
        database: 5,
        role: role.as_bytes().to_vec(),
        server: b"one".to_vec(),
        journal: [7; 16],
        from,
        to,
        records: encode(&rows()[..1]).0,
    }
}

#[test]
fn a_batch_counts_once_and_only_where_the_one_before_ended() {
    let mut origins = Origins::default();
    let mut taken = |from, to| origins.take(batch("a", from, to)).unwrap().len();
    assert_eq!(taken(place(100, 0), place(100, 1)), 1);
    assert_eq!(taken(place(100, 0), place(100, 1)), 0, "sent again");
    assert_eq!(taken(place(150, 0), place(200, 0)), 0, "something between is missing");
    assert_eq!(taken(place(100, 1), place(150, 0)), 1);
    assert_eq!(taken(place(100, 1), place(150, 0)), 0, "sent again");
    assert_eq!(taken(place(150, 0), place(200, 0)), 1);
    assert_eq!(origins.of(&[7; 16]).unwrap().place, place(200, 0));
}

#[test]
fn nobody_goes_on_where_another_role_has_begun() {
    let mut origins = Origins::default();
    origins.take(batch("a", place(0, 0), place(1, 0))).unwrap();
    origins.take(batch("b", place(1, 0), place(2, 0))).unwrap_err();
    assert_eq!(origins.of(&[7; 16]).unwrap().place, place(1, 0));
}

#[test]
fn what_no_column_or_view_could_hold_is_refused() {
    let (context_, shape) = (context(1), shape());
    let is_text = |text: &[u8]| !text.contains(&0) && str::from_utf8(text).is_ok();
    let with = |change: &dyn Fn(&mut Row)| {
        let mut row = statement(&context_, &shape, 1, true);
        change(&mut row);
        check(&[row], is_text)
    };
    assert_eq!(with(&|_| ()), Ok(()));
    let changes: [&dyn Fn(&mut Row); 8] = [
        &|row| row.at = i64::MAX,
        &|row| row.at = -1,
        &|row| row.statement.as_mut().unwrap().number = u32::MAX,
        &|row| row.statement.as_mut().unwrap().depth = u16::MAX,
        &|row| row.statement.as_mut().unwrap().end.as_mut().unwrap().at = i64::MIN,
        &|row| row.statement.as_mut().unwrap().text = vec![0xff].into(),
        &|row| row.statement.as_mut().unwrap().parameters = vec![Some(vec![0])],
        &|row| row.sqlstate = Some([0; 5]),
    ];
    for (n, change) in changes.iter().enumerate() {
        assert!(with(change).is_err(), "change {n}");
    }
    let mut huge = context(1);
    Rc::get_mut(&mut huge).unwrap().value.pid = u32::MAX;
    check(&[statement(&huge, &shape, 1, true)], is_text).unwrap_err();
    for (event, detail) in
        [("gap", "no json"), ("gap", "{\"a\": \"\\u0000\"}"), ("transaction", "{}"), ("statement", "{}")]
    {
        assert!(check(&[note(&context_, event, detail)], is_text).is_err(), "{event} {detail}");
    }
    assert_eq!(check(&[note(&context_, "gap", "{\"a\": \"\\\\u0000\"}")], is_text), Ok(()));
}

#[test]
fn cut_and_altered_records_never_panic() {
    let (records, _) = encode(&rows());
    for end in 0..records.len() {
        let _ = decode(&records[..end], b"one").map(|rows| check(&rows, |_| true));
    }
    for at in 0..records.len() {
        for flip in [1, 0x80, 0xff] {
            let mut altered = records.clone();
            altered[at] ^= flip;
            if let Ok(rows) = decode(&altered, b"one")
                && check(&rows, |_| true).is_ok()
            {
                rows.iter().for_each(|row| drop(canonical(row)));
            }
        }
    }
}
