//! Ranges and noise of decimal numbers of any scale, exactly.

use std::fmt;

/// Digits of an [`Amount`]: with 64 random bits and a sign it still fits 128 bits.
const MOST_DIGITS: usize = 15;

/// A number that is not negative, as people write it in a masking: `1000`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    units: i64,
    scale: u32,
}

impl Amount {
    /// Reads digits with a point among them or none; `None` for anything else and beyond 15 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || text.ends_with('.') || !digits(whole) || !digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if whole.len() + fraction.len() > MOST_DIGITS {
            return None;
        }
        let units = [whole, fraction].concat();
        let units = if units.is_empty() { 0 } else { units.parse().ok()? };
        Some(Self { units, scale: u32::try_from(fraction.len()).ok()? })
    }

    pub fn is_zero(&self) -> bool {
        self.units == 0
    }

    pub fn is_whole(&self) -> bool {
        self.scale == 0
    }

    /// The number without its fraction.
    pub fn whole(&self) -> i64 {
        self.units / 10_i64.pow(self.scale)
    }

    fn decimal(&self) -> Decimal {
        Decimal { units: self.units.into(), scale: self.scale }
    }

    /// Digits before the point.
    fn whole_digits(&self) -> u32 {
        self.whole().checked_ilog10().map_or(0, |log| log + 1)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decimal().fmt(f)
    }
}

