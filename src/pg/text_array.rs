//! text[] values, element by element.

use pgrx::pg_sys::{self, ArrayType, Datum};
use pgrx::{AnyArray, FromDatum};
use std::ffi::{c_char, c_int};

/// A text[] of the same dimensions, each element that is not NULL replaced by what `each` makes of its bytes.
///
/// `array` is a text[].
pub fn map(array: AnyArray, mut each: impl FnMut(&[u8]) -> Vec<u8>) -> AnyArray {
    let align = pg_sys::TYPALIGN_INT as c_char;
    // SAFETY: the protocol of array.h for elements of type text; everything lives in the current context.
    unsafe {
        let value = pg_sys::pg_detoast_datum(array.datum().cast_mut_ptr()).cast::<ArrayType>();
        let (mut elements, mut nulls) = (std::ptr::null_mut::<Datum>(), std::ptr::null_mut::<bool>());
        let mut count: c_int = 0;
        pg_sys::deconstruct_array(
            value,
            pg_sys::TEXTOID,
            -1,
            false,
            align,
            &mut elements,
            &mut nulls,
            &mut count,
        );
        for at in 0..usize::try_from(count).unwrap_or(0) {
            if *nulls.add(at) {
                continue;
            }
            let element = elements.add(at);
            let text = pg_sys::pg_detoast_datum_packed((*element).cast_mut_ptr());
            let masked = each(pgrx::varlena_to_byte_slice(text));
            let text = pg_sys::cstring_to_text_with_len(masked.as_ptr().cast(), masked.len() as c_int);
            *element = Datum::from(text);
        }
        // ARR_DIMS and ARR_LBOUND: what follows the header
        let dimensions = value.add(1).cast::<c_int>();
        let bounds = dimensions.add(usize::try_from((*value).ndim).unwrap_or(0));
        let made = pg_sys::construct_md_array(
            elements,
            nulls,
            (*value).ndim,
            dimensions,
            bounds,
            pg_sys::TEXTOID,
            -1,
            false,
            align,
        );
        AnyArray::from_polymorphic_datum(Datum::from(made), false, pg_sys::TEXTARRAYOID).unwrap_or(array)
    }
}
