//! Defining and dropping queries.
//!
//! PostgreSQL reads the statement itself, as the body of a function; what it made of it is looked at, and the function
//! made anew with the columns that were found. All with a search path that nobody can plant anything in.

use super::error::QueryError;
use super::store::{self, Definition};
use crate::event::{Note, Outcome};
use crate::identity::session as person;
use crate::pg::body::{self, Body, Column, Parameter};
use crate::pg::{catalog, session, shared, spi};
use crate::trail;
use pgrx::pg_sys::{self, Oid};
use pgrx::spi::SpiClient;
use serde_json::{Value, json};

/// What `define_query` was called with. `None` is SQL's NULL.
pub struct Asked {
    pub name: Option<String>,
    pub parameters: Option<String>,
    pub query: Option<String>,
    pub description: Option<String>,
}

/// Functions of the server that may be called though their results change (pg_proc.dat): timeofday, nextval, currval,
/// random, clock_timestamp, gen_random_uuid.
const CHANGEFUL: [u32; 6] = [274, 1574, 1575, 1598, 2649, 3432];

/// Longest name (NAMEDATALEN).
const LONGEST: usize = pg_sys::NAMEDATALEN as usize - 1;

/// Makes a query, or replaces the one of that name. It runs with the rights of whoever asks.
pub fn define(asked: Asked) -> Result<Oid, QueryError> {
    shared::preloaded()?;
    let name = present(asked.name, "name")?;
    let parameters = present(asked.parameters, "parameters")?;
    let query = present(asked.query, "query")?;
    if name.len() > LONGEST {
        return Err(QueryError::LongName);
    }
    if !body::is_plain(&name) {
        return Err(QueryError::ReservedName(name));
    }
    let definer = session::current_user();
    let role = String::from_utf8_lossy(&session::role_name(definer)).into_owned();
    let person = person::current();
    let (function, detail) = spi::as_owner(|client| {
        let parameters = body::parameters(&parameters).map_err(QueryError::Parameters)?;
        check_parameters(&parameters)?;
        let statement = body::statement(&query).map_err(QueryError::Statement)?;
        store::lock(client)?;
        let replaces = check_name(client, &name, &parameters)?;
        let trial = store::make_trial(client, &parameters, &statement)?;
        let body = body::look(&store::tree(client, trial)?).ok_or(QueryError::NoColumns)?;
        let columns = check_body(&body, &parameters)?;
        check_uses(client, trial, &role, definer)?;
        let changeful = check_functions(&body)?;
        store::drop_function(client, trial)?;
        let wanted = Definition {
            name: &name,
            parameters: &parameters,
            columns: &columns,
            statement: &statement,
            volatile: body.writes || body.locks || changeful,
            definer,
            description: asked.description.as_deref(),
        };
        let function = store::make(client, &wanted)?;
        let by = person.as_ref().map(|person| (person.issuer.as_str(), person.user_id.as_str()));
        store::put(client, &wanted, function, body.writes, by)?;
        let detail = json!({
            "action": if replaces { "replace" } else { "define" },
            "parameters": store::declared(&parameters),
            "query": statement,
            "description": asked.description,
            "definer": role,
            "writes": body.writes,
        });
        Ok::<_, QueryError>((function, detail))
    })?;
    note(name, &detail)?;
    Ok(function)
}

/// Drops a query, and forgets it if its function is gone already.
pub fn drop(name: Option<String>) -> Result<(), QueryError> {
    shared::preloaded()?;
    let name = present(name, "name")?;
    spi::as_owner(|client| {
        store::lock(client)?;
        let present = store::present(client, &name)?;
        for query in present.into_iter().filter(|function| function.is_query) {
            store::drop_function(client, query.function)?;
        }
        if store::remove(client, &name)? { Ok(()) } else { Err(QueryError::Unknown(name.clone())) }
    })?;
    note(name, &json!({"action": "drop"}))
}

