//! The expression that masks a column: parsed once, copied into queries.
//!
//! Parsed as the owner of the cluster with a search path of nobody's, from a text in which `$1` is the column.
//! It has the column's type, or the base type of its domain, whose constraints a mask need not meet.
#![allow(ffi_unwind_calls)] // its mutator: see version::Walker

use super::node::{copied, make, tag};
use crate::pg::{raw, session, spi, version};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::AsPgCStr;
use pgrx::pg_sys::{self, MemoryContext, Node, NodeTag, Oid, ParamRef, ParseState, Var};
use std::ffi::c_void;

/// A column's type.
#[derive(Debug, Clone, Copy)]
struct Kind {
    declared: Oid,
    declared_modifier: i32,
    base: Oid,
    base_modifier: i32,
    collation: Oid,
}

impl Kind {
    fn is_domain(&self) -> bool {
        self.declared != self.base
    }
}

/// A parsed mask. Its nodes live as long as it does.
pub struct Expression {
    memory: MemoryContext,
    node: *mut Node,
    kind: Kind,
}

impl Drop for Expression {
    fn drop(&mut self) {
        // At its exit a process runs destructors when PostgreSQL's memory is not to be touched any more.
        if !session::is_exiting() {
            // SAFETY: the context is ours alone, and nothing points into it: queries get copies.
            unsafe { pg_sys::MemoryContextDelete(self.memory) };
        }
    }
}

impl Expression {
    /// Reads `text`, in which `$1` is a column of `relation`. The mask of NULL must be NULL.
    pub fn parse(text: &str, relation: Oid, column: i16) -> Self {
        let mut kind = Kind {
            declared: pg_sys::InvalidOid,
            declared_modifier: -1,
            base: pg_sys::InvalidOid,
            base_modifier: -1,
            collation: pg_sys::InvalidOid,
        };
        // SAFETY: looks an existing column and its type up; the context is made for as long as the session lives.
        unsafe {
            pg_sys::get_atttypetypmodcoll(
                relation,
                column,
                &mut kind.declared,
                &mut kind.declared_modifier,
                &mut kind.collation,
            );
            kind.base_modifier = kind.declared_modifier;
            kind.base = pg_sys::getBaseTypeAndTypmod(kind.declared, &mut kind.base_modifier);
            let memory = pg_sys::AllocSetContextCreateExtended(
                pg_sys::CacheMemoryContext,
                c"pg_custodian mask".as_ptr(),
                0,
                1024,
                8192,
            );
            let mut expression = Self { memory, node: std::ptr::null_mut(), kind };
            let parsed = spi::disguised(|| parsed(text, kind));
            expression.node = PgMemoryContexts::For(memory)
                .switch_to(|_| pg_sys::copyObjectImpl(parsed.cast_const().cast()).cast());
            expression
        }
    }

    /// What stands in the place of a column: its mask, and nothing around it, in which the planner sees that NULL
    /// stays NULL, also on the side of an outer join where there is no row: it makes an inner join of an outer
    /// one where it would for the column.
    ///
    /// # Safety
    /// In a walk; `column` is a column of the table, in the query.
    pub(super) unsafe fn over(&self, column: *mut Var) -> *mut Node {
        // SAFETY: as the caller promises; the nodes are made as the parser makes them.
        unsafe {
            let kind = &self.kind;
            let operand = match kind.is_domain() {
                true => relabelled(column.cast(), kind.base, kind.base_modifier, kind.collation),
                false => column.cast(),
            };
            let mut place = Place { operand };
            let mask = Place::put(self.node, (&raw mut place).cast());
            let (declared, modifier) = ((*column).vartype, (*column).vartypmod);
            // A prepared statement must go on to return what it said that it returns.
            match raw::exprType(mask) == declared && raw::exprTypmod(mask) == modifier {
                true => mask,
                false => relabelled(mask, declared, modifier, kind.collation),
            }
        }
    }
}

