//! The gate on real catalogs: what needs a grant, what the refusal says.

#[pgrx::pg_schema]
mod tests {
    use super::super::access::{granted, identify_as};
    use crate::error::Report;
    use crate::gate::export::Means;
    use crate::gate::{Asker, GateError, Statement, UtilityUse, Verdict, check, check_ad_hoc, check_utility};
    use crate::identity::enrolled::Mode;
    use crate::identity::{Person, session as person};
    use crate::masking::table_behind;
    use crate::pg::query::RelationUse;
    use crate::pg::session;
    use pgrx::PgSqlErrorCode;
    use pgrx::pg_sys::Oid;
    use pgrx::prelude::*;
    use std::rc::Rc;

    fn oid(name: &str) -> Oid {
        Spi::get_one(&format!("SELECT '{name}'::regclass::oid")).unwrap().unwrap()
    }

    fn role(name: &str) -> Oid {
        Spi::get_one(&format!("SELECT '{name}'::regrole::oid")).unwrap().unwrap()
    }

    fn using(name: &str) -> RelationUse {
        RelationUse {
            relid: oid(name),
            select: true,
            insert: false,
            update: false,
            delete: false,
            truncate: false,
            through: None,
            selected: vec![1],
            written: Vec::new(),
            limits: 0,
        }
    }

    fn tables() {
        Spi::run(
            "CREATE ROLE shared_login; CREATE ROLE landlord;
             CREATE TABLE customers (id int, email text); CREATE TABLE orders (id int);
             CREATE VIEW emails AS SELECT email FROM customers;",
        )
        .unwrap();
        identify_as("o'neil", &["support"]);
    }

    fn ask(mode: Mode, person: Option<&Person>, uses: &[RelationUse], exporting: Option<Means>) -> Verdict {
        let asker = Asker { role: role("shared_login"), mode, person, ad_hoc: true, now: session::now() };
        check(&asker, &Statement { uses, exporting, identifying: false }, &table_behind)
    }

    fn current() -> Rc<Person> {
        person::current().unwrap()
    }

    fn govern(uses: &[RelationUse]) -> Result<Vec<i64>, GateError> {
        ask(Mode::Govern, Some(&current()), uses, None).into_result()
    }

    fn utility(used: UtilityUse<'_>) -> Result<Vec<i64>, GateError> {
        let person = current();
        let asker = Asker {
            role: role("shared_login"),
            mode: Mode::Govern,
            person: Some(&person),
            ad_hoc: true,
            now: session::now(),
        };
        check_utility(&asker, used, &table_behind).into_result()
    }

    #[pg_test]
    fn a_statement_without_grant_is_refused_with_the_call_to_ask_for() {
        tables();
        let error = govern(&[using("customers")]).unwrap_err();
        assert_eq!(error.code(), PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE);
        assert_eq!(error.to_string(), "access to table \"public.customers\" requires a live grant");
        assert_eq!(
            error.hint().unwrap(),
            "Ask for: SELECT * FROM access.request_access(ARRAY['select'], 'TABLE public.customers', '1 hour', 'reason');"
        );
        let update = RelationUse { update: true, ..using("customers") };
        assert_eq!(govern(&[update]).unwrap_err().detail().unwrap(), "Missing: select, update.");
    }

    #[pg_test]
    fn the_call_in_the_hint_opens_the_gate() {
        tables();
        let uses = [RelationUse { delete: true, ..using("customers") }];
        let hint = govern(&uses).unwrap_err().hint().unwrap();
        let asked = hint.strip_prefix("Ask for: SELECT * FROM access.request_access(").unwrap();
        // The call itself is made by a person, in tests/requests.rs.
        let id = granted(&format!("'o''neil', {}", asked.strip_suffix(");").unwrap()));
        assert_eq!(govern(&uses).unwrap(), [id]);
    }

    #[pg_test]
    fn all_tables_of_a_statement_need_their_grant() {
        tables();
        let customers = granted("'o''neil', ARRAY['select'], 'TABLE public.customers', '1 hour', 'x'");
        assert_eq!(govern(&[using("customers")]).unwrap(), [customers]);
        assert!(govern(&[using("customers"), using("orders")]).is_err());
        let orders = granted("'o''neil', ARRAY['select'], 'TABLE public.orders', '1 hour', 'x'");
        assert_eq!(
            govern(&[using("customers"), using("orders"), using("customers")]).unwrap(),
            [customers, orders]
        );
    }

