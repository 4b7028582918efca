//! The mask functions of schema `mask`; declared in sql/schema/30_mask_functions.sql.
//!
//! Texts go in and out as bytes, dates and times as the numbers they are: whatever the encoding of the
//! database and the value, nothing is raised over it.

use crate::error::report;
use crate::masking::function::calendar::{self, Part};
use crate::masking::function::keyed::Key;
use crate::masking::function::paths::Path;
use crate::masking::function::{card, decimal, email, iban, ip, json, name, number, partial, phone, redact};
use crate::masking::{known, oracle};
use crate::pg::text_array;
use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{AnyArray, AnyNumeric, Uuid};

/// A function of text, and the same of each element of a text[].
macro_rules! of_text {
    ($of_text:ident, $of_array:ident, $mask:expr) => {
        #[pg_extern(sql = false)]
        fn $of_text(value: &[u8]) -> Vec<u8> {
            $mask(value)
        }

        #[pg_extern(sql = false)]
        fn $of_array(value: AnyArray) -> AnyArray {
            text_array::map(value, $mask)
        }
    };
}

of_text!(mask_email, mask_email_array, email::email);
of_text!(mask_phone, mask_phone_array, phone::phone);
of_text!(mask_card, mask_card_array, card::card);
of_text!(mask_iban, mask_iban_array, iban::iban);
of_text!(mask_name, mask_name_array, name::name);
of_text!(mask_ip, mask_ip_array, ip::ip);
of_text!(mask_redact, mask_redact_array, redacted);

fn redacted(value: &[u8]) -> Vec<u8> {
    redact::redact(value).into_owned()
}

/// `mask.partial`
#[pg_extern(sql = false)]
fn mask_partial(value: &[u8], prefix: i32, padding: &[u8], suffix: i32) -> Vec<u8> {
    partial::partial(value, prefix, padding, suffix)
}

/// `mask.partial` of arrays
#[pg_extern(sql = false)]
fn mask_partial_array(value: AnyArray, prefix: i32, padding: &[u8], suffix: i32) -> AnyArray {
    text_array::map(value, |value| partial::partial(value, prefix, padding, suffix))
}

/// `mask.masked_json`: a path that is none leaves nothing of the value.
#[pg_extern(sql = false)]
fn mask_json_paths(value: &[u8], paths: Vec<Option<String>>) -> Vec<u8> {
    let paths: Option<Vec<Path>> = paths.iter().map(|path| Path::parse(path.as_deref()?)).collect();
    paths.map_or_else(|| b"null".to_vec(), |paths| json::masked(value, &paths))
}

/// `mask.redacted_json`
#[pg_extern(sql = false)]
fn mask_json_redact(value: &[u8]) -> Vec<u8> {
    json::redacted(value)
}

/// `mask.year` of dates
#[pg_extern(sql = false)]
fn mask_year_of_date(value: i32) -> Option<i32> {
    calendar::date(value, Part::Year)
}

/// `mask.year` of times
#[pg_extern(sql = false)]
fn mask_year_of_time(value: i64) -> Option<i64> {
    calendar::timestamp(value, Part::Year)
}

/// `mask.month` of dates
#[pg_extern(sql = false)]
fn mask_month_of_date(value: i32) -> Option<i32> {
    calendar::date(value, Part::Month)
}

/// `mask.month` of times
#[pg_extern(sql = false)]
fn mask_month_of_time(value: i64) -> Option<i64> {
    calendar::timestamp(value, Part::Month)
}

/// `mask.range` of dates, by days
#[pg_extern(sql = false)]
fn mask_range_of_date(value: i32, step: i32) -> Option<i32> {
    calendar::date(value, Part::Range(step))
}

/// `mask.range` of times, by days
#[pg_extern(sql = false)]
fn mask_range_of_time(value: i64, step: i32) -> Option<i64> {
    calendar::timestamp(value, Part::Range(step))
}

/// `mask.range` of numbers
#[pg_extern(sql = false)]
fn mask_range_of_smallint(value: i16, step: i64) -> Option<i16> {
    number::range(value.into(), step, i16::MIN.into()).and_then(|lower| lower.try_into().ok())
}

/// `mask.range` of numbers
#[pg_extern(sql = false)]
fn mask_range_of_integer(value: i32, step: i64) -> Option<i32> {
    number::range(value.into(), step, i32::MIN.into()).and_then(|lower| lower.try_into().ok())
}

