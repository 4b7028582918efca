//! The values of a statement's parameters, as text.

use pgrx::PgTryBuilder;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Datum, Oid, ParamExternData, ParamListInfo};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

/// Most parameters that an event names; the protocol allows 65,535.
const MOST: usize = 1000;

/// Parameters of a statement about to run, borrowed for the length of a hook.
pub struct Parameters<'a> {
    list: ParamListInfo,
    lifetime: PhantomData<&'a ()>,
}

impl Parameters<'_> {
    pub(super) fn new(list: ParamListInfo) -> Self {
        Self { list, lifetime: PhantomData }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        // SAFETY: NULL or the statement's parameter list, alive while the hook runs.
        unsafe { self.list.as_ref() }.map_or(0, |list| (list.numParams as usize).min(MOST))
    }

    /// Whether they are offered for the statement to fetch, as PL/pgSQL does, and not given by a client.
    pub fn are_offered(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.list.as_ref() }.is_some_and(|list| list.paramFetch.is_some())
    }

    /// Calls `each` with every value as its type prints it; `None` is NULL, or a variable of a
    /// PL/pgSQL function that this statement does not use.
    ///
    /// Types whose output is not ours are printed by their own function, which may be anybody's
    /// code and may fail: then the value is `<not printable>`, and the statement goes on.
    pub fn each(&self, mut each: impl FnMut(Option<&[u8]>)) {
        for number in 0..self.count() {
            match self.fetch(number) {
                Some((value, kind)) => print(value, kind, &mut each),
                None => each(None),
            }
        }
    }

    fn fetch(&self, number: usize) -> Option<(Datum, Oid)> {
        // SAFETY: number is below numParams; paramFetch is called as params.h asks, speculatively, so that
        // PL/pgSQL evaluates nothing that it would not evaluate anyway.
        let parameter: ParamExternData = unsafe {
            let list = self.list.as_ref()?;
            match list.paramFetch {
                Some(fetch) => {
                    let mut workspace = std::mem::MaybeUninit::<ParamExternData>::uninit();
                    pg_sys::ffi::pg_guard_ffi_boundary(|| {
                        #[allow(ffi_unwind_calls)] // guarded by the line above
                        *fetch(self.list, number as c_int + 1, true, workspace.as_mut_ptr())
                    })
                }
                None => *list.params.as_ptr().add(number),
            }
        };
        (!parameter.isnull && parameter.ptype != pg_sys::InvalidOid)
            .then_some((parameter.value, parameter.ptype))
    }
}

fn print(value: Datum, kind: Oid, each: &mut impl FnMut(Option<&[u8]>)) {
    let mut digits = Digits::new();
    match kind {
        pg_sys::INT2OID => each(Some(digits.of(value.value() as i16 as i64))),
        pg_sys::INT4OID => each(Some(digits.of(value.value() as i32 as i64))),
        pg_sys::INT8OID => each(Some(digits.of(value.value() as i64))),
        pg_sys::BOOLOID => each(Some(if value.value() as u8 != 0 { b"t" } else { b"f" })),
        // SAFETY: a text datum; detoasting returns it or a flat copy.
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => each(Some(unsafe {
            let flat = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
            pgrx::varlena::varlena_to_byte_slice(flat)
        })),
        _ => each(Some(print_by_type(value, kind).as_deref().unwrap_or(b"<not printable>"))),
    }
}

fn print_by_type(value: Datum, kind: Oid) -> Option<Vec<u8>> {
    PgTryBuilder::new(|| {
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        // SAFETY: the type's output function on a value of that type; the result is a palloc'd C string.
        unsafe {
            pg_sys::getTypeOutputInfo(kind, &mut function, &mut is_varlena);
            let text = pg_sys::OidOutputFunctionCall(function, value);
            let bytes = CStr::from_ptr(text).to_bytes().to_vec();
            pg_sys::pfree(text.cast());
            Some(bytes)
        }
    })
    .catch_others(|error| match error {
        // The client's wish to stop is not ours to swallow.
        CaughtError::PostgresError(report)
            if report.sql_error_code() == pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED =>
        {
            CaughtError::PostgresError(report).rethrow()
        }
        _ => None,
    })
    .execute()
}

/// Decimal digits without an allocation.
struct Digits([u8; 20]);

impl Digits {
    fn new() -> Self {
        Self([0; 20])
    }

    fn of(&mut self, value: i64) -> &[u8] {
        let mut rest = value.unsigned_abs();
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            self.0[at] = b'-';
        }
        &self.0[at..]
    }
}

#[cfg(test)]
mod tests {
    use super::Digits;

    #[test]
    fn digits_print_every_integer_as_rust_does() {
        for value in [0, 1, -1, 9, 10, -10, 4711, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(Digits::new().of(value), value.to_string().as_bytes());
        }
    }
}
