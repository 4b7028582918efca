//! Reading catalogs and our own small tables from where SQL cannot run: inside hooks.

use super::harmless::Catalog;
use super::local::process_local;
use super::own_table;
use crate::error::ServerError;
use pgrx::FromDatum;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::{self, AsPgCStr, Oid};
use std::ffi::{CStr, CString};

// Catalogs that pgrx's headers do not name (pg_rewrite.h, pg_constraint.h, pg_policy.h, pg_inherits.h).
pub const REWRITE_CATALOG: Oid = Oid::from_u32(2618);
pub const CONSTRAINT_CATALOG: Oid = Oid::from_u32(2606);
pub const POLICY_CATALOG: Oid = Oid::from_u32(3256);
// pg_inherits.h
pub const INHERITS_CATALOG: Oid = Oid::from_u32(2611);
// pg_depend.h: the catalog, its index on what is referred to, and its columns.
const DEPEND_CATALOG: Oid = Oid::from_u32(2608);
const DEPEND_REFERENCE_INDEX: Oid = Oid::from_u32(2674);
const DEPEND_COLUMNS: usize = 7;
const REFCLASSID: i16 = 4;
const REFOBJID: i16 = 5;

/// One row of [`rows`]; columns are numbered as they were asked for.
pub struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
    places: &'a [usize],
}

impl Row<'_> {
    fn get<T: FromDatum>(&self, column: usize) -> Option<T> {
        let place = *self.places.get(column)?;
        // SAFETY: the datum was deformed from a live tuple; callers ask for the column's own type.
        unsafe { T::from_datum(*self.values.get(place)?, *self.nulls.get(place)?) }
    }

    /// A text column.
    pub fn text(&self, column: usize) -> Option<String> {
        self.get(column)
    }

    /// An oid or regclass column.
    pub fn oid(&self, column: usize) -> Option<Oid> {
        self.get(column)
    }

    /// A bigint column, or a timestamptz in microseconds since 2000-01-01 UTC.
    pub fn bigint(&self, column: usize) -> Option<i64> {
        self.get(column)
    }

    /// An interval column in microseconds, a month as thirty days.
    pub fn interval(&self, column: usize) -> Option<i64> {
        let interval: pgrx::datum::Interval = self.get(column)?;
        Some(i64::try_from(interval.as_micros()).unwrap_or(i64::MAX))
    }

    /// An integer column.
    pub fn integer(&self, column: usize) -> Option<i32> {
        self.get(column)
    }

    /// A smallint column.
    pub fn smallint(&self, column: usize) -> Option<i16> {
        self.get(column)
    }

    /// A boolean column.
    pub fn boolean(&self, column: usize) -> Option<bool> {
        self.get(column)
    }

    /// A text[] column without NULL elements.
    pub fn texts(&self, column: usize) -> Option<Vec<String>> {
        self.get(column)
    }

    /// A smallint[] column without NULL elements.
    pub fn smallints(&self, column: usize) -> Option<Vec<i16>> {
        self.get(column)
    }

    /// A bytea column.
    pub fn bytes(&self, column: usize) -> Option<Vec<u8>> {
        self.get(column)
    }
}

