//! How long bytes travel: distributions in whole numbers, so that every machine draws the same.

use crate::event::Time;
use crate::random::Draws;

/// Binary digits behind the point.
const POINT: u32 = 16;
const ONE: u64 = 1 << POINT;
/// The natural logarithm of 2, times 2^16.
const LN_2: u64 = 45_426;

/// The binary logarithm of `number` (at least 1), times 2^16: squaring doubles a logarithm, so each squaring gives one more digit.
fn log2(number: u64) -> u64 {
    let whole = number.ilog2();
    let mut mantissa = u128::from(number) << 63 >> whole;
    let mut result = u64::from(whole) << POINT;
    for digit in (0..POINT).rev() {
        mantissa = (mantissa * mantissa) >> 63;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            result |= 1 << digit;
        }
    }
    result
}

/// 2 to the power of `exponent / 2^16`, times 2^16: one factor for each binary digit.
fn exp2(exponent: u64) -> u64 {
    // 2^(1/2), 2^(1/4), ... times 2^32.
    const ROOTS: [u64; 16] = [
        6_074_001_000,
        5_107_605_667,
        4_683_695_048,
        4_485_121_744,
        4_389_014_833,
        4_341_736_423,
        4_318_288_544,
        4_306_612_134,
        4_300_785_774,
        4_297_875_550,
        4_296_421_177,
        4_295_694_175,
        4_295_330_720,
        4_295_149_004,
        4_295_058_149,
        4_295_012_722,
    ];
    let whole = (exponent >> POINT).min(40);
    let mut result = u128::from(ONE);
    for (place, root) in ROOTS.iter().enumerate() {
        if exponent >> (POINT - 1 - place as u32) & 1 == 1 {
            result = (result * u128::from(*root)) >> 32;
        }
    }
    (result << whole) as u64
}

/// Exponential with that mean: arrivals that know nothing of each other.
pub(super) fn exponential(draws: &mut Draws, mean: Time, most: Time) -> Time {
    // -ln(u) with u evenly in (0, 1], in steps of 2^-40.
    let even = draws.below(1 << 40) + 1;
    let logarithm = (((40 << POINT) - log2(even)) * LN_2) >> POINT;
    let time = (u128::from(mean) * u128::from(logarithm)) >> POINT;
    time.min(u128::from(most)) as Time
}

/// Log-normal: half of all times below `median`; about two thirds within the factor `2^(spread / 100)` of it.
pub(super) fn log_normal(draws: &mut Draws, median: Time, spread: u64, most: Time) -> Time {
    // The sum of twelve even draws is as good as normal, with deviation 1 and mean 6.
    let sum: u64 = (0..12).map(|_| draws.below(ONE)).sum();
    let (away, above) = if sum >= 6 * ONE { (sum - 6 * ONE, true) } else { (6 * ONE - sum, false) };
    let factor = u128::from(exp2(away * spread / 100).max(1));
    let time =
        if above { (u128::from(median) * factor) >> POINT } else { (u128::from(median) << POINT) / factor };
    time.min(u128::from(most)) as Time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MILLI;
    use crate::random::Purpose;

    fn sorted(draw: impl Fn(&mut Draws) -> Time) -> Vec<Time> {
        let mut times: Vec<Time> =
            (0..20_000).map(|n| draw(&mut Draws::new(3, Purpose::Latency, 0, n))).collect();
        times.sort_unstable();
        times
    }

    fn near(found: u64, expected: u64, percent: u64) -> bool {
        found.abs_diff(expected) * 100 <= expected * percent
    }

    #[test]
    fn logarithms_and_powers_are_what_they_should_be() {
        assert_eq!(log2(1), 0);
        assert_eq!(log2(1 << 40), 40 << POINT);
        assert!(near(log2(1_000_000), 1_306_237, 1), "{}", log2(1_000_000));
        assert_eq!(exp2(0), ONE);
        assert_eq!(exp2(3 << POINT), 8 * ONE);
        assert!(near(exp2(ONE / 2), 92_682, 1), "{}", exp2(ONE / 2));
        for number in [3, 10, 77, 12_345] {
            assert!(near(exp2(log2(number)) >> POINT, number, 2) || number < 50, "{number}");
        }
    }

    #[test]
    fn exponential_times_have_their_mean_median_and_tail() {
        let times = sorted(|draws| exponential(draws, 10 * MILLI, u64::MAX));
        assert!(near(times.iter().sum::<u64>() / 20_000, 10 * MILLI, 3));
        assert!(near(times[10_000], 6_931_472, 3), "median {}", times[10_000]);
        assert!(near(times[19_800], 46_051_702, 8), "99th percentile {}", times[19_800]);
        assert_eq!(sorted(|draws| exponential(draws, 10 * MILLI, 30 * MILLI)).last(), Some(&(30 * MILLI)));
    }

    #[test]
    fn log_normal_times_have_their_median_and_spread_evenly_in_factors() {
        let times = sorted(|draws| log_normal(draws, 10 * MILLI, 100, u64::MAX));
        assert!(near(times[10_000], 10 * MILLI, 3), "median {}", times[10_000]);
        assert!(near(times[16_827], 20 * MILLI, 6), "one deviation above {}", times[16_827]);
        assert!(near(times[3_173], 5 * MILLI, 6), "one deviation below {}", times[3_173]);
        assert_eq!(sorted(|draws| log_normal(draws, MILLI, 300, 4 * MILLI)).last(), Some(&(4 * MILLI)));
    }
}
