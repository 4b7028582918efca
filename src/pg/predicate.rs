//! Conditions on the rows of one table, written by an administrator: read, checked, kept and made part of statements.
//!
//! A condition is kept as a text in which `$1`, `$2`, ... stand for columns, beside the columns' numbers: what the
//! columns are called later does not matter to it. It is read with a search path that nobody can plant operators in.

use super::catalog::{self, ColumnType};
use super::spi::PinnedPath;
use super::{query, raw, version};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Node, NodeTag, Oid, ParseState};
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;

/// A condition that was found to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate {
    /// With `$n` for the n-th of `columns`.
    pub text: String,
    pub columns: Vec<i16>,
}

/// What is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// PostgreSQL refuses it with this message; `true` if it does not even parse.
    Refused {
        message: String,
        syntax: bool,
    },
    /// Not one expression.
    NotOne,
    SystemColumn(String),
    WholeRow,
    NoColumn,
    /// A function that may not stand in it, and why.
    Function {
        name: String,
        why: &'static str,
    },
    /// Something that is known to no list.
    Unsuitable,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { message, .. } => f.write_str(message),
            Self::NotOne => f.write_str("it is not one expression"),
            Self::SystemColumn(column) => write!(f, "\"{column}\" is a system column"),
            Self::WholeRow => f.write_str("it uses the whole row"),
            Self::NoColumn => f.write_str("it uses no column"),
            Self::Function { name, why } => write!(f, "function \"{name}\" {why}"),
            Self::Unsuitable => f.write_str("it uses what has no place in it"),
        }
    }
}

/// Built-in functions that read what the session can set, and so leave the decision to it: current_setting.
const STEERABLE: [u32; 2] = [2077, 3294];

/// Reads a condition on `relation` and checks it.
pub fn read(relation: Oid, text: &str) -> Result<Predicate, Flaw> {
    let Some((schema, table)) = catalog::relation_name(relation) else { return Err(Flaw::Unsuitable) };
    let mut names =
        Names { schema, table, columns: catalog::columns(relation), used: Vec::new(), flaw: None };
    let node = parsed(text, Some((&mut names, from_name)), None)?;
    if let Some(flaw) = names.flaw {
        return Err(flaw);
    }
    if names.used.is_empty() {
        return Err(Flaw::NoColumn);
    }
    check(node)?;
    caught(|| {
        // Constants that raise an error do so here, and not in statements.
        // SAFETY: a whole expression; it is copied.
        unsafe { pg_sys::eval_const_expressions(std::ptr::null_mut(), node) };
        Ok(())
    })?;
    // SAFETY: an expression without Vars needs no names.
    let text = unsafe {
        CStr::from_ptr(pg_sys::deparse_expression(node, std::ptr::null_mut(), false, false))
            .to_string_lossy()
            .into_owned()
    };
    let predicate = Predicate { text, columns: names.used };
    // It must read as what was checked.
    let again = read_kept(relation, &predicate, 1)?;
    check(again)?;
    Ok(predicate)
}

/// The condition for range table entry `number`, which is of `relation`. Raises what PostgreSQL raises, if the
/// condition does not fit the table any more.
pub(super) fn condition(relation: Oid, predicate: &Predicate, number: i32) -> Result<*mut Node, Flaw> {
    read_kept(relation, predicate, number)
}

fn read_kept(relation: Oid, predicate: &Predicate, number: i32) -> Result<*mut Node, Flaw> {
    let columns = predicate.columns.iter().map(|column| catalog::column_type(relation, *column));
    let columns: Option<Vec<ColumnType>> = columns.collect();
    let numbers = Numbers { columns: columns.ok_or(Flaw::Unsuitable)?, number };
    parsed(&predicate.text, None, Some((&numbers, from_number)))
}

/// What names mean in a condition as it is written.
struct Names {
    schema: String,
    table: String,
    columns: Vec<(String, ColumnType)>,
    used: Vec<i16>,
    flaw: Option<Flaw>,
}

