//! Statements that become the body of a function: their texts are read before, their trees looked at after.
//!
//! Nothing of a text is taken over but what the parser found in it: parameters by name and type, a statement by its
//! place. So no text can end what it is put into, and begin something else.

use super::query;
use super::{raw, version};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query};
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use std::ffi::{CStr, CString, c_void};

/// What PostgreSQL said when it refused something.
#[derive(Debug, Clone)]
pub struct Fault {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// Runs what may raise an ERROR, and returns that: whoever gets it must raise an error. Its place in a text is left
/// out, for that is not a text that the client has sent.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    let work = std::panic::AssertUnwindSafe(work);
    let mut done = None;
    let place = std::panic::AssertUnwindSafe(&mut done);
    let fault = PgTryBuilder::new(move || {
        let (work, place) = (work, place);
        *place.0 = Some((work.0)());
        None
    })
    .catch_others(|error| match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => Some(Fault {
            code: report.sql_error_code(),
            message: report.message().to_owned(),
            detail: report.detail().map(ToOwned::to_owned),
            hint: report.hint().map(ToOwned::to_owned),
        }),
        other => other.rethrow(),
    })
    .execute();
    match (fault, done) {
        (None, Some(value)) => Ok(value),
        (Some(fault), _) => Err(fault),
        (None, None) => Err(Fault {
            code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            message: "nothing was done".to_owned(),
            detail: None,
            hint: None,
        }),
    }
}

/// A parameter as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub type_id: Oid,
}

/// What is wrong with a list of parameters.
#[derive(Debug)]
pub enum BadParameters {
    Fault(Fault),
    /// It is not a list of parameters, or more than that.
    NotAList,
    Nameless,
    /// OUT, INOUT, VARIADIC, TABLE.
    NotInput(String),
    HasDefault(String),
    /// A pseudo-type, or a set.
    Untyped(String),
}