    #[pg_test]
    fn an_ended_grant_opens_nothing() {
        const HALF_AN_HOUR: i64 = 1_800_000_000;
        tables();
        granted("'o''neil', ARRAY['select'], 'TABLE public.customers', '30 minutes', 'x'");
        let begun = session::now();
        let person = current();
        let at = |now: i64| {
            let (role, uses) = (role("shared_login"), [using("customers")]);
            let asker = Asker { role, mode: Mode::Govern, person: Some(&person), ad_hoc: true, now };
            let statement = Statement { uses: &uses, exporting: None, identifying: false };
            check(&asker, &statement, &table_behind).into_result()
        };
        assert!(at(begun).is_ok());
        let error = at(begun + HALF_AN_HOUR).unwrap_err();
        assert_eq!(error.to_string(), "access to table \"public.customers\" requires a live grant");
        // By the clock. Whether a grant is still seen to hold is a matter of how busy the machine is.
        granted("'o''neil', ARRAY['select'], 'TABLE public.orders', '100 milliseconds', 'x'");
        let _ = govern(&[using("orders")]);
        Spi::run("SELECT pg_sleep(0.12)").unwrap();
        assert!(govern(&[using("orders")]).is_err());
    }

    #[pg_test]
    fn without_a_person_nothing_runs_on_identify_and_govern() {
        tables();
        for mode in [Mode::Identify, Mode::Govern] {
            let error = ask(mode, None, &[], None).into_result().unwrap_err();
            assert_eq!(error.code(), PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION);
            assert_eq!(error.to_string(), "role \"shared_login\" requires an identified person");
            assert!(error.hint().unwrap().contains("custodian.set_identity"));
        }
        assert!(
            ask(Mode::Observe, None, &[using("customers")], Some(Means::CopyToClient)).into_result().is_ok()
        );
        assert!(
            ask(Mode::Identify, Some(&current()), &[using("customers")], Some(Means::CopyToClient))
                .into_result()
                .is_ok()
        );
    }

    #[pg_test]
    fn a_person_whose_token_has_ended_is_nobody() {
        tables();
        let ended = Person { expires_at: session::now(), ..(*current()).clone() };
        assert!(matches!(
            ask(Mode::Identify, Some(&ended), &[], None).into_result(),
            Err(GateError::NoPerson { .. })
        ));
    }

    #[pg_test]
    fn identification_itself_needs_no_person_but_may_read_nothing_beside() {
        tables();
        let asker = Asker {
            role: role("shared_login"),
            mode: Mode::Govern,
            person: None,
            ad_hoc: true,
            now: session::now(),
        };
        let free = Statement { uses: &[], exporting: None, identifying: true };
        assert!(check(&asker, &free, &table_behind).into_result().is_ok());
        let uses = [using("pg_class")];
        let reading = Statement { uses: &uses, ..free };
        assert!(check(&asker, &reading, &table_behind).into_result().is_err());
    }

    #[pg_test]
    fn catalogs_and_temporary_tables_need_no_grant_and_writing_catalogs_does() {
        tables();
        Spi::run("CREATE TEMP TABLE scratch (id int)").unwrap();
        let uses = ["pg_class", "information_schema.tables", "access.my_grants"].map(using);
        assert!(govern(&uses).unwrap().is_empty());
        let temporary = RelationUse { insert: true, ..using("scratch") };
        assert!(govern(&[temporary]).unwrap().is_empty());
        let catalog = RelationUse { update: true, ..using("pg_proc") };
        let error = govern(&[catalog]).unwrap_err();
        assert!(error.hint().unwrap().contains("ARRAY['ddl'], 'DATABASE'"), "{:?}", error.hint());
    }

    #[pg_test]
    fn a_view_needs_the_grant_and_covers_what_its_ungoverned_owner_reads() {
        tables();
        let below = || RelationUse { through: Some(role("landlord")), ..using("customers") };
        let error = govern(&[using("emails"), below()]).unwrap_err();
        assert_eq!(error.to_string(), "access to view \"public.emails\" requires a live grant");
        granted("'o''neil', ARRAY['select'], 'TABLE public.emails', '1 hour', 'x'");
        assert!(govern(&[using("emails"), below()]).is_ok());
        assert!(govern(&[using("emails"), using("customers")]).is_err(), "in the person's own right");
        Spi::run("SELECT custodian.enroll('landlord', 'observe')").unwrap();
        assert!(govern(&[using("emails"), below()]).is_err(), "by the rights of a role that people share");
    }

    #[pg_test]
    fn a_masked_view_asks_for_a_grant_on_its_table() {
        tables();
        Spi::run("SELECT mask.generate_view('customers')").unwrap();
        let error = govern(&[using("masked.customers")]).unwrap_err();
        assert!(error.hint().unwrap().contains("'TABLE public.customers'"), "{:?}", error.hint());
        let id = granted("'o''neil', ARRAY['select'], 'TABLE public.customers', '1 hour', 'x'");
        assert_eq!(govern(&[using("masked.customers")]).unwrap(), [id]);
        Spi::run(&format!("SELECT access.revoke_access({id}, 'x')")).unwrap();
        let id = granted("'o''neil', ARRAY['select'], 'TABLE masked.customers', '1 hour', 'x'");
        assert_eq!(govern(&[using("masked.customers")]).unwrap(), [id]);
        assert!(govern(&[using("customers")]).is_err(), "a grant on the view is none on the table");
    }

