//! Points in time, as tokens and as PostgreSQL count them.
//!
//! Everything here is an `i64` of microseconds; only the beginning differs: tokens count from
//! 1970 ("unix"), PostgreSQL's timestamptz from 2000.

use serde_json::Value;

/// Seconds from 1970-01-01 to 2000-01-01, both UTC.
const PG_EPOCH: i64 = 946_684_800;
const SECOND: i64 = 1_000_000;
/// The last second of the year 9999. Later than that, a date is a mistake (milliseconds, mostly).
const LAST: i64 = 253_402_300_799;

/// Reads a NumericDate (RFC 7519 section 2): seconds since 1970 as a JSON number, which may have
/// a fraction. Gives microseconds since 1970, fractions of them dropped; `None` if it is no
/// number or lies outside the years 1970 to 9999.
pub fn numeric_date(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_i64() {
        return (0..=LAST).contains(&seconds).then(|| seconds * SECOND);
    }
    let seconds = number.as_f64()?;
    if !(0.0..=LAST as f64).contains(&seconds) {
        return None;
    }
    // the range was checked, so the product is below 2.6e17 and fits
    Some((seconds * SECOND as f64).floor() as i64)
}

/// Microseconds since 1970 as PostgreSQL's microseconds since 2000.
pub fn to_pg(unix: i64) -> i64 {
    unix.saturating_sub(PG_EPOCH * SECOND)
}

/// PostgreSQL's microseconds since 2000 as microseconds since 1970.
pub fn from_pg(pg: i64) -> i64 {
    pg.saturating_add(PG_EPOCH * SECOND)
}

/// `2026-03-31 17:05:09 UTC` for microseconds since 1970, for messages. Days become dates by the
/// era arithmetic of the proleptic Gregorian calendar (400 years have 146,097 days).
pub fn display(unix: i64) -> String {
    let seconds = unix.div_euclid(SECOND);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // years begin in March here, so that the leap day is the last day of a year
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