fn present<T>(argument: Option<T>, name: &'static str) -> Result<T, QueryError> {
    argument.ok_or(QueryError::NullArgument(name))
}

fn check_parameters(parameters: &[Parameter]) -> Result<(), QueryError> {
    match parameters.iter().find(|parameter| !body::is_plain(&parameter.name)) {
        Some(parameter) => Err(QueryError::ReservedParameter(parameter.name.clone())),
        None => Ok(()),
    }
}

/// Whether a query is there that may be replaced.
fn check_name(client: &SpiClient<'_>, name: &str, parameters: &[Parameter]) -> Result<bool, QueryError> {
    let types: Vec<Oid> = parameters.iter().map(|parameter| parameter.type_id).collect();
    let present = store::present(client, name)?;
    if present.iter().any(|function| !function.is_query) {
        return Err(QueryError::Taken(name.to_owned()));
    }
    match present.iter().any(|query| query.types != types) {
        true => Err(QueryError::OtherParameters(name.to_owned())),
        false => Ok(!present.is_empty()),
    }
}

/// The columns of the result, if it has any that can be told apart, and if all parameters count.
fn check_body(body: &Body, parameters: &[Parameter]) -> Result<Vec<(String, Oid)>, QueryError> {
    if body.columns.is_empty() {
        return Err(QueryError::NoColumns);
    }
    let mut columns: Vec<(String, Oid)> = Vec::with_capacity(body.columns.len());
    for (place, Column { name, type_id }) in body.columns.iter().enumerate() {
        let name = name.clone().ok_or(QueryError::NamelessColumn(place + 1))?;
        if columns.iter().any(|(known, _)| *known == name) {
            return Err(QueryError::ColumnTwice(name));
        }
        if parameters.iter().any(|parameter| parameter.name == name) {
            return Err(QueryError::ColumnIsParameter(name));
        }
        if body::is_pseudo(*type_id) {
            return Err(QueryError::UntypedColumn(name));
        }
        columns.push((name, *type_id));
    }
    let is_used = |place: usize| body.parameters.iter().any(|used| usize::try_from(*used) == Ok(place + 1));
    match parameters.iter().enumerate().find(|(place, _)| !is_used(*place)) {
        Some((_, unused)) => Err(QueryError::UnusedParameter(unused.name.clone())),
        None => Ok(columns),
    }
}

fn check_uses(client: &SpiClient<'_>, trial: Oid, role: &str, definer: Oid) -> Result<(), QueryError> {
    if let Some(what) = store::temporary(client, trial)? {
        return Err(QueryError::Temporary(what));
    }
    if let Some(what) = store::lacking(client, trial, definer)? {
        return Err(QueryError::NoRight { role: role.to_owned(), what });
    }
    match store::of_others(client, trial, definer)? {
        Some(what) => Err(QueryError::OfOthers(what)),
        None => Ok(()),
    }
}

/// Whether what the query calls changes from call to call, if all of it may be called.
fn check_functions(body: &Body) -> Result<bool, QueryError> {
    let mut changeful = false;
    for function in &body.functions {
        if CHANGEFUL.contains(&function.to_u32()) {
            changeful = true;
            continue;
        }
        let why = match body::manners(*function) {
            (b'v', _) => "is volatile",
            // What reads tables by SQL in a text, or by a name that is given to it, is among these.
            (_, parallel) if parallel != b's' && function.to_u32() < pg_sys::FirstNormalObjectId => {
                "is not parallel safe"
            }
            _ => continue,
        };
        let name = catalog::function_name(*function).unwrap_or_else(|| function.to_string());
        return Err(QueryError::Function { name, why });
    }
    Ok(changeful)
}

fn note(name: String, detail: &Value) -> Result<(), QueryError> {
    let (object, detail) = (Some(name), Some(detail.to_string()));
    Ok(trail::note(&Note { event: "query", outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}
