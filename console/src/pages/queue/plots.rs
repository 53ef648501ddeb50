//! Plots of how the queue was, made here: no script draws them, and their figures stand beside them as a table.

use crate::ui::Ui;
use domain::Timestamp;
use domain::queue::samples::{Sample, Span};

/// The plots' box, in its own units.
pub(crate) const WIDTH: i64 = 600;
/// Its height.
pub(crate) const HEIGHT: i64 = 120;

const MINUTE_MS: i64 = 60_000;

/// A line of a plot.
pub(crate) struct Series {
    /// The key of its name.
    pub(crate) key: &'static str,
    /// Its points, in pieces: between two there is a time of which nothing is known.
    pub(crate) pieces: Vec<String>,
    /// Its last value, if that is of now.
    pub(crate) last: Option<i64>,
    /// Its values from the plot's beginning on, apart by commas; nothing where nothing is known.
    pub(crate) values: String,
}

/// A plot.
pub(crate) struct Plot {
    /// The key of its title.
    pub(crate) key: &'static str,
    pub(crate) series: Vec<Series>,
    /// The value at its upper edge.
    pub(crate) most: i64,
    /// When it begins, and how long each of its samples is, in milliseconds.
    pub(crate) from: i64,
    pub(crate) step: i64,
}

impl Plot {
    /// What it shows, for who cannot see it: its lines and their last values.
    pub(crate) fn label(&self, ui: &Ui) -> String {
        let said = self.series.iter().map(|series| {
            let last = series.last.map_or_else(|| "–".to_owned(), |last| ui.number(&last));
            format!("{} {last}", ui.t(series.key))
        });
        format!("{}: {}", ui.t(self.key), said.collect::<Vec<_>>().join(", "))
    }
}

/// A value that a plot's edge may stand for: 1, 2 or 5 of a power of ten.
pub(crate) fn edge(most: i64) -> i64 {
    let mut power = 1;
    loop {
        for step in [1, 2, 5] {
            if power * step >= most || power >= i64::MAX / 100 {
                return power * step;
            }
        }
        power *= 10;
    }
}

/// One line's key and how its value is read from a sample.
type Line = (&'static str, fn(&Sample, i64) -> i64);

fn plot(key: &'static str, lines: &[Line], samples: &[Sample], from: Timestamp, span: Span) -> Plot {
    let minutes = span.minutes();
    let value = |line: &Line, sample: &Sample| line.1(sample, minutes);
    let most = lines.iter().flat_map(|line| samples.iter().map(move |sample| value(line, sample))).max();
    let most = edge(most.unwrap_or(0).max(1));
    let place = |sample: &Sample| (sample.at.0 - from.0) / (minutes * MINUTE_MS);
    let series = lines.iter().map(|line| {
        let mut pieces: Vec<String> = Vec::new();
        let mut before = None;
        for sample in samples {
            let at = place(sample);
            let x = at * WIDTH / (span.samples() - 1).max(1);
            let y = HEIGHT - value(line, sample).min(most) * HEIGHT / most;
            let point = format!("{x},{y}");
            match pieces.last_mut().filter(|_| before == Some(at - 1)) {
                Some(piece) => *piece = format!("{piece} {point}"),
                // A piece of one point is a dash, so that it is seen.
                None => pieces.push(format!("{},{y} {point}", (x - 2).max(0))),
            }
            before = Some(at);
        }
        let newest = samples.last().filter(|sample| place(sample) >= span.samples() - 2);
        let mut values = vec![String::new(); usize::try_from(span.samples()).unwrap_or_default()];
        for sample in samples {
            if let Some(known) = usize::try_from(place(sample)).ok().and_then(|at| values.get_mut(at)) {
                *known = value(line, sample).to_string();
            }
        }
        Series { key: line.0, pieces, last: newest.map(|sample| value(line, sample)), values: values.join(",") }
    });
    Plot { key, series: series.collect(), most, from: from.0, step: minutes * MINUTE_MS }
}

/// The plots of a span that ends now.
pub(crate) fn plots(now: Timestamp, span: Span, samples: &[Sample]) -> Vec<Plot> {
    let width = span.minutes() * MINUTE_MS;
    let from = Timestamp((now.0.div_euclid(width) - span.samples() + 1) * width);
    let make = |key, lines: &[Line]| plot(key, lines, samples, from, span);
    vec![
        make(
            "plot-decided",
            &[
                ("succeeded", |sample, minutes| sample.succeeded / minutes),
                ("failed", |sample, minutes| sample.failed / minutes),
            ],
        ),
        make(
            "plot-waiting",
            &[
                ("lane-critical", |sample, _| sample.waiting[0]),
                ("lane-default", |sample, _| sample.waiting[1]),
                ("lane-bulk", |sample, _| sample.waiting[2]),
            ],
        ),
        make(
            "plot-behind",
            &[
                ("lane-critical", |sample, _| sample.behind_ms[0] / 1_000),
                ("lane-default", |sample, _| sample.behind_ms[1] / 1_000),
                ("lane-bulk", |sample, _| sample.behind_ms[2] / 1_000),
            ],
        ),
        make(
            "plot-jobs",
            &[
                ("plot-ended", |sample, minutes| sample.ended / minutes),
                ("plot-died", |sample, minutes| sample.died / minutes),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_a_round_value_above() {
        for (most, at) in [(1, 1), (2, 2), (3, 5), (7, 10), (11, 20), (99, 100), (101, 200), (4_001, 5_000)] {
            assert_eq!(edge(most), at, "{most}");
        }
    }

    #[test]
    fn a_time_of_which_nothing_is_known_parts_a_line() {
        let now = Timestamp(100 * MINUTE_MS);
        let at = |minute: i64, succeeded| Sample { at: Timestamp(minute * MINUTE_MS), succeeded, ..Sample::default() };
        let plots = plots(now, Span::Hour, &[at(41, 0), at(42, 10), at(99, 5), at(100, 10)]);
        let line = &plots[0].series[0];
        assert_eq!((plots[0].most, line.pieces.len(), line.last), (10, 2, Some(10)));
        assert_eq!(line.pieces[0], "0,120 0,120 10,0");
        assert_eq!(line.values.matches(',').count(), 59);
        assert!(line.values.starts_with("0,10,,") && line.values.ends_with(",5,10"), "{}", line.values);
        assert!(line.pieces[1].ends_with(&format!("{WIDTH},0")), "{}", line.pieces[1]);
    }
}
