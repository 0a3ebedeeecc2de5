//! Arguments in, figures out.

/// The number after `name` on the command line.
pub(crate) fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args();
    arguments
        .find(|argument| argument == name)
        .and_then(|_| arguments.next())
        .map_or(default, |value| value.parse().unwrap())
}

/// The median, with the least and the most in brackets.
pub(crate) fn spread(figures: &[f64]) -> String {
    let sorted = sorted(figures);
    let at = |position: usize| sorted.get(position).copied().unwrap_or_default();
    format!(
        "{:.0} [{:.0}, {:.0}]",
        median(figures),
        at(0),
        at(sorted.len().saturating_sub(1))
    )
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 500)
}

/// The figure below which so many of a thousand lie.
pub(crate) fn quantile(figures: &[f64], permille: usize) -> f64 {
    let sorted = sorted(figures);
    let position = (sorted.len() * permille).div_euclid(1_000);
    let position = position.min(sorted.len().saturating_sub(1));
    sorted.get(position).copied().unwrap_or_default()
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
