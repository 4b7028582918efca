//! Ranges and noise of numbers that the processor knows.

use super::decimal::offset;

/// The largest multiple of `step` that is not above `value` and not below `least`; `None` for steps that are none.
pub fn range(value: i64, step: i64, least: i64) -> Option<i64> {
    let lower = i128::from(value).div_euclid((step > 0).then_some(step)?.into()) * i128::from(step);
    i64::try_from(lower.max(least.into())).ok()
}

/// The value moved by up to `amount` either way, evenly for a random `draw`, between `least` and `most`.
pub fn noise(value: i64, amount: i64, draw: u64, least: i64, most: i64) -> Option<i64> {
    let moved = i128::from(value) + offset((amount > 0).then_some(amount)?.into(), draw);
    i64::try_from(moved.clamp(least.into(), most.into())).ok()
}

/// As [`range`]; what is no number or infinite stays.
pub fn range_of_float(value: f64, step: f64) -> Option<f64> {
    let usable = step > 0.0 && step.is_finite();
    let lower = (value / step).floor() * step;
    // dividing by little and multiplying again may leave the numbers there are
    usable.then_some(if value.is_finite() && lower.is_finite() { lower } else { value })
}

/// As [`noise`]; what is no number or infinite stays. An amount that is too small for the last digit of
/// the value changes nothing.
pub fn noise_of_float(value: f64, amount: f64, draw: u64) -> Option<f64> {
    let usable = amount > 0.0 && amount.is_finite();
    // from -1 to 1
    let part = draw as f64 / (u64::MAX as f64) * 2.0 - 1.0;
    let moved = value + part * amount;
    usable.then_some(if value.is_finite() { moved.clamp(f64::MIN, f64::MAX) } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    #[test]
    fn ranges_begin_at_multiples() {
        assert_eq!(range(12345, 1000, i64::MIN), Some(12000));
        assert_eq!(range(-1, 1000, i64::MIN), Some(-1000));
        assert_eq!(range(i32::MIN.into(), 1000, i32::MIN.into()), Some(i32::MIN.into()));
        assert_eq!(range(i64::MIN, i64::MAX, i64::MIN), Some(i64::MIN));
        assert_eq!(range(5, 0, 0), None);
        assert_eq!(range(5, -1, 0), None);
        assert_eq!(range_of_float(12.7, 0.5), Some(12.5));
        assert_eq!(range_of_float(-0.1, 1.0), Some(-1.0));
        assert_eq!(range_of_float(f64::INFINITY, 5.0), Some(f64::INFINITY));
        assert!(range_of_float(f64::NAN, 5.0).unwrap().is_nan());
        for step in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(range_of_float(1.0, step), None);
            assert_eq!(noise_of_float(1.0, step, 7), None);
        }
    }

    #[test]
    fn noise_stays_within_its_amount_and_its_type() {
        let mut samples = Samples::new();
        let mut distances = std::collections::BTreeSet::new();
        for _ in 0..20_000 {
            let value = (samples.number() as i32).into();
            let noisy = noise(value, 10, samples.number(), i32::MIN.into(), i32::MAX.into()).unwrap();
            assert!((noisy - value).abs() <= 10);
            distances.insert(noisy - value);
            let value = value as f64 / 7.0;
            assert!((noise_of_float(value, 2.5, samples.number()).unwrap() - value).abs() <= 2.5001);
        }
        assert_eq!(distances.len(), 21, "every distance happens");
        assert_eq!(noise(i64::MAX, 10, u64::MAX, i64::MIN, i64::MAX), Some(i64::MAX));
        assert_eq!(noise(32767, 10, u64::MAX, -32768, 32767), Some(32767));
        assert_eq!(noise(5, 0, 1, 0, 9), None);
        assert_eq!(noise_of_float(f64::MAX, f64::MAX, u64::MAX), Some(f64::MAX));
        assert_eq!(noise_of_float(f64::NEG_INFINITY, 1.0, 1), Some(f64::NEG_INFINITY));
    }
}