    #[pg_test]
    fn taking_data_out_needs_export_as_well() {
        tables();
        let person = current();
        let export = |uses: &[RelationUse]| {
            ask(Mode::Govern, Some(&person), uses, Some(Means::CopyToClient)).into_result()
        };
        let read = granted("'o''neil', ARRAY['select'], 'TABLE public.customers', '1 hour', 'x'");
        assert_eq!(export(&[using("customers")]).unwrap_err().detail().unwrap(), "Missing: export.");
        assert!(export(&[]).is_err(), "a function can bring out what no relation shows");
        let uses = [using("customers")];
        let copy = UtilityUse::Relations { uses: &uses, exporting: Some(Means::CopyToClient) };
        assert!(utility(copy).is_err());
        let out = granted("'o''neil', ARRAY['export'], 'DATABASE', '1 hour', 'x'");
        assert_eq!(export(&[using("customers")]).unwrap(), [read, out]);
        assert_eq!(export(&[]).unwrap(), [out]);
        assert_eq!(utility(copy).unwrap(), [read, out]);
    }

    /// By their names, since the table is of numbers.
    #[pg_test]
    fn each_function_of_the_server_that_takes_data_out_is_known() {
        let mut seen = 0;
        let names = "'^(lo_(open|get|export)|loread|pg_read_(binary_)?file(_old)?|pg_ls_dir|pg_stat_file|pg_logical_emit_message|pg_logical_slot_(get|peek)_.*)$'";
        Spi::connect(|client| {
            let query = format!("SELECT oid FROM pg_proc WHERE oid < 10000 AND proname ~ {names}");
            for row in client.select(&query, None, &[]).unwrap() {
                let function: Oid = row.get(1).unwrap().unwrap();
                assert!(Means::of_function(function).is_some(), "{function}");
                seen += 1;
            }
            let others = format!("SELECT oid FROM pg_proc WHERE oid < 10000 AND proname !~ {names}");
            for row in client.select(&others, None, &[]).unwrap() {
                let function: Oid = row.get(1).unwrap().unwrap();
                assert_eq!(Means::of_function(function), None, "{function}");
            }
        });
        assert!(seen > 15, "{seen}");
    }

    #[pg_test]
    fn utility_statements_are_allowed_by_what_they_need() {
        tables();
        assert!(utility(UtilityUse::Harmless).unwrap().is_empty());
        assert!(utility(UtilityUse::Carrier).unwrap().is_empty());
        let unknown = utility(UtilityUse::Relations { uses: &[], exporting: None });
        assert_eq!(unknown.unwrap_err().code(), PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE);
        let customers = Some(oid("customers"));
        assert!(utility(UtilityUse::Ddl { relation: customers }).is_err());
        assert!(utility(UtilityUse::Ddl { relation: None }).is_err());
        let id = granted("'o''neil', ARRAY['ddl'], 'TABLE public.customers', '1 hour', 'x'");
        assert_eq!(utility(UtilityUse::Ddl { relation: customers }).unwrap(), [id]);
        assert!(utility(UtilityUse::Ddl { relation: Some(oid("orders")) }).is_err());
        assert!(utility(UtilityUse::Ddl { relation: None }).is_err());
        let truncate = [RelationUse { select: false, truncate: true, ..using("orders") }];
        let used = UtilityUse::Relations { uses: &truncate, exporting: None };
        assert_eq!(utility(used).unwrap_err().detail().unwrap(), "Missing: truncate.");
    }

    #[pg_test]
    fn only_harmless_commands_run_without_a_person() {
        tables();
        let asker = Asker {
            role: role("shared_login"),
            mode: Mode::Identify,
            person: None,
            ad_hoc: true,
            now: session::now(),
        };
        assert!(check_utility(&asker, UtilityUse::Harmless, &table_behind).into_result().is_ok());
        for used in [
            UtilityUse::Carrier,
            UtilityUse::Ddl { relation: None },
            UtilityUse::Relations { uses: &[], exporting: None },
        ] {
            let refused = check_utility(&asker, used, &table_behind).into_result();
            assert!(matches!(refused, Err(GateError::NoPerson { .. })));
        }
    }

    #[pg_test]
    fn a_role_that_is_bound_to_queries_is_refused_what_is_not_permitted_but_in_observe_mode() {
        tables();
        for (mode, ad_hoc, refused) in [
            (Mode::Observe, false, false),
            (Mode::Identify, false, true),
            (Mode::Govern, false, true),
            (Mode::Govern, true, false),
        ] {
            let person = current();
            let (role, now) = (role("shared_login"), session::now());
            let asker = Asker { role, mode, person: Some(&person), ad_hoc, now };
            assert_eq!(check_ad_hoc(&asker, || false).is_err(), refused, "{mode:?} {ad_hoc}");
            assert!(check_ad_hoc(&asker, || true).is_ok());
        }
    }
}