/// The parameters that a text declares, as in CREATE FUNCTION. Types are looked up on the search path.
pub fn parameters(text: &str) -> Result<Vec<Parameter>, BadParameters> {
    // Read and not run.
    let head = ["CREATE FUNCTION q(", text, "\n) RETURNS "].concat();
    let Ok(source) = CString::new([head.as_str(), "int"].concat()) else {
        return Err(BadParameters::NotAList);
    };
    let read = caught(|| {
        // SAFETY: PostgreSQL's own way from a text to a tree, and from a name to a type.
        unsafe {
            let statements = pg_sys::raw_parser(source.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
            declared(statements, head.len())
        }
    });
    read.unwrap_or_else(|fault| Err(BadParameters::Fault(fault)))
}

/// # Safety
/// What the parser gave for the text of [`parameters`], whose result type begins at `returns`.
unsafe fn declared(statements: *mut pg_sys::List, returns: usize) -> Result<Vec<Parameter>, BadParameters> {
    // SAFETY: a list of RawStmt; the tag says which struct a node is.
    unsafe {
        let mut all = query::list::<pg_sys::RawStmt>(statements);
        let (Some(only), None) = (all.next(), all.next()) else { return Err(BadParameters::NotAList) };
        if (*only.stmt).type_ != NodeTag::T_CreateFunctionStmt {
            return Err(BadParameters::NotAList);
        }
        let create = &*only.stmt.cast::<pg_sys::CreateFunctionStmt>();
        // What stands there is ours, and nothing follows it.
        let is_ours =
            create.returnType.as_ref().is_some_and(|of| usize::try_from(of.location) == Ok(returns));
        if !is_ours || !create.options.is_null() || !create.sql_body.is_null() {
            return Err(BadParameters::NotAList);
        }
        let mut found = Vec::new();
        for parameter in query::list::<pg_sys::FunctionParameter>(create.parameters) {
            if parameter.name.is_null() {
                return Err(BadParameters::Nameless);
            }
            let name = CStr::from_ptr(parameter.name).to_string_lossy().into_owned();
            use pg_sys::FunctionParameterMode::{FUNC_PARAM_DEFAULT, FUNC_PARAM_IN};
            if ![FUNC_PARAM_DEFAULT, FUNC_PARAM_IN].contains(&parameter.mode) {
                return Err(BadParameters::NotInput(name));
            }
            if !parameter.defexpr.is_null() {
                return Err(BadParameters::HasDefault(name));
            }
            let (mut type_id, mut modifier) = (Oid::INVALID, 0);
            pg_sys::typenameTypeIdAndMod(
                std::ptr::null_mut(),
                parameter.argType,
                &mut type_id,
                &mut modifier,
            );
            if (*parameter.argType).setof || is_pseudo(type_id) {
                return Err(BadParameters::Untyped(name));
            }
            found.push(Parameter { name, type_id });
        }
        Ok(found)
    }
}

/// Whether a type has no values of its own: record, anyelement, void.
pub fn is_pseudo(type_id: Oid) -> bool {
    // SAFETY: a system cache lookup; 0 for what does not exist.
    unsafe { pg_sys::get_typtype(type_id) as u8 == pg_sys::TYPTYPE_PSEUDO }
}

/// Name of a type, with its schema where the search path does not say it.
pub fn type_name(type_id: Oid) -> String {
    // SAFETY: a palloc'd string, also for what does not exist.
    unsafe { CStr::from_ptr(pg_sys::format_type_be(type_id)) }.to_string_lossy().into_owned()
}

/// Whether a name needs no quotes: it is no key word, and what it says is what is meant.
pub fn is_plain(name: &str) -> bool {
    let Ok(text) = CString::new(name) else { return false };
    // SAFETY: returns its argument if that needs no quotes.
    !name.is_empty() && unsafe { pg_sys::quote_identifier(text.as_ptr()) } == text.as_ptr()
}

/// What is wrong with the text of a statement.
#[derive(Debug)]
pub enum BadStatement {
    Fault(Fault),
    /// So many.
    NotOne(usize),
    /// Neither a query nor one that changes rows.
    WrongKind,
}

/// The text of the one statement that stands in `text`: a query, INSERT, UPDATE or DELETE. No semicolon is in it but
/// in constants, names and comments.
pub fn statement(text: &str) -> Result<String, BadStatement> {
    let Ok(source) = CString::new(text) else { return Err(BadStatement::WrongKind) };
    let read = caught(|| {
        // SAFETY: a list of RawStmt, each with its statement.
        unsafe {
            let found = pg_sys::raw_parser(source.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
            let all: Vec<_> = query::list::<pg_sys::RawStmt>(found).collect();
            let [only] = all.as_slice() else { return Err(BadStatement::NotOne(all.len())) };
            use NodeTag::{T_DeleteStmt, T_InsertStmt, T_SelectStmt, T_UpdateStmt};
            if ![T_SelectStmt, T_InsertStmt, T_UpdateStmt, T_DeleteStmt].contains(&(*only.stmt).type_) {
                return Err(BadStatement::WrongKind);
            }
            let text = query::statement_text(source.as_ptr(), only.stmt_location, only.stmt_len);
            Ok(String::from_utf8_lossy(text).into_owned())
        }
    });
    read.unwrap_or_else(|fault| Err(BadStatement::Fault(fault)))
}

/// A column that a statement returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// None if nothing names it.
    pub name: Option<String>,
    pub type_id: Oid,
}

/// What stands in the body of a function that is one statement.
#[derive(Debug, Default)]
pub struct Body {
    pub writes: bool,
    /// It locks rows.
    pub locks: bool,
    pub columns: Vec<Column>,
    /// Numbers of the parameters that it uses.
    pub parameters: Vec<i32>,
    pub functions: Vec<Oid>,
}

/// Looks at a body as the catalog has it (pg_proc.prosqlbody); `None` if it is not one statement.
pub fn look(tree: &str) -> Option<Body> {
    let tree = CString::new(tree).ok()?;
    let mut body = Body::default();
    // SAFETY: what nodeToString wrote; the body of a function is a list of lists of queries.
    unsafe {
        let root = pg_sys::stringToNode(tree.as_ptr().cast_mut()).cast::<Node>();
        let inner = only(root)?;
        let query = only(inner)?;
        if (*query).type_ != NodeTag::T_Query {
            return None;
        }
        let query = &mut *query.cast::<Query>();
        body.writes = query.hasModifyingCTE || query.commandType != pg_sys::CmdType::CMD_SELECT;
        let output = match query.commandType {
            pg_sys::CmdType::CMD_SELECT => query.targetList,
            _ => query.returningList,
        };
        for column in query::list::<pg_sys::TargetEntry>(output).filter(|column| !column.resjunk) {
            let name = (!column.resname.is_null())
                .then(|| CStr::from_ptr(column.resname).to_string_lossy().into_owned());
            let name = name.filter(|name| name != "?column?");
            body.columns.push(Column { name, type_id: pg_sys::exprType(column.expr.cast()) });
        }
        version::walk(std::ptr::from_mut(query).cast(), visit, (&raw mut body).cast());
    }
    Some(body)
}

/// The only element of a list.
///
/// # Safety
/// NULL or a node.
unsafe fn only(node: *mut Node) -> Option<*mut Node> {
    // SAFETY: as the caller promises; the tag says that it is a list of nodes.
    unsafe {
        if node.is_null() || (*node).type_ != NodeTag::T_List {
            return None;
        }
        let mut elements = query::list::<Node>(node.cast());
        match (elements.next(), elements.next()) {
            (Some(one), None) => Some(std::ptr::from_ref(one).cast_mut()),
            _ => None,
        }
    }
}

unsafe extern "C-unwind" fn note(function: Oid, context: *mut c_void) -> bool {
    // SAFETY: the context that `visit` passes on.
    unsafe { (*context.cast::<Body>()).functions.push(function) };
    false
}

#[allow(ffi_unwind_calls)] // see version::Walker
unsafe extern "C-unwind" fn visit(node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them; the tag says which struct it is.
    unsafe {
        let Some(head) = node.as_ref() else { return false };
        match head.type_ {
            NodeTag::T_Param => {
                let parameter = &*node.cast::<pg_sys::Param>();
                if parameter.paramkind == pg_sys::ParamKind::PARAM_EXTERN {
                    (*context.cast::<Body>()).parameters.push(parameter.paramid);
                }
                return false;
            }
            NodeTag::T_Query => {
                let query = node.cast::<Query>();
                (*context.cast::<Body>()).locks |= !(*query).rowMarks.is_null();
                return version::walk_query(query, visit, context);
            }
            NodeTag::T_RangeTblEntry => return false,
            _ => {}
        }
        raw::check_functions_in_node(node, note, context);
        version::walk_expression(node, visit, context)
    }
}

/// What may change between two calls of a function, and where it may run (pg_proc.provolatile, proparallel).
pub fn manners(function: Oid) -> (u8, u8) {
    // SAFETY: system cache lookups of a function that the parser has just found.
    unsafe { (pg_sys::func_volatile(function) as u8, pg_sys::func_parallel(function) as u8) }
}