/// Calls `each` with every committed row of one of our own tables.
///
/// Takes a fresh catalog snapshot, so that it sees what is committed now whatever the client's
/// transaction sees; asks nobody's privileges; runs no SQL. Returns false if the table does
/// not exist: the extension is not installed in this database. Needs a running transaction.
pub fn rows(
    schema: &str,
    table: &str,
    columns: &[&str],
    mut each: impl FnMut(&Row<'_>),
) -> Result<bool, ServerError> {
    let Some(relid) = relation(schema, table) else { return Ok(false) };
    scan(relid, columns, |row| {
        each(row);
        true
    })
}

/// As [`rows`], by the table's OID; `each` returns whether to go on.
pub fn scan(
    relid: Oid,
    columns: &[&str],
    mut each: impl FnMut(&Row<'_>) -> bool,
) -> Result<bool, ServerError> {
    in_own_memory("pg_custodian catalog scan", || {
        // SAFETY: the scan protocol of genam.h; everything is closed in this function or by the ERROR that leaves it.
        unsafe {
            let lock = pg_sys::AccessShareLock as i32;
            // A catalog is there; whether another table is, is asked of pg_class, which the launcher cannot read.
            let relation = match relid.to_u32() < pg_sys::FirstNormalObjectId {
                true => pg_sys::relation_open(relid, lock),
                false => pg_sys::try_relation_open(relid, lock),
            };
            if relation.is_null() {
                return Ok(false);
            }
            let desc = (*relation).rd_att;
            let count = (*desc).natts as usize;
            let mut places = Vec::with_capacity(columns.len());
            for column in columns {
                // By the descriptor, not the system cache: the launcher has no database to look in.
                let is_it = |place: &usize| {
                    super::version::attribute_name(desc, *place).to_bytes() == column.as_bytes()
                };
                places.push((0..count).find(is_it).unwrap_or(usize::MAX));
            }
            let mut values = vec![pg_sys::Datum::null(); count];
            let mut nulls = vec![true; count];
            let mut take = |tuple| {
                pg_sys::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
                each(&Row { values: &values, nulls: &nulls, places: &places })
            };
            if relid.to_u32() >= pg_sys::FirstNormalObjectId {
                own_table::scan(relation, take);
            } else {
                let (index, none) = (pg_sys::InvalidOid, std::ptr::null_mut());
                let scan = pg_sys::systable_beginscan(relation, index, false, none, 0, std::ptr::null_mut());
                loop {
                    let tuple = pg_sys::systable_getnext(scan);
                    if tuple.is_null() || !take(tuple) {
                        break;
                    }
                }
                pg_sys::systable_endscan(scan);
            }
            pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        }
        Ok(true)
    })
}

/// Runs `work` with a memory context of its own, which is gone afterwards.
pub(super) fn in_own_memory<R>(name: &'static str, work: impl FnOnce() -> R) -> R {
    // SAFETY: nothing that `work` returns lies in the context: it returns owned Rust data.
    unsafe { PgMemoryContexts::new(name).switch_to(|_| work()) }
}

/// OID of the schema `name`.
pub fn namespace(name: &str) -> Option<Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: looks a NUL-terminated name up in the system cache.
    valid(unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) })
}

/// Name of a schema.
pub fn namespace_name(schema: Oid) -> Option<String> {
    // SAFETY: a system cache lookup that returns NULL for what does not exist, else a palloc'd string.
    unsafe { owned(pg_sys::get_namespace_name(schema)) }
}

/// OID of the relation `schema.name`.
pub fn relation(schema: &str, name: &str) -> Option<Oid> {
    let schema = namespace(schema)?;
    let name = CString::new(name).ok()?;
    // SAFETY: looks a NUL-terminated name up in the system cache.
    valid(unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema) })
}

/// Path of a relation's first file, below the data directory.
pub(super) fn file_of(relid: Oid) -> Option<String> {
    let arguments = [Some(pg_sys::Datum::from(relid))];
    // SAFETY: the SQL function of that name, which takes an OID and looks in the system cache.
    unsafe { pgrx::direct_function_call::<String>(pg_sys::pg_relation_filepath, &arguments) }
}

/// Relations that inherit from `parent`, and parts of it, if it is partitioned.
pub fn heirs(parent: Oid) -> Result<Vec<Oid>, ServerError> {
    let mut found = Vec::new();
    scan(INHERITS_CATALOG, &["inhparent", "inhrelid"], |row| {
        if row.oid(0) == Some(parent) {
            found.extend(row.oid(1));
        }
        true
    })?;
    Ok(found)
}

/// OID of the relation that `name` means, in this schema or on the search path. Asks for no rights and raises
/// nothing: whoever may not use the schema is told so by the statement itself, once it is on record.
pub fn visible_relation(schema: Option<&CStr>, name: &CStr) -> Option<Oid> {
    // SAFETY: looks NUL-terminated names up; an unknown schema is InvalidOid, in which there is nothing.
    valid(unsafe {
        match schema {
            None => pg_sys::RelnameGetRelid(name.as_ptr()),
            Some(schema) => {
                let schema = pg_sys::LookupNamespaceNoError(schema.as_ptr());
                pg_sys::get_relname_relid(name.as_ptr(), schema)
            }
        }
    })
}

/// Schema and name of a relation.
pub fn relation_name(relid: Oid) -> Option<(String, String)> {
    // SAFETY: system cache lookups that return NULL for what does not exist, else palloc'd strings.
    unsafe {
        let name = owned(pg_sys::get_rel_name(relid))?;
        let schema = owned(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid)))?;
        Some((schema, name))
    }
}