/// What numbers mean in a condition as it is kept.
struct Numbers {
    columns: Vec<ColumnType>,
    number: i32,
}

type ByName<'a> =
    (&'a mut Names, unsafe extern "C-unwind" fn(*mut ParseState, *mut pg_sys::ColumnRef) -> *mut Node);
type ByNumber<'a> =
    (&'a Numbers, unsafe extern "C-unwind" fn(*mut ParseState, *mut pg_sys::ParamRef) -> *mut Node);

/// Runs what may raise an ERROR, and takes that as a flaw: whoever gets it must raise an error.
fn caught<T: 'static>(work: impl FnOnce() -> Result<T, Flaw>) -> Result<T, Flaw> {
    let work = std::panic::AssertUnwindSafe(work);
    PgTryBuilder::new(|| {
        let work = work;
        (work.0)()
    })
    .catch_others(|error| match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
            let syntax = report.sql_error_code() == PgSqlErrorCode::ERRCODE_SYNTAX_ERROR;
            Err(Flaw::Refused { message: report.message().to_owned(), syntax })
        }
        other => other.rethrow(),
    })
    .execute()
}

fn parsed(text: &str, names: Option<ByName<'_>>, numbers: Option<ByNumber<'_>>) -> Result<*mut Node, Flaw> {
    let Ok(source) = CString::new(text) else { return Err(Flaw::NotOne) };
    let _path = PinnedPath::pin();
    let mut address = 0_usize;
    let place = &raw mut address;
    caught(|| {
        // SAFETY: PostgreSQL's own way from a text to an expression; the hooks and what they see outlive it.
        unsafe {
            let expression = only_expression(pg_sys::raw_parser(
                source.as_ptr(),
                pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR,
            ))?;
            let state = pg_sys::make_parsestate(std::ptr::null_mut());
            (*state).p_sourcetext = source.as_ptr();
            if let Some((names, hook)) = names {
                (*state).p_pre_columnref_hook = Some(hook);
                (*state).p_ref_hook_state = std::ptr::from_mut(names).cast();
            }
            if let Some((numbers, hook)) = numbers {
                (*state).p_paramref_hook = Some(hook);
                (*state).p_ref_hook_state = std::ptr::from_ref(numbers).cast_mut().cast();
            }
            // As for CHECK: no subqueries, aggregates, window functions, sets.
            let kind = pg_sys::ParseExprKind::EXPR_KIND_CHECK_CONSTRAINT;
            let node = pg_sys::transformExpr(state, expression, kind);
            let node = pg_sys::coerce_to_boolean(state, node, c"rows".as_ptr());
            pg_sys::assign_expr_collations(state, node);
            pg_sys::free_parsestate(state);
            *place = node as usize;
        }
        Ok(())
    })?;
    Ok(address as *mut Node)
}

/// The expression, if there is one and nothing else: the grammar takes the rest of a SELECT, too.
///
/// # Safety
/// What the parser gave for an expression.
unsafe fn only_expression(statements: *mut pg_sys::List) -> Result<*mut Node, Flaw> {
    // SAFETY: a list of RawStmt, each with a SelectStmt, whose target list is of ResTarget.
    unsafe {
        let mut all = query::list::<pg_sys::RawStmt>(statements);
        let (Some(statement), None) = (all.next(), all.next()) else { return Err(Flaw::NotOne) };
        let Some(select) = statement.stmt.cast::<pg_sys::SelectStmt>().as_ref() else {
            return Err(Flaw::NotOne);
        };
        let clauses = [
            select.distinctClause,
            select.fromClause,
            select.groupClause,
            select.windowClause,
            select.valuesLists,
            select.sortClause,
            select.lockingClause,
        ];
        let conditions = [select.whereClause, select.havingClause, select.limitOffset, select.limitCount];
        let mut targets = query::list::<pg_sys::ResTarget>(select.targetList);
        match (targets.next(), targets.next()) {
            (Some(target), None)
                if select.type_ == NodeTag::T_SelectStmt
                    && select.op == pg_sys::SetOperation::SETOP_NONE
                    && select.intoClause.is_null()
                    && select.withClause.is_null()
                    && clauses.iter().all(|clause| clause.is_null())
                    && conditions.iter().all(|condition| condition.is_null())
                    && target.name.is_null()
                    && target.indirection.is_null() =>
            {
                Ok(target.val)
            }
            _ => Err(Flaw::NotOne),
        }
    }
}