/// `mask.range` of numbers
#[pg_extern(sql = false)]
fn mask_range_of_bigint(value: i64, step: i64) -> Option<i64> {
    number::range(value, step, i64::MIN)
}

/// `mask.range` of numbers
#[pg_extern(sql = false)]
fn mask_range_of_real(value: f32, step: f64) -> Option<f32> {
    number::range_of_float(value.into(), step).map(narrowed)
}

/// `mask.range` of numbers
#[pg_extern(sql = false)]
fn mask_range_of_double(value: f64, step: f64) -> Option<f64> {
    number::range_of_float(value, step)
}

/// `mask.range` of numbers
#[pg_extern(sql = false)]
fn mask_range_of_numeric(value: AnyNumeric, step: AnyNumeric) -> Option<AnyNumeric> {
    numeric(decimal::range(&value.to_string(), &step.to_string(), None))
}

/// `mask.range` of numbers that must fit a column
#[pg_extern(sql = false)]
fn mask_range_of_bounded(value: AnyNumeric, step: AnyNumeric, largest: AnyNumeric) -> Option<AnyNumeric> {
    numeric(decimal::range(&value.to_string(), &step.to_string(), Some(&largest.to_string())))
}

fn numeric(text: Option<String>) -> Option<AnyNumeric> {
    AnyNumeric::try_from(text?.as_str()).ok()
}

/// To the nearest number that a real can hold; what would be infinite is the last before.
fn narrowed(value: f64) -> f32 {
    let near = value as f32;
    if value.is_finite() { near.clamp(f32::MIN, f32::MAX) } else { near }
}

/// Computes with the key, if this call may.
fn keyed<R>(call: FunctionCallInfo, work: impl FnOnce(&Key) -> R) -> Result<R, ErrorReport> {
    oracle::may_run(call).and_then(|()| known::with_key(work)).map_err(report)
}

/// `mask.hash`
#[pg_extern(sql = false)]
fn mask_hash(value: &[u8], call: FunctionCallInfo) -> Result<Vec<u8>, ErrorReport> {
    keyed(call, |key| key.hash(value))
}

/// `mask.hash` of arrays
#[pg_extern(sql = false)]
fn mask_hash_array(value: AnyArray, call: FunctionCallInfo) -> Result<AnyArray, ErrorReport> {
    keyed(call, |key| text_array::map(value, |value| key.hash(value)))
}

/// `mask.hash` of bytes
#[pg_extern(sql = false)]
fn mask_hash_of_bytes(value: &[u8], call: FunctionCallInfo) -> Result<Vec<u8>, ErrorReport> {
    keyed(call, |key| key.digest(value).to_vec())
}

/// `mask.token`
#[pg_extern(sql = false)]
fn mask_token(value: &[u8], call: FunctionCallInfo) -> Result<Vec<u8>, ErrorReport> {
    keyed(call, |key| key.token(value))
}

/// `mask.token` of arrays
#[pg_extern(sql = false)]
fn mask_token_array(value: AnyArray, call: FunctionCallInfo) -> Result<AnyArray, ErrorReport> {
    keyed(call, |key| text_array::map(value, |value| key.token(value)))
}

/// `mask.token` of UUIDs
#[pg_extern(sql = false)]
fn mask_token_of_uuid(value: Uuid, call: FunctionCallInfo) -> Result<Uuid, ErrorReport> {
    keyed(call, |key| Uuid::from_bytes(key.token_of_uuid(value.as_bytes())))
}

/// `mask.token` of numbers
#[pg_extern(sql = false)]
fn mask_token_of_integer(value: i32, call: FunctionCallInfo) -> Result<Option<i32>, ErrorReport> {
    keyed(call, |key| i32::try_from(key.token_of_number(value.into())).ok())
}

/// `mask.token` of numbers
#[pg_extern(sql = false)]
fn mask_token_of_bigint(value: i64, call: FunctionCallInfo) -> Result<i64, ErrorReport> {
    keyed(call, |key| key.token_of_number(value))
}

// What noise is drawn by, besides key and amount: the kind of value, so that columns that can be compared agree.
const WHOLE: u8 = b'i';
const FLOAT: u8 = b'f';
const DECIMAL: u8 = b'n';
const DATE: u8 = b'd';
const TIME: u8 = b't';

