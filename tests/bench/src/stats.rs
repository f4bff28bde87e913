//! Quantiles and medians: pure.

/// A figure that was measured several times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// the middle one
    pub median: f64,
    /// the smallest
    pub min: f64,
    /// the largest
    pub max: f64,
}

/// The value below which `share` (0 to 1) of the sorted values lie; 0 for none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index far below 2^52, and a share between 0 and 1"
    )]
    let at = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Median, smallest and largest of some values; nothing for none.
#[must_use]
pub fn figure(values: &[f64]) -> Option<Figure> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Figure { median: quantile(&sorted, 0.5), min: *sorted.first()?, max: *sorted.last()? })
}

/// The median of the ratios of two series that were measured in pairs; nothing when there is no pair.
#[must_use]
pub fn paired_ratio(ours: &[f64], theirs: &[f64]) -> Option<Figure> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).filter(|(_, t)| **t > 0.0).map(|(o, t)| o / t).collect();
    figure(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_many() {
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert!((quantile(&values, 0.99) - 99.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_figure_keeps_its_ends() {
        assert_eq!(figure(&[3.0, 1.0, 2.0]), Some(Figure { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(figure(&[]), None);
    }

    #[test]
    fn ratios_are_paired_before_the_median() {
        let ratio = paired_ratio(&[2.0, 8.0, 3.0], &[1.0, 4.0, 1.0]).map(|f| f.median);
        assert_eq!(ratio, Some(2.0));
        assert_eq!(paired_ratio(&[1.0], &[0.0]), None);
    }
}