/// The same value as one of another type that it is stored like; a domain's constraints are not asked.
///
/// # Safety
/// In a walk; an expression.
unsafe fn relabelled(node: *mut Node, kind: Oid, modifier: i32, collation: Oid) -> *mut Node {
    // SAFETY: as the caller promises.
    unsafe {
        let relabel = make::<pg_sys::RelabelType>(NodeTag::T_RelabelType);
        (*relabel).arg = node.cast();
        (*relabel).resulttype = kind;
        (*relabel).resulttypmod = modifier;
        (*relabel).resultcollid = collation;
        (*relabel).relabelformat = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
        (*relabel).location = -1;
        relabel.cast()
    }
}

struct Place {
    operand: *mut Node,
}

impl Place {
    /// The mutator: the operand in the place of `$1`.
    unsafe extern "C-unwind" fn put(node: *mut Node, context: *mut c_void) -> *mut Node {
        // SAFETY: PostgreSQL's mutators pass nodes or NULL, and the context we gave them.
        unsafe {
            if node.is_null() {
                return node;
            }
            match tag(node) {
                NodeTag::T_Param => copied((*context.cast::<Self>()).operand),
                NodeTag::T_FuncExpr => {
                    let call = version::tree::mutate_expression(node, Self::put, context);
                    let call = call.cast::<pg_sys::FuncExpr>();
                    // Nobody can write a call of this format: it says that the call is ours. Casts stay casts, of which
                    // the type's modifier is read.
                    if (*call).funcid.to_u32() >= pg_sys::FirstNormalObjectId {
                        (*call).funcformat = pg_sys::CoercionForm::COERCE_SQL_SYNTAX;
                    }
                    call.cast()
                }
                _ => version::tree::mutate_expression(node, Self::put, context),
            }
        }
    }
}

/// Analyses the text; an ERROR is the caller's: no mask is no answer.
fn parsed(text: &str, kind: Kind) -> *mut Node {
    // SAFETY: the parser's own functions, in their order; the text is one expression.
    unsafe {
        let trees = pg_sys::raw_parser(text.as_pg_cstr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let statement = super::node::each::<pg_sys::RawStmt>(trees).next();
        let select = statement.map_or(std::ptr::null_mut(), |raw| (*raw).stmt.cast::<pg_sys::SelectStmt>());
        let target = match select.is_null() {
            true => None,
            false => super::node::each::<pg_sys::ResTarget>((*select).targetList).next(),
        };
        let Some(target) = target else { return std::ptr::null_mut() };
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        let mut held = kind;
        (*state).p_paramref_hook = Some(column);
        (*state).p_ref_hook_state = (&raw mut held).cast();
        let node =
            pg_sys::transformExpr(state, (*target).val, pg_sys::ParseExprKind::EXPR_KIND_SELECT_TARGET);
        let node = pg_sys::coerce_to_target_type(
            state,
            node,
            pg_sys::exprType(node),
            kind.base,
            kind.base_modifier,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
            -1,
        );
        pg_sys::assign_expr_collations(state, node);
        pg_sys::free_parsestate(state);
        node
    }
}

/// What `$1` is: called by the parser, whose frames are above us.
unsafe extern "C-unwind" fn column(state: *mut ParseState, _reference: *mut ParamRef) -> *mut Node {
    // SAFETY: the state is the one we made; a new node owns nothing.
    unsafe {
        let kind = &*(*state).p_ref_hook_state.cast::<Kind>();
        let parameter = make::<pg_sys::Param>(NodeTag::T_Param);
        (*parameter).paramkind = pg_sys::ParamKind::PARAM_EXTERN;
        (*parameter).paramid = 1;
        (*parameter).paramtype = kind.base;
        (*parameter).paramtypmod = kind.base_modifier;
        (*parameter).paramcollid = kind.collation;
        (*parameter).location = -1;
        parameter.cast()
    }
}
