//! The tables that a run prints.

/// What a ratio should be.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Nobody asked for a certain one.
    Open,
}

impl Target {
    fn cells(self, ratio: f64) -> String {
        match self {
            Target::AtLeast(least) => format!("≥ {least:.2} | {}", met(ratio >= least)),
            Target::AtMost(most) => format!("≤ {most:.2} | {}", met(ratio <= most)),
            Target::Open => "| ".to_owned(),
        }
    }
}

/// What both sides of a comparison measured, pair by pair.
#[derive(Default)]
pub struct Pairs {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Pairs {
    pub fn push(&mut self, first: f64, second: f64) {
        self.first.push(first);
        self.second.push(second);
    }

    /// The row of the table, its values with as many decimals as they need.
    pub fn row(mut self, what: &str, target: Target) -> String {
        let mut ratios: Vec<f64> = self
            .first
            .iter()
            .zip(&self.second)
            .map(|(first, second)| first / second)
            .collect();
        let ratio = median(&mut ratios);
        format!(
            "| {what} | {} | {} | {ratio:.2} | {:.2} | {:.2} | {} |",
            number(median(&mut self.first)),
            number(median(&mut self.second)),
            ratios[0],
            ratios[ratios.len() - 1],
            target.cells(ratio),
        )
    }
}

fn number(value: f64) -> String {
    match value < 100.0 {
        true => format!("{value:.2}"),
        false => format!("{value:.0}"),
    }
}

pub fn print_head() {
    println!("| measurement | first | second | median of ratios | from | to | target | |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
}

/// Sorts; the middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn met(target: bool) -> &'static str {
    if target { "met" } else { "**missed**" }
}
