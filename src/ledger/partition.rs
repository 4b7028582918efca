//! The months of the ledger, and the partitions that hold their rows.
//!
//! A row belongs to the month in which it is stored, so each partition holds a run of numbers. The
//! writer makes partitions itself: this month's if it lacks, and the next month's ahead.

use super::table::Tables;
use super::{LedgerError, store};
use crate::pg::{catalog, worker};
use pgrx::pg_sys::Oid;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 2000-01-01, in the calendar that repeats itself every 400 years.
const SINCE_MARCH: i64 = 730_425;
/// Days of 400 years.
const ERA: i64 = 146_097;

/// A month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i64,
    /// 1 to 12
    month: i64,
}

impl Month {
    /// The month of a timestamptz.
    pub fn of(time: i64) -> Self {
        // Years that begin in March have their leap day at the end.
        let days = time.div_euclid(DAY) + SINCE_MARCH;
        let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (year, month) = (year + era * 400, month + 3);
        if month > 12 { Self { year: year + 1, month: month - 12 } } else { Self { year, month } }
    }

    /// The month after.
    #[must_use]
    pub fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { year: self.year, month: month + 1 },
        }
    }

    /// When it begins.
    pub fn start(self) -> i64 {
        // As in `of`, the other way round: a year begins in March.
        let (year, month) =
            if self.month < 3 { (self.year - 1, self.month + 9) } else { (self.year, self.month - 3) };
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let day = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5;
        (era * ERA + day - SINCE_MARCH) * DAY
    }

    /// The month whose partition has this name.
    pub fn named(partition: &str) -> Option<Self> {
        let (year, month) = partition.strip_prefix("ledger_")?.split_once('_')?;
        let found = Self { year: year.parse().ok()?, month: month.parse().ok()? };
        ((1..=12).contains(&found.month) && found.partition() == partition).then_some(found)
    }

    /// The first day, as a date.
    pub fn first_day(self) -> String {
        format!("{:04}-{:02}-01", self.year, self.month)
    }

    /// Name of the partition in schema audit; in the order of the months.
    pub fn partition(self) -> String {
        format!("ledger_{:04}_{:02}", self.year, self.month)
    }
}

/// The partition that the writer is at.
#[derive(Debug, Clone)]
pub struct Current {
    pub month: Month,
    pub relid: Oid,
    /// Its parts of the indexes with a condition, which hear of few rows.
    pub sparse: Vec<Oid>,
}

impl Current {
    /// The partition for rows that are stored at this time, made if it lacks, and so the next one. Between
    /// transactions. `None` if the extension has gone.
    pub fn at(time: i64) -> Result<Option<Self>, LedgerError> {
        let month = Month::of(time);
        let Some(relid) = worker::transaction(|| provide(month))? else { return Ok(None) };
        worker::transaction(|| provide(month.next()))?;
        let sparse = worker::transaction(|| {
            let indexes = ["ledger_people", "ledger_transactions"];
            let indexes = indexes.into_iter().filter_map(|name| catalog::relation("audit", name));
            indexes.map(catalog::heirs).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Some(Self { month, relid, sparse: sparse.concat() }))
    }

    /// Whether rows that are stored at this time belong to it.
    pub fn holds(&self, time: i64) -> bool {
        Month::of(time) == self.month
    }
}

/// The partition of a month, in the running transaction.
fn provide(month: Month) -> Result<Option<Oid>, LedgerError> {
    let name = month.partition();
    let find = |tables: &Tables| -> Result<Option<Oid>, LedgerError> {
        Ok(tables.partitions()?.into_iter().find(|partition| partition.name == name).map(|found| found.relid))
    };
    let Some(tables) = Tables::find() else { return Ok(None) };
    let found = find(&tables)?;
    if found.is_some() {
        return Ok(found);
    }
    store::make_partition(&month.first_day())?;
    match find(&tables)? {
        None => Err(LedgerError::NoPartition(name)),
        made => Ok(made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar_in_utc() {
        // SELECT extract(epoch FROM t - timestamptz '2000-01-01 00:00:00+00') * 1000000
        for (time, expected) in [
            (0, "2000-01-01"),
            (-1, "1999-12-01"),
            (5_097_599_999_999, "2000-02-01"),
            (5_184_000_000_000 - 1, "2000-02-01"),
            (5_184_000_000_000, "2000-03-01"),
            (825_768_000_000_000, "2026-03-01"),
            (3_155_759_999_999_999, "2099-12-01"),
            (3_155_760_000_000_000, "2100-01-01"),
            (3_160_857_600_000_000 - 1, "2100-02-01"),
            (3_160_857_600_000_000, "2100-03-01"),
        ] {
            let month = Month::of(time);
            assert_eq!(month.first_day(), expected, "{time}");
            assert!(month.start() <= time && time < month.next().start(), "{time}");
        }
    }

    #[test]
    fn other_names_are_of_no_month() {
        for name in
            ["ledger", "ledger_2026_13", "ledger_2026_00", "ledger_2026_1", "ledger_+026_01", "chain_2026_01"]
        {
            assert_eq!(Month::named(name), None, "{name}");
        }
    }

    #[test]
    fn partitions_are_named_in_the_order_of_their_months() {
        let mut month = Month::of(0);
        let mut time = 0;
        for _ in 0..3000 {
            let next = month.next();
            assert!(month < next && month.partition() < next.partition());
            assert_eq!(Month::named(&month.partition()), Some(month));
            assert_eq!(month.start(), time);
            // The month is over when the next one begins, day by day.
            while Month::of(time) == month {
                time += DAY;
            }
            assert_eq!(Month::of(time), next);
            month = next;
        }
    }
}