/// A column, by its name: a parameter with the column's place among those that are used.
#[allow(ffi_unwind_calls)] // called by the parser: see raw.rs
unsafe extern "C-unwind" fn from_name(
    state: *mut ParseState,
    reference: *mut pg_sys::ColumnRef,
) -> *mut Node {
    // SAFETY: the state that `parsed` gave; a reference is a list of String nodes, or a star at its end.
    unsafe {
        let names = &mut *(*state).p_ref_hook_state.cast::<Names>();
        let location = (*reference).location;
        match names.find((*reference).fields) {
            Ok(None) => std::ptr::null_mut(),
            Ok(Some((place, column))) => {
                let parameter = raw::palloc0(size_of::<pg_sys::Param>()).cast::<pg_sys::Param>();
                (*parameter).xpr.type_ = NodeTag::T_Param;
                (*parameter).paramkind = pg_sys::ParamKind::PARAM_EXTERN;
                (*parameter).paramid = place;
                (*parameter).paramtype = column.type_id;
                (*parameter).paramtypmod = column.modifier;
                (*parameter).paramcollid = column.collation;
                (*parameter).location = location;
                parameter.cast()
            }
            Err(flaw) => {
                names.flaw.get_or_insert(flaw);
                // Whatever stands there; it is refused.
                std::ptr::null_mut()
            }
        }
    }
}

impl Names {
    /// The column that is meant and its place among those used; `None` if there is none of that name.
    fn find(&mut self, fields: *mut pg_sys::List) -> Result<Option<(i32, ColumnType)>, Flaw> {
        let parts: Vec<Option<&CStr>> = query::list::<Node>(fields).map(query::string).collect();
        let Some(parts) = parts.into_iter().collect::<Option<Vec<_>>>() else { return Err(Flaw::WholeRow) };
        let is = |part: &CStr, name: &str| part.to_bytes() == name.as_bytes();
        let name = match parts.as_slice() {
            [column] => column,
            [table, column] if is(table, &self.table) => column,
            [schema, table, column] if is(schema, &self.schema) && is(table, &self.table) => column,
            _ => return Ok(None),
        };
        let name = name.to_string_lossy();
        let Some((_, column)) = self.columns.iter().find(|(known, _)| *known == name) else {
            return match name.as_ref() {
                "ctid" | "xmin" | "xmax" | "cmin" | "cmax" | "tableoid" => {
                    Err(Flaw::SystemColumn(name.into_owned()))
                }
                name if parts.len() == 1 && name == self.table => Err(Flaw::WholeRow),
                _ => Ok(None),
            };
        };
        let place = self.used.iter().position(|used| *used == column.number).unwrap_or_else(|| {
            self.used.push(column.number);
            self.used.len() - 1
        });
        Ok(Some((place as i32 + 1, *column)))
    }
}

/// A column, by its place among those that are used.
#[allow(ffi_unwind_calls)] // called by the parser: see raw.rs
unsafe extern "C-unwind" fn from_number(
    state: *mut ParseState,
    reference: *mut pg_sys::ParamRef,
) -> *mut Node {
    // SAFETY: the state that `parsed` gave.
    unsafe {
        let numbers = &*(*state).p_ref_hook_state.cast::<Numbers>();
        let place = usize::try_from((*reference).number).ok().and_then(|number| number.checked_sub(1));
        let Some(column) = place.and_then(|place| numbers.columns.get(place)) else {
            return std::ptr::null_mut();
        };
        raw::makeVar(numbers.number, column.number, column.type_id, column.modifier, column.collation, 0)
            .cast()
    }
}

