//! Medians, percentiles, ratios: pure arithmetic over what was measured.

use serde::Serialize;

/// The middle of some figures; none of no figures.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(sorted.len() / 2 - 1)?, upper))
}

/// The figure that `permille` of 1,000 do not exceed (nearest rank); zero of none. Sorts what it is given.
pub(crate) fn percentile(figures: &mut [u32], permille: usize) -> u32 {
    figures.sort_unstable();
    let rank = (figures.len() * permille).div_ceil(1000);
    figures.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// How one target compares with another over the rounds that both took part in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// Median of the ratios of the rounds.
    pub(crate) median: f64,
    /// The smallest of them.
    pub(crate) min: f64,
    /// The largest of them.
    pub(crate) max: f64,
}

impl Ratio {
    /// Of figures taken in the same rounds; none if there is no common round in which the other did anything.
    pub(crate) fn of_rounds(own: &[f64], other: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> =
            own.iter().zip(other).filter(|(_, other)| **other > 0.0).map(|(own, other)| own / other).collect();
        let median = median(&ratios)?;
        let min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let max = ratios.iter().copied().fold(0.0, f64::max);
        Some(Self { median, min, max })
    }

    /// Whether it reaches a goal; a miss of less than 3 percent counts as met.
    pub(crate) fn meets(&self, goal: f64) -> bool {
        self.median >= goal * (1.0 - TOLERANCE)
    }
}

const TOLERANCE: f64 = 0.03;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let mut figures: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut figures, 500), 50);
        assert_eq!(percentile(&mut figures, 990), 99);
        assert_eq!(percentile(&mut figures, 1000), 100);
        assert_eq!(percentile(&mut [7], 990), 7);
        assert_eq!(percentile(&mut [], 990), 0);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine was slow in the second round, for both.
        let ratio = Ratio::of_rounds(&[200.0, 20.0, 330.0], &[100.0, 10.0, 110.0]).unwrap();
        assert_eq!(ratio, Ratio { median: 2.0, min: 2.0, max: 3.0 });
        assert_eq!(Ratio::of_rounds(&[1.0], &[0.0]), None);
        assert_eq!(Ratio::of_rounds(&[], &[1.0]), None);
    }

    #[test]
    fn a_small_miss_counts_as_met() {
        let ratio = |median| Ratio { median, min: median, max: median };
        assert!(ratio(1.95).meets(2.0));
        assert!(!ratio(1.93).meets(2.0));
    }
}