/// `schema.name` of a relation in the database's encoding, quoted as an identifier where needed.
pub fn qualified_name(relid: Oid) -> Option<Vec<u8>> {
    // SAFETY: system cache lookups that return NULL for what does not exist, else palloc'd strings.
    unsafe {
        let name = pg_sys::get_rel_name(relid);
        // The session's own temporary schema has a number that says nothing.
        let schema = pg_sys::get_namespace_name_or_temp(pg_sys::get_rel_namespace(relid));
        if name.is_null() || schema.is_null() {
            return None;
        }
        Some(CStr::from_ptr(pg_sys::quote_qualified_identifier(schema, name)).to_bytes().to_vec())
    }
}

/// Schema of a relation, quoted as an identifier where needed.
pub fn schema_name(relid: Oid) -> Option<String> {
    // SAFETY: system cache lookups that return NULL for what does not exist, else palloc'd strings.
    unsafe {
        let schema = pg_sys::get_namespace_name_or_temp(pg_sys::get_rel_namespace(relid));
        (!schema.is_null()).then(|| owned(pg_sys::quote_identifier(schema)))?
    }
}

/// Kind of a relation (pg_class.relkind).
pub fn relation_kind(relid: Oid) -> Option<u8> {
    // SAFETY: a system cache lookup; 0 for what does not exist.
    match unsafe { pg_sys::get_rel_relkind(relid) } as u8 {
        0 => None,
        kind => Some(kind),
    }
}

/// Whether a relation is a table, a partitioned or a foreign one, too.
pub fn holds_rows(relid: Oid) -> bool {
    [
        Some(pg_sys::RELKIND_RELATION),
        Some(pg_sys::RELKIND_PARTITIONED_TABLE),
        Some(pg_sys::RELKIND_FOREIGN_TABLE),
    ]
    .contains(&relation_kind(relid))
}

/// The word for a relation's kind, as pg_identify_object() has it.
pub fn relation_type(relid: Oid) -> &'static str {
    match relation_kind(relid).unwrap_or_default() {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE => "table",
        pg_sys::RELKIND_INDEX | pg_sys::RELKIND_PARTITIONED_INDEX => "index",
        pg_sys::RELKIND_SEQUENCE => "sequence",
        pg_sys::RELKIND_TOASTVALUE => "toast table",
        pg_sys::RELKIND_VIEW => "view",
        pg_sys::RELKIND_MATVIEW => "materialized view",
        pg_sys::RELKIND_COMPOSITE_TYPE => "type",
        pg_sys::RELKIND_FOREIGN_TABLE => "foreign table",
        _ => "relation",
    }
}

/// Whether COPY reads such a relation by its name.
pub fn is_copied(relid: Oid) -> bool {
    matches!(relation_kind(relid), Some(pg_sys::RELKIND_RELATION | pg_sys::RELKIND_MATVIEW))
}

/// Whether a function is one of this schema.
pub fn is_in_schema(function: Oid, schema: &str) -> bool {
    if function == pg_sys::InvalidOid {
        return false;
    }
    // SAFETY: a system cache lookup.
    let found = unsafe { pg_sys::get_func_namespace(function) };
    namespace(schema) == Some(found)
}

/// Whether a relation is a temporary one.
pub fn is_temporary(relid: Oid) -> bool {
    // SAFETY: a system cache lookup.
    unsafe {
        pg_sys::get_rel_relkind(relid) != 0
            && pg_sys::get_rel_persistence(relid) as u8 == pg_sys::RELPERSISTENCE_TEMP
    }
}

/// Schema of a relation.
pub fn namespace_of(relid: Oid) -> Option<Oid> {
    // SAFETY: a system cache lookup.
    valid(unsafe { pg_sys::get_rel_namespace(relid) })
}

/// A catalog of the server, and those of its columns that exist in this version.
pub fn listed(name: &str, columns: &[&str]) -> Option<Catalog> {
    let relid = relation("pg_catalog", name)?;
    // SAFETY: looks the column up; 0 if there is none of that name.
    let number = |column: &&str| unsafe { pg_sys::get_attnum(relid, column.as_pg_cstr()) };
    Some(Catalog { relid, columns: columns.iter().map(number).filter(|number| *number > 0).collect() })
}

/// Name of column `number` of a relation.
pub fn attribute_name(relid: Oid, number: i16) -> Option<String> {
    // SAFETY: a system cache lookup; with missing_ok it returns NULL for what does not exist.
    unsafe { owned(pg_sys::get_attname(relid, number, true)) }
}

/// A column as expressions know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnType {
    pub number: i16,
    pub type_id: Oid,
    pub modifier: i32,
    pub collation: Oid,
}

