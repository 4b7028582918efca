//! Where an object lies that this very command made or moved: no catalog cache knows it yet.

use super::catalog::{CONSTRAINT_CATALOG, POLICY_CATALOG, REWRITE_CATALOG, in_own_memory};
use pgrx::FromDatum;
use pgrx::pg_sys::{self, Oid};

/// What places an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Schema(Oid),
    /// A relation that it hangs on.
    Relation(Oid),
}

/// A catalog, its index on the OID (pg_*.h), the column that places an object, and whether that names a relation.
type Catalog = (Oid, u32, &'static str, bool);

const fn catalog(class: u32, index: u32, column: &'static str, hangs: bool) -> Catalog {
    (Oid::from_u32(class), index, column, hangs)
}

/// pg_class, pg_proc, pg_type, pg_operator, pg_opclass, pg_opfamily, pg_collation, pg_conversion, the four of text
/// search, pg_default_acl; then what hangs on a relation: pg_trigger, pg_rewrite, pg_constraint, pg_policy,
/// pg_attrdef, pg_statistic_ext.
const CATALOGS: [Catalog; 19] = [
    catalog(1259, 2662, "relnamespace", false),
    catalog(1255, 2690, "pronamespace", false),
    catalog(1247, 2703, "typnamespace", false),
    catalog(2617, 2688, "oprnamespace", false),
    catalog(2616, 2687, "opcnamespace", false),
    catalog(2753, 2755, "opfnamespace", false),
    catalog(3456, 3085, "collnamespace", false),
    catalog(2607, 2670, "connamespace", false),
    catalog(3600, 3605, "dictnamespace", false),
    catalog(3601, 3607, "prsnamespace", false),
    catalog(3602, 3712, "cfgnamespace", false),
    catalog(3764, 3767, "tmplnamespace", false),
    catalog(826, 828, "defaclnamespace", false),
    catalog(2620, 2702, "tgrelid", true),
    (REWRITE_CATALOG, 2692, "ev_class", true),
    (CONSTRAINT_CATALOG, 2667, "conrelid", true),
    (POLICY_CATALOG, 3257, "polrelid", true),
    catalog(2604, 2657, "adrelid", true),
    catalog(3381, 3380, "stxrelid", true),
];

/// Where the object is after what was just done to it; `None` if nothing places objects of its kind.
pub fn place(class: Oid, object: Oid) -> Option<Place> {
    // An index lies where its table does, also while it is made anew.
    if class == pg_sys::RelationRelationId && is_index(object) {
        return None;
    }
    let (_, index, column, hangs) = CATALOGS.iter().find(|(catalog, ..)| *catalog == class)?;
    let read = |column| column_of(class, *index, object, column);
    // Row types and arrays come with what they are of.
    if class == pg_sys::TypeRelationId && (read("typrelid").is_some() || read("typelem").is_some()) {
        return None;
    }
    let found = read(*column)?;
    Some(if *hangs { Place::Relation(found) } else { Place::Schema(found) })
}

fn is_index(object: Oid) -> bool {
    // pg_index and its index on the OID of the index (pg_index.h).
    column_of(Oid::from_u32(2610), 2679, object, "indrelid").is_some()
}

fn column_of(class: Oid, index: u32, object: Oid, column: &str) -> Option<Oid> {
    in_own_memory("pg_custodian fresh object", || read(class, index, object, column))
}

fn read(class: Oid, index: u32, object: Oid, column: &str) -> Option<Oid> {
    // SAFETY: the scan protocol of genam.h over a catalog, by its index on the OID, which is its first column; the
    // snapshot is a constant of the server that sees what this command did.
    unsafe {
        let mut key: pg_sys::ScanKeyData = std::mem::zeroed();
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        pg_sys::ScanKeyInit(&raw mut key, 1, equal, pg_sys::F_OIDEQ.into(), object.into());
        let relation = pg_sys::table_open(class, pg_sys::AccessShareLock as i32);
        let desc = (*relation).rd_att;
        let count = (*desc).natts as usize;
        let is_it =
            |place: &usize| super::version::attribute_name(desc, *place).to_bytes() == column.as_bytes();
        let place = (0..count).find(is_it);
        let scan = pg_sys::systable_beginscan(
            relation,
            Oid::from_u32(index),
            true,
            &raw mut pg_sys::SnapshotSelfData,
            1,
            &raw mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let mut found = None;
        if let (Some(place), false) = (place, tuple.is_null()) {
            let mut values = vec![pg_sys::Datum::null(); count];
            let mut nulls = vec![true; count];
            pg_sys::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            found = Oid::from_datum(values[place], nulls[place]).filter(|oid| *oid != pg_sys::InvalidOid);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}