/// A finite number, `units / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    /// Reads a number as the server writes it; `None` beyond some 38 digits.
    fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut units: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            units = units.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let units = if negative { -units } else { units };
        (!whole.is_empty()).then_some(())?;
        Some(Self { units, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// The same at another scale; what does not fit a smaller one is cut off.
    fn at(self, scale: u32) -> Option<Self> {
        let units = if scale >= self.scale {
            self.units.checked_mul(10_i128.checked_pow(scale - self.scale)?)?
        } else {
            10_i128.checked_pow(self.scale - scale).map_or(0, |power| self.units / power)
        };
        Some(Self { units, scale })
    }

    /// Not further from zero than `largest`.
    fn within(self, largest: Option<Self>) -> Option<Self> {
        let Some(largest) = largest else { return Some(self) };
        let scale = self.scale.max(largest.scale);
        let (own, bound) = (self.at(scale)?.units, largest.at(scale)?.units);
        if own > bound {
            Some(largest)
        } else if own < -bound {
            Some(Self { units: -largest.units, ..largest })
        } else {
            Some(self)
        }
    }

    /// Without zeros behind the point.
    fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.units % 10 == 0 {
            self = Self { units: self.units / 10, scale: self.scale - 1 };
        }
        self
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = self.scale as usize;
        let digits = format!("{:0>width$}", self.units.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.units < 0 { "-" } else { "" };
        if fraction.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}

/// What the server writes for numbers that are none or have no end; they stay what they are.
fn is_special(value: &str) -> bool {
    matches!(value, "NaN" | "Infinity" | "-Infinity")
}

/// A bound as an argument; the outer `None` is one that cannot be read.
fn bound(largest: Option<&str>) -> Option<Option<Decimal>> {
    match largest {
        None => Some(None),
        Some(text) => Some(Some(Decimal::parse(text)?)),
    }
}

/// The largest multiple of `step` that is not above `value`, within `largest`. `None`, which is no
/// value at all, for steps that are none and for numbers beyond some 38 digits.
pub fn range(value: &str, step: &str, largest: Option<&str>) -> Option<String> {
    if is_special(value) {
        return Some(value.to_owned());
    }
    let (value, amount) = (Decimal::parse(value)?, Amount::parse(step).filter(|step| !step.is_zero())?);
    let scale = value.scale.max(amount.scale);
    let (own, step) = (value.at(scale)?.units, amount.decimal().at(scale)?.units);
    let units = own.div_euclid(step).checked_mul(step)?;
    // a multiple of the step has no more digits behind the point than that: the value's scale is not shown
    let lower = Decimal { units, scale }.at(amount.scale)?;
    Some(lower.within(bound(largest)?)?.to_string())
}

/// The bytes by which the noise of a value is drawn: the same for 1 and 1.00. `None` where there is
/// nothing to draw.
pub fn drawn_by(value: &str) -> Option<String> {
    if is_special(value) { None } else { Some(Decimal::parse(value)?.trimmed().to_string()) }
}

/// The value moved by up to `amount` up or down, evenly for a random `draw`, within `largest`. All digits
/// that are shown are touched by the noise. `None` as for [`range`].
pub fn noise(value: &str, amount: &str, largest: Option<&str>, draw: u64) -> Option<String> {
    if is_special(value) {
        return Some(value.to_owned());
    }
    let (value, amount) = (Decimal::parse(value)?, Amount::parse(amount).filter(|a| !a.is_zero())?);
    let fine = (MOST_DIGITS as u32).saturating_sub(amount.whole_digits());
    // the column's or the amount's, never the value's: equal values have equal masks, and no scale is shown
    let largest = bound(largest)?;
    let wanted = largest.map_or(amount.scale + 2, |largest| largest.scale);
    let scale = wanted.min(fine).max(amount.scale);
    let most = amount.decimal().at(scale)?.units;
    let units = value.at(scale)?.units.checked_add(offset(most, draw))?;
    Some(Decimal { units, scale }.within(largest)?.to_string())
}

/// A whole number from `-most` to `most`, evenly.
pub fn offset(most: i128, draw: u64) -> i128 {
    // at most 10^18 twice and one, times 2^64: below 2^127
    let most = most.clamp(0, 1_000_000_000_000_000_000);
    ((i128::from(draw) * (2 * most + 1)) >> 64) - most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    #[test]
    fn amounts_are_read_and_written_in_one_form() {
        for (text, expected) in
            [("1000", "1000"), ("0.50", "0.5"), ("007", "7"), ("0.001", "0.001"), ("10.0", "10"), ("0", "0")]
        {
            assert_eq!(Amount::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", ".", ".5", "5.", "-1", "+1", "1e3", "1.2.3", "1234567890123456", "NaN", "١"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
        assert_eq!((Amount::parse("12.75").unwrap().whole(), Amount::parse("0.9").unwrap().whole()), (12, 0));
    }

    #[test]
    fn a_range_is_named_by_its_lower_end() {
        for (value, step, expected) in [
            ("12345.67", "1000", "12000"),
            ("-0.01", "1000", "-1000"),
            ("0", "5", "0"),
            ("2.9999999999999999999999999", "3", "0"),
            ("0.74", "0.25", "0.50"),
            ("-5", "5", "-5"),
            ("NaN", "5", "NaN"),
            ("-Infinity", "5", "-Infinity"),
        ] {
            assert_eq!(range(value, step, None).as_deref(), Some(expected), "{value} {step}");
        }
        assert_eq!(range("-999.99", "1000", Some("999.99")).as_deref(), Some("-999.99"));
    }

    #[test]
    fn what_cannot_be_computed_has_no_mask() {
        for (value, step) in [("1", "0"), ("1", "-5"), ("1", "NaN"), ("", "1"), ("x", "1"), ("1.2.3", "1")] {
            assert_eq!(range(value, step, None), None, "{value} {step}");
            assert_eq!(noise(value, step, None, 7), None, "{value} {step}");
        }
        assert_eq!(range(&"9".repeat(50), "10", None), None);
        assert_eq!(noise(&format!("0.{}", "1".repeat(16000)), "1", None, 9), None);
        assert_eq!(range("1", "1", Some("x")), None);
    }

    #[test]
    fn noise_stays_within_its_amount_and_its_column() {
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let units = i128::from(samples.number()) / i128::from(1 + samples.below(1_000_000_000) as i64);
            let value = Decimal { units, scale: samples.below(12) as u32 };
            let amount = format!("{}.{}", samples.below(100_000), 1 + samples.below(99));
            let most = Amount::parse(&amount).unwrap().decimal();
            let noisy = noise(&value.to_string(), &amount, None, samples.number()).unwrap();
            let noisy = Decimal::parse(&noisy).unwrap();
            let scale = 20;
            let distance = (noisy.at(scale).unwrap().units - value.at(scale).unwrap().units).abs();
            // what is cut off behind the last digit that is shown may come on top
            let cut = 10_i128.pow(scale - noisy.scale);
            assert!(distance <= most.at(scale).unwrap().units + cut, "{value} {amount} {noisy}");
        }
        assert_eq!(noise("999.99", "10", Some("999.99"), u64::MAX).as_deref(), Some("999.99"));
        assert_eq!(noise("5.00", "1", None, 0).as_deref(), Some("4.00"));
        assert_eq!(noise("5.00", "1", None, u64::MAX).as_deref(), Some("6.00"));
        assert_eq!(noise("5", "0.5", None, u64::MAX).as_deref(), Some("5.500"));
        assert_eq!(noise("5", "1", None, 7), noise("5.000", "1", None, 7));
        assert_eq!(noise("Infinity", "1", None, 1).as_deref(), Some("Infinity"));
    }

    #[test]
    fn digits_that_noise_does_not_reach_are_not_shown() {
        let value = "1.23456789012345678901234567";
        let noisy = noise(value, "100000", None, 1).unwrap();
        assert!(noisy.split('.').nth(1).unwrap().len() <= 9, "{noisy}");
    }

    #[test]
    fn equal_numbers_draw_alike() {
        assert_eq!(drawn_by("1.00"), drawn_by("1"));
        assert_eq!(drawn_by("0.10").as_deref(), Some("0.1"));
        assert_eq!(drawn_by("100").as_deref(), Some("100"));
        assert_eq!(drawn_by("NaN"), None);
    }

    #[test]
    fn ranges_hold_their_values_whatever_they_are() {
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let value =
                Decimal { units: samples.number() as i64 as i128 / 1000, scale: samples.below(15) as u32 };
            let step = format!("{}.{}", samples.below(1000), 1 + samples.below(999));
            let lower = Decimal::parse(&range(&value.to_string(), &step, None).unwrap()).unwrap();
            let (scale, step) = (18, Amount::parse(&step).unwrap().decimal());
            let (own, low) = (value.at(scale).unwrap().units, lower.at(scale).unwrap().units);
            assert!(low <= own && own < low + step.at(scale).unwrap().units, "{value} {lower}");
        }
    }
}