/// The type of column `number` of a relation; `None` if there is none, or none any more.
pub fn column_type(relid: Oid, number: i16) -> Option<ColumnType> {
    attribute_name(relid, number)?;
    let (mut type_id, mut modifier, mut collation) = (Oid::INVALID, 0, Oid::INVALID);
    // SAFETY: a system cache lookup of a column that is there; one that was dropped has no type.
    unsafe {
        pg_sys::get_atttypetypmodcoll(relid, number, &raw mut type_id, &raw mut modifier, &raw mut collation);
    }
    valid(type_id).map(|type_id| ColumnType { number, type_id, modifier, collation })
}

/// The number of the column that has this name.
pub fn column_named(relid: Oid, name: &str) -> Option<i16> {
    columns(relid).into_iter().find(|(found, _)| found == name).map(|(_, column)| column.number)
}

/// The columns of a relation, with their names.
pub fn columns(relid: Oid) -> Vec<(String, ColumnType)> {
    (1..=pg_sys::MaxHeapAttributeNumber as i16)
        .map_while(|number| attribute_name(relid, number).map(|name| (number, name)))
        .filter_map(|(number, name)| Some((name, column_type(relid, number)?)))
        .collect()
}

/// Of which server and database, and of which installation of us there, numbers of objects are. A dump that was
/// restored and a server that was upgraded have others, and have given objects numbers anew.
pub fn numbering() -> Option<String> {
    let schema = namespace("access")?;
    // SAFETY: reads the control file's copy in shared memory, and a variable of the backend.
    let (system, database) = unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId) };
    Some(format!("{system}.{database}.{schema}"))
}

/// Has every backend plan anew, once this transaction has committed, what was planned for a relation.
pub fn replan(relid: Oid) {
    if relation_kind(relid).is_some() {
        // SAFETY: queues an invalidation message for a relation that is in the system cache.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relid) }
    }
}

/// Schema of a function.
pub fn namespace_of_function(function: Oid) -> Option<Oid> {
    // SAFETY: a system cache lookup.
    valid(unsafe { pg_sys::get_func_namespace(function) })
}

/// Name of a function.
pub fn function_name(function: Oid) -> Option<String> {
    // SAFETY: a system cache lookup that returns NULL for what does not exist.
    unsafe { owned(pg_sys::get_func_name(function)) }
}

/// As [`attribute_name`], in the database's encoding.
pub fn attribute_bytes(relid: Oid, number: i16) -> Option<Vec<u8>> {
    // SAFETY: a system cache lookup; with missing_ok it returns NULL, else a palloc'd string.
    unsafe {
        let name = pg_sys::get_attname(relid, number, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes().to_vec())
    }
}

/// OID of the extension `name` in this database.
pub fn extension(name: &str) -> Option<Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: looks a NUL-terminated name up in pg_extension.
    valid(unsafe { pg_sys::get_extension_oid(name.as_ptr(), true) })
}

/// The extension that the object belongs to.
pub fn extension_of(class: Oid, object: Oid) -> Option<Oid> {
    // SAFETY: scans pg_depend.
    valid(unsafe { pg_sys::getExtensionOfObject(class, object) })
}

/// The relations that belong to the extension `name`, sorted.
pub fn members(name: &str) -> Vec<u32> {
    let Some(extension) = extension(name) else { return Vec::new() };
    let mut found = in_own_memory("pg_custodian members", || {
        let mut found = Vec::new();
        // SAFETY: the scan protocol of genam.h over pg_depend, by its index on what is referred to; its first
        // columns are the class and the number of what depends.
        unsafe {
            let mut keys: [pg_sys::ScanKeyData; 2] = std::mem::zeroed();
            for (key, (column, value)) in
                keys.iter_mut().zip([(REFCLASSID, pg_sys::ExtensionRelationId), (REFOBJID, extension)])
            {
                let equal = pg_sys::BTEqualStrategyNumber as u16;
                pg_sys::ScanKeyInit(key, column, equal, pg_sys::F_OIDEQ.into(), value.into());
            }
            let depend = pg_sys::table_open(DEPEND_CATALOG, pg_sys::AccessShareLock as i32);
            let scan = pg_sys::systable_beginscan(
                depend,
                DEPEND_REFERENCE_INDEX,
                true,
                std::ptr::null_mut(),
                2,
                keys.as_mut_ptr(),
            );
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() {
                    break;
                }
                let (mut values, mut nulls) =
                    ([pg_sys::Datum::null(); DEPEND_COLUMNS], [true; DEPEND_COLUMNS]);
                pg_sys::heap_deform_tuple(tuple, (*depend).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
                let row = Row { values: &values, nulls: &nulls, places: &[0, 1] };
                if row.oid(0) == Some(pg_sys::RelationRelationId) {
                    found.extend(row.oid(1).map(Oid::to_u32));
                }
            }
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(depend, pg_sys::AccessShareLock as i32);
        }
        found
    });
    found.sort_unstable();
    found
}

