//! Dates and times as the server keeps them: days and microseconds since 2000-01-01, UTC.
//!
//! Times with a time zone are cut in UTC whatever the session's zone: who can choose the zone could otherwise
//! move the borders of months over a value and find it.
//! What is infinite stays so.

use super::decimal::offset;

/// The server's first and last days and microseconds (datatype/timestamp.h).
const FIRST_DAY: i64 = -2_451_545;
const LAST_DAY: i64 = 2_145_031_948;
const FIRST_MICROSECOND: i64 = -211_813_488_000_000_000;
const LAST_MICROSECOND: i64 = 9_223_371_331_199_999_999;
const DAY: i64 = 86_400_000_000;
/// From 0000-03-01 to 2000-01-01.
const TO_MARCH: i64 = 730_425;
/// A Monday, from which ranges are counted: 2000-01-03.
const MONDAY: i64 = 2;

/// What a date is reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Year,
    Month,
    /// So many days
    Range(i32),
}

/// The first day of the part that a date lies in; `None` for a range without days.
pub fn date(days: i32, part: Part) -> Option<i32> {
    if days == i32::MIN || days == i32::MAX {
        return Some(days);
    }
    i32::try_from(first_day(days.into(), part)?.clamp(FIRST_DAY, LAST_DAY)).ok()
}

/// The first moment of the part that a time lies in; `None` for a range without days.
pub fn timestamp(microseconds: i64, part: Part) -> Option<i64> {
    if microseconds == i64::MIN || microseconds == i64::MAX {
        return Some(microseconds);
    }
    let first = first_day(microseconds.div_euclid(DAY), part)?;
    Some(first.saturating_mul(DAY).clamp(FIRST_MICROSECOND, LAST_MICROSECOND))
}

/// The date moved by up to `days` either way, evenly for a random `draw`; `None` for no days.
pub fn noisy_date(value: i32, days: i32, draw: u64) -> Option<i32> {
    if value == i32::MIN || value == i32::MAX {
        return Some(value);
    }
    let moved = i128::from(value) + offset((days > 0).then_some(days)?.into(), draw);
    i32::try_from(moved.clamp(FIRST_DAY.into(), LAST_DAY.into())).ok()
}

/// The time moved by up to `days` either way, evenly for a random `draw`; `None` for no days.
pub fn noisy_timestamp(value: i64, days: i32, draw: u64) -> Option<i64> {
    if value == i64::MIN || value == i64::MAX {
        return Some(value);
    }
    let most = i128::from((days > 0).then_some(days)?) * i128::from(DAY);
    let moved = i128::from(value) + offset(most, draw);
    i64::try_from(moved.clamp(FIRST_MICROSECOND.into(), LAST_MICROSECOND.into())).ok()
}

fn first_day(day: i64, part: Part) -> Option<i64> {
    match part {
        Part::Range(days) => {
            let days = i64::from((days > 0).then_some(days)?);
            Some((day - MONDAY).div_euclid(days) * days + MONDAY)
        }
        Part::Year | Part::Month => {
            // years from March, so that the leap day is the last (proleptic Gregorian, as the server's)
            let day = day + TO_MARCH;
            let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
            let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
            let of_year = of_era - (365 * year + year / 4 - year / 100);
            let month = (5 * of_year + 2) / 153;
            let first = |year: i64, month: i64| {
                era * 146_097 + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 - TO_MARCH
            };
            let january = if month >= 10 { year } else { year - 1 };
            Some(match part {
                Part::Month => first(year, month),
                // January is the eleventh month of the year before, whose leap day counts in this one
                _ if january >= 0 => first(january, 10),
                _ => (era - 1) * 146_097 + 365 * 399 + 399 / 4 - 399 / 100 + (153 * 10 + 2) / 5 - TO_MARCH,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    #[test]
    fn days_are_cut_to_month_year_and_range() {
        // 2024-02-29
        assert_eq!(date(8825, Part::Month), Some(8797));
        assert_eq!(date(8825, Part::Year), Some(8766));
        // 2000-01-01 is the first of its month and year, and a Saturday
        assert_eq!(date(0, Part::Month), Some(0));
        assert_eq!(date(0, Part::Year), Some(0));
        assert_eq!(date(0, Part::Range(7)), Some(-5));
        assert_eq!(date(-1, Part::Year), Some(-365));
        assert_eq!(date(-1, Part::Month), Some(-31));
        // 1600-02-29 and 1600-01-01
        assert_eq!(date(-146_038, Part::Year), Some(-146_097));
        assert_eq!(timestamp(8825 * DAY + 5, Part::Month), Some(8797 * DAY));
        assert_eq!(timestamp(-1, Part::Month), Some(-31 * DAY));
    }

    #[test]
    fn what_has_no_end_stays_and_nothing_leaves_the_calendar() {
        for part in [Part::Year, Part::Month, Part::Range(1), Part::Range(i32::MAX)] {
            for edge in [i32::MIN, i32::MAX] {
                assert_eq!(date(edge, part), Some(edge));
                assert_eq!(noisy_date(edge, 5, 7), Some(edge));
            }
            for edge in [i64::MIN, i64::MAX] {
                assert_eq!(timestamp(edge, part), Some(edge));
                assert_eq!(noisy_timestamp(edge, 5, 7), Some(edge));
            }
            for day in [FIRST_DAY, LAST_DAY] {
                let masked = i64::from(date(day as i32, part).unwrap());
                assert!((FIRST_DAY..=day).contains(&masked), "{day} {masked}");
            }
            for moment in [FIRST_MICROSECOND, LAST_MICROSECOND] {
                let masked = timestamp(moment, part).unwrap();
                assert!((FIRST_MICROSECOND..=moment).contains(&masked), "{moment} {masked}");
            }
        }
        assert_eq!(date(5, Part::Range(0)), None);
        assert_eq!(timestamp(5, Part::Range(-1)), None);
        assert_eq!(noisy_date(5, 0, 1), None);
        assert_eq!(noisy_timestamp(5, -3, 1), None);
    }

    #[test]
    fn a_part_begins_before_its_days_and_is_its_own_beginning() {
        let mut samples = Samples::new();
        for _ in 0..50_000 {
            let day = (samples.number() % 4_000_000) as i32 - 2_000_000;
            for (part, most) in [(Part::Month, 31), (Part::Year, 366), (Part::Range(10), 10)] {
                let first = date(day, part).unwrap();
                assert!(first <= day && day - first < most, "{day} {first} {part:?}");
                assert_eq!(date(first, part), Some(first), "{day} {part:?}");
            }
            // a year begins with a month
            let year = date(day, Part::Year).unwrap();
            assert_eq!(date(year, Part::Month), Some(year));
            let noisy = noisy_date(day, 10, samples.number()).unwrap();
            assert!((noisy - day).abs() <= 10);
        }
    }
}
