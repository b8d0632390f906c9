//! Measured numbers by name, and their spread over repeated runs.

use std::collections::BTreeMap;

use serde::Serialize;

/// The numbers from one run of one case, by the key of their [`Metric`].
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    /// Records a number.
    pub(crate) fn set(&mut self, metric: &Metric, value: f64) {
        self.0.insert(metric.key, value);
    }

    /// The number, if it was measured.
    pub(crate) fn get(&self, metric: &Metric) -> Option<f64> {
        self.0.get(metric.key).copied()
    }
}

/// A quantity that is measured.
#[derive(Debug, Serialize)]
pub(crate) struct Metric {
    /// Name in JSON, with the unit.
    pub(crate) key: &'static str,
    /// Name in tables, with the unit.
    pub(crate) title: &'static str,
}

/// The smallest, the median and the largest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of these numbers; `None` if there are none. The median of an even count is the mean of the
    /// middle two.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { min, median, max })
    }
}

/// The spread of a metric over runs.
pub(crate) fn spread(runs: &[Figures], metric: &Metric) -> Option<Spread> {
    Spread::of(runs.iter().filter_map(|run| run.get(metric)))
}

/// The spread of ours / theirs over those pairs in which both were measured and theirs is not 0.
pub(crate) fn ratio(ours: &[Option<Figures>], theirs: &[Option<Figures>], metric: &Metric) -> Option<Spread> {
    let quotients = ours.iter().zip(theirs).filter_map(|(ours, theirs)| {
        let (ours, theirs) = (ours.as_ref()?.get(metric)?, theirs.as_ref()?.get(metric)?);
        (theirs != 0.0).then(|| ours / theirs)
    });
    Spread::of(quotients)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Metric = Metric { key: "ops_per_s", title: "ops/s" };

    fn run(value: f64) -> Figures {
        let mut figures = Figures::default();
        figures.set(&RATE, value);
        figures
    }

    #[test]
    fn the_median_is_the_middle() {
        let of = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[f64::NAN]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
    }

    #[test]
    fn ratios_are_taken_within_pairs_only() {
        let ours = [Some(run(10.0)), Some(run(30.0)), None, Some(run(5.0))];
        let theirs = [Some(run(5.0)), Some(run(10.0)), Some(run(1.0)), Some(run(0.0))];
        assert_eq!(ratio(&ours, &theirs, &RATE), Some(Spread { min: 2.0, median: 2.5, max: 3.0 }));
        assert_eq!(ratio(&ours, &[], &RATE), None);
    }
}