/// OIDs of all functions called `schema.name`.
pub fn functions(schema: &str, names: &[&str]) -> Vec<Oid> {
    let mut found = Vec::new();
    for name in names {
        // SAFETY: namespace.c searches the named schema; missing_ok, so an unknown name gives an empty list.
        unsafe {
            let parts = pg_sys::lappend(std::ptr::null_mut(), pg_sys::makeString(schema.as_pg_cstr()).cast());
            let parts = pg_sys::lappend(parts, pg_sys::makeString(name.as_pg_cstr()).cast());
            let mut candidate =
                pg_sys::FuncnameGetCandidates(parts, -1, std::ptr::null_mut(), false, false, false, true);
            while !candidate.is_null() {
                found.push((*candidate).oid);
                candidate = (*candidate).next;
            }
        }
    }
    found
}

/// Whether the script of the extension `name` is running.
pub fn in_script_of(name: &str) -> bool {
    // SAFETY: plain variables of the backend.
    unsafe { pg_sys::creating_extension && extension(name) == Some(pg_sys::CurrentExtensionObject) }
}

pub(super) fn valid(oid: Oid) -> Option<Oid> {
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// # Safety
/// `text` is NULL or NUL-terminated.
unsafe fn owned(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

process_local! {
    static NAMES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    static FUNCTIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    static ROLES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Number of the state in which relations have their names: changes whenever one may have changed.
///
/// 0 until the first call of [`watch_names`] in this backend.
pub fn names_generation() -> u64 {
    NAMES.get()
}

/// As [`names_generation`], for functions, and the types and schemas that stand in their names.
pub fn functions_generation() -> u64 {
    FUNCTIONS.get()
}

/// As [`names_generation`], for roles and their members.
pub fn roles_generation() -> u64 {
    ROLES.get()
}

/// Whether this backend learns of changes of names and roles.
pub(super) fn watches_names() -> bool {
    NAMES.get() != 0
}

/// Starts to count changes of names in this backend.
pub fn watch_names() {
    if NAMES.get() == 0 {
        NAMES.set(1);
        // SAFETY: the callbacks live as long as the library, which is never unloaded.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null());
            let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
            pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changed), pg_sys::Datum::null());
            for cache in [
                pg_sys::SysCacheIdentifier::PROCOID,
                pg_sys::SysCacheIdentifier::TYPEOID,
                pg_sys::SysCacheIdentifier::NAMESPACEOID,
            ] {
                pg_sys::CacheRegisterSyscacheCallback(
                    cache as i32,
                    Some(function_changed),
                    pg_sys::Datum::null(),
                );
            }
            for cache in [pg_sys::SysCacheIdentifier::AUTHOID, pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM] {
                pg_sys::CacheRegisterSyscacheCallback(
                    cache as i32,
                    Some(role_changed),
                    pg_sys::Datum::null(),
                );
            }
        }
    }
}

unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, _relid: Oid) {
    NAMES.set(NAMES.get() + 1);
}

unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    NAMES.set(NAMES.get() + 1);
}

unsafe extern "C-unwind" fn function_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    FUNCTIONS.set(FUNCTIONS.get() + 1);
}

unsafe extern "C-unwind" fn role_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    ROLES.set(ROLES.get() + 1);
    super::session::forget_superuser();
}

/// OID of the role `name`.
pub fn role(name: &[u8]) -> Option<Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: looks a NUL-terminated name up; missing_ok.
    valid(unsafe { pg_sys::get_role_oid(name.as_ptr(), true) })
}

/// OID of the database `name`.
pub fn database(name: &str) -> Option<Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: looks a NUL-terminated name up in pg_database; missing_ok.
    valid(unsafe { pg_sys::get_database_oid(name.as_ptr(), true) })
}

/// An object's kind and name, as PostgreSQL's messages have it.
pub fn describe(class: Oid, object: Oid, column: i32) -> String {
    let address = pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: column };
    // SAFETY: looks the object up; with missing_ok NULL for what does not exist.
    unsafe { owned(super::version::object_description(&raw const address)) }
        .unwrap_or_else(|| "an object".into())
}