/// Noise of a whole number, between the ends of its type.
fn noise_of(
    call: FunctionCallInfo,
    value: i64,
    amount: i64,
    least: i64,
    most: i64,
) -> Result<Option<i64>, ErrorReport> {
    keyed(call, |key| {
        let draw = key.draw(WHOLE, &amount.to_le_bytes(), &value.to_le_bytes());
        number::noise(value, amount, draw, least, most)
    })
}

/// `mask.noise`
#[pg_extern(sql = false)]
fn mask_noise_of_smallint(
    value: i16,
    amount: i64,
    call: FunctionCallInfo,
) -> Result<Option<i16>, ErrorReport> {
    let noisy = noise_of(call, value.into(), amount, i16::MIN.into(), i16::MAX.into())?;
    Ok(noisy.and_then(|noisy| noisy.try_into().ok()))
}

/// `mask.noise`
#[pg_extern(sql = false)]
fn mask_noise_of_integer(
    value: i32,
    amount: i64,
    call: FunctionCallInfo,
) -> Result<Option<i32>, ErrorReport> {
    let noisy = noise_of(call, value.into(), amount, i32::MIN.into(), i32::MAX.into())?;
    Ok(noisy.and_then(|noisy| noisy.try_into().ok()))
}

/// `mask.noise`
#[pg_extern(sql = false)]
fn mask_noise_of_bigint(value: i64, amount: i64, call: FunctionCallInfo) -> Result<Option<i64>, ErrorReport> {
    noise_of(call, value, amount, i64::MIN, i64::MAX)
}

/// `mask.noise`
#[pg_extern(sql = false)]
fn mask_noise_of_real(value: f32, amount: f64, call: FunctionCallInfo) -> Result<Option<f32>, ErrorReport> {
    Ok(mask_noise_of_double(value.into(), amount, call)?.map(narrowed))
}

/// `mask.noise`
#[pg_extern(sql = false)]
fn mask_noise_of_double(value: f64, amount: f64, call: FunctionCallInfo) -> Result<Option<f64>, ErrorReport> {
    // 0 and -0 are equal
    let bits = (value + 0.0).to_le_bytes();
    keyed(call, |key| number::noise_of_float(value, amount, key.draw(FLOAT, &amount.to_le_bytes(), &bits)))
}

fn noise_of_decimal(
    call: FunctionCallInfo,
    value: &AnyNumeric,
    amount: &AnyNumeric,
    largest: Option<String>,
) -> Result<Option<AnyNumeric>, ErrorReport> {
    let (value, amount) = (value.to_string(), amount.to_string());
    let by = decimal::drawn_by(&value).unwrap_or_default();
    let draw = keyed(call, |key| key.draw(DECIMAL, amount.as_bytes(), by.as_bytes()))?;
    Ok(numeric(decimal::noise(&value, &amount, largest.as_deref(), draw)))
}

/// `mask.noise`
#[pg_extern(sql = false)]
fn mask_noise_of_numeric(
    value: AnyNumeric,
    amount: AnyNumeric,
    call: FunctionCallInfo,
) -> Result<Option<AnyNumeric>, ErrorReport> {
    noise_of_decimal(call, &value, &amount, None)
}

/// `mask.noise` of numbers that must fit a column
#[pg_extern(sql = false)]
fn mask_noise_of_bounded(
    value: AnyNumeric,
    amount: AnyNumeric,
    largest: AnyNumeric,
    call: FunctionCallInfo,
) -> Result<Option<AnyNumeric>, ErrorReport> {
    noise_of_decimal(call, &value, &amount, Some(largest.to_string()))
}

/// `mask.noise` of dates, by days
#[pg_extern(sql = false)]
fn mask_noise_of_date(value: i32, days: i32, call: FunctionCallInfo) -> Result<Option<i32>, ErrorReport> {
    keyed(call, |key| {
        calendar::noisy_date(value, days, key.draw(DATE, &days.to_le_bytes(), &value.to_le_bytes()))
    })
}

/// `mask.noise` of times, by days
#[pg_extern(sql = false)]
fn mask_noise_of_time(value: i64, days: i32, call: FunctionCallInfo) -> Result<Option<i64>, ErrorReport> {
    keyed(call, |key| {
        calendar::noisy_timestamp(value, days, key.draw(TIME, &days.to_le_bytes(), &value.to_le_bytes()))
    })
}