struct Seen {
    functions: Vec<Oid>,
    strange: bool,
}

/// Whether nothing stands in the condition but what is known to be safe there.
fn check(node: *mut Node) -> Result<(), Flaw> {
    let mut seen = Seen { functions: Vec::new(), strange: false };
    // SAFETY: a whole expression; the walker only looks.
    unsafe { version::walk(node, look, (&raw mut seen).cast()) };
    for function in seen.functions {
        // SAFETY: system cache lookups of a function that the parser has just found.
        let (volatility, parallel) =
            unsafe { (pg_sys::func_volatile(function) as u8, pg_sys::func_parallel(function) as u8) };
        let why = if function.to_u32() >= pg_sys::FirstNormalObjectId {
            "did not come with the server"
        } else if volatility == b'v' {
            "is volatile"
        } else if parallel != b's' {
            // What reads other tables by SQL in a text, such as query_to_xml, is among these.
            "is not parallel safe"
        } else if STEERABLE.contains(&function.to_u32()) {
            "depends on what the session has set"
        } else {
            continue;
        };
        let name = catalog::function_name(function).unwrap_or_else(|| function.to_string());
        return Err(Flaw::Function { name, why });
    }
    if seen.strange { Err(Flaw::Unsuitable) } else { Ok(()) }
}

unsafe extern "C-unwind" fn note(function: Oid, context: *mut c_void) -> bool {
    // SAFETY: the context that `look` passes on.
    unsafe { (*context.cast::<Seen>()).functions.push(function) };
    false
}

#[allow(ffi_unwind_calls)] // see version::Walker
unsafe extern "C-unwind" fn look(node: *mut Node, context: *mut c_void) -> bool {
    use NodeTag::*;
    // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them.
    unsafe {
        let Some(head) = node.as_ref() else { return false };
        let known = matches!(
            head.type_,
            T_Var
                | T_Param
                | T_Const
                | T_FuncExpr
                | T_OpExpr
                | T_DistinctExpr
                | T_NullIfExpr
                | T_ScalarArrayOpExpr
                | T_BoolExpr
                | T_RelabelType
                | T_CoerceViaIO
                | T_ArrayCoerceExpr
                | T_CaseExpr
                | T_CaseWhen
                | T_CaseTestExpr
                | T_ArrayExpr
                | T_RowExpr
                | T_RowCompareExpr
                | T_CoalesceExpr
                | T_MinMaxExpr
                | T_SQLValueFunction
                | T_NullTest
                | T_BooleanTest
                | T_CollateExpr
                | T_SubscriptingRef
                | T_FieldSelect
                | T_List
        );
        if !known {
            (*context.cast::<Seen>()).strange = true;
            return true;
        }
        raw::check_functions_in_node(node, note, context);
        version::walk_expression(node, look, context)
    }
}

/// The mark of an entry whose rows are limited.
const MARK: &CStr = c"pgc ";

/// The stamp in an entry's field that its kind has no use for; 0 without one.
///
/// # Safety
/// NULL or NUL-terminated.
pub(super) unsafe fn stamp(text: *const c_char) -> u64 {
    if text.is_null() {
        return 0;
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    let digits = text.strip_prefix(MARK.to_bytes()).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// A stamp as [`stamp`] reads it, in the memory of the statement.
pub(super) fn stamped(stamp: u64) -> *mut c_char {
    let text = format!("{}{stamp:x}\0", MARK.to_string_lossy());
    // SAFETY: copies a NUL-terminated text.
    unsafe { pg_sys::pstrdup(text.as_ptr().cast()) }
}
