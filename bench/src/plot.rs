//! Line plots with logarithmic axes, as SVG.

use maud::{Markup, html};

/// A plot of several series over one quantity.
pub(crate) struct Plot {
    pub(crate) title: String,
    /// The label of the horizontal axis.
    pub(crate) x: &'static str,
    /// The label of the vertical axis.
    pub(crate) y: &'static str,
    pub(crate) series: Vec<Series>,
}

/// A named line through points. Only positive values have a place on the axes.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// The place among all series that there may be, from 0, which decides on the look.
    pub(crate) place: usize,
    /// The horizontal and the vertical value of each point. The line joins them in this order.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Width of the lines' area, in units of the SVG's `viewBox`, as are all lengths here.
const WIDTH: f64 = 480.0;
/// Height of the lines' area.
const HEIGHT: f64 = 280.0;
/// Margin for the label and the numbers of the vertical axis.
const LEFT: f64 = 70.0;
/// Margin for the title.
const TOP: f64 = 30.0;
/// Margin for the names of the series.
const RIGHT: f64 = 120.0;
/// Margin for the numbers and the label of the horizontal axis.
const BOTTOM: f64 = 50.0;
/// Colors that differ also for most readers who do not see all of them. Each serves three series.
const COLORS: [&str; 9] = [
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#d0b000", "#0072b2", "#d55e00", "#cc79a7",
    "#777777",
];

/// A logarithmic axis, whose ends are powers of ten, or twice or five times such.
struct Axis {
    /// The numbers at the axis, which ascend. There are at least two.
    ticks: Vec<f64>,
}

/// The numbers of a decade at which an axis may end.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
/// The numbers at an axis at most. An axis with more of them has the powers of ten alone.
const TICKS_MAX: usize = 10;

impl Axis {
    /// Returns the shortest axis for the values. There must be a value, and all must be positive.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (least, most) =
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max));
        let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        let decades = (first..=last).map(|decade| 10_f64.powi(decade));
        let all: Vec<_> = decades.flat_map(|decade| STEPS.map(|step| step * decade)).collect();
        // Products differ from the numbers that they stand for by a rounding error.
        let begin = all.iter().rposition(|tick| *tick <= least * (1.0 + 1e-9)).unwrap_or(0);
        let end = all.iter().position(|tick| *tick >= most * (1.0 - 1e-9)).unwrap_or(all.len() - 1);
        let ticks = all.get(begin..=end.max(begin + 1)).unwrap_or(&all).to_vec();
        Self { ticks }
    }

    /// Returns the place of a value, from 0 to 1. The value must be on the axis.
    fn place(&self, value: f64) -> f64 {
        let (first, last) = (self.ticks[0].log10(), self.ticks[self.ticks.len() - 1].log10());
        (value.log10() - first) / (last - first)
    }

    /// Returns the numbers to write at the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let has_room = self.ticks.len() <= TICKS_MAX;
        let is_power = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
        self.ticks.iter().copied().filter(move |tick| has_room || is_power(tick))
    }
}

impl Plot {
    /// Draws the plot. One without points is empty.
    ///
    /// The vertical axis of SVG points down, so the places of values are turned.
    pub(crate) fn draw(&self) -> Markup {
        let points = || self.series.iter().flat_map(|series| &series.points).filter(is_positive);
        if points().next().is_none() {
            return html! {};
        }
        let x = Axis::of(points().map(|point| point.0));
        let y = Axis::of(points().map(|point| point.1));
        let at = |point: (f64, f64)| {
            (LEFT + WIDTH * x.place(point.0), TOP + HEIGHT * (1.0 - y.place(point.1)))
        };
        let (width, height) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
        html! {
            svg viewBox=(format!("0 0 {width} {height}")) width=(width) role="img" {
                title { (self.title) }
                text x=(LEFT) y="18" class="title" { (self.title) }
                @for tick in x.ticks() {
                    @let (left, bottom) = (LEFT + WIDTH * x.place(tick), TOP + HEIGHT);
                    line x1=(left) x2=(left) y1=(TOP) y2=(bottom) class="grid" {}
                    text x=(left) y=(bottom + 16.0) text-anchor="middle" { (short(tick)) }
                }
                @for tick in y.ticks() {
                    @let top = TOP + HEIGHT * (1.0 - y.place(tick));
                    line x1=(LEFT) x2=(LEFT + WIDTH) y1=(top) y2=(top) class="grid" {}
                    text x=(LEFT - 6.0) y=(top + 4.0) text-anchor="end" { (short(tick)) }
                }
                text x=(LEFT + WIDTH / 2.0) y=(height - 10.0) text-anchor="middle" { (self.x) }
                text transform=(format!("translate(14 {}) rotate(-90)", TOP + HEIGHT / 2.0))
                    text-anchor="middle" { (self.y) }
                @for series in &self.series {
                    (line(series, &at))
                }
                (legend(&self.series))
            }
        }
    }
}

/// The look of a series: the color of its line and circles, and how both are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    color: &'static str,
    /// The inside of the circles.
    fill: &'static str,
    /// The dashes of the line, as of `stroke-dasharray`.
    dashes: &'static str,
}

impl Look {
    /// Returns the look of a place: full lines for the first nine, then dashed ones in the same
    /// colors, with hollow circles, and then dotted ones.
    fn of(place: usize) -> Self {
        let color = COLORS[place % COLORS.len()];
        match place / COLORS.len() {
            0 => Self { color, fill: color, dashes: "none" },
            1 => Self { color, fill: "#ffffff", dashes: "6 4" },
            _ => Self { color, fill: color, dashes: "2 3" },
        }
    }
}

/// Returns true for a point that has a place on both axes.
fn is_positive(point: &&(f64, f64)) -> bool {
    point.0 > 0.0 && point.1 > 0.0
}

/// Draws a line with a circle at each point. `at` maps a point to its place in the plot.
///
/// Points without a place are left out, and the line joins their neighbors.
fn line(series: &Series, at: &impl Fn((f64, f64)) -> (f64, f64)) -> Markup {
    let Look { color, fill, dashes } = Look::of(series.place);
    let places: Vec<_> = series.points.iter().filter(is_positive).map(|point| at(*point)).collect();
    let path: Vec<_> = places.iter().map(|(left, top)| format!("{left:.1},{top:.1}")).collect();
    html! {
        polyline points=(path.join(" ")) fill="none" stroke=(color) stroke-width="2"
            stroke-dasharray=(dashes) {}
        @for (left, top) in places {
            circle cx=(left) cy=(top) r="3" stroke=(color) fill=(fill) {}
        }
    }
}

/// Draws the names of the series, each with a circle of its look.
fn legend(series: &[Series]) -> Markup {
    html! {
        @for (row, series) in series.iter().enumerate() {
            @let (top, look) = (TOP + 10.0 + 18.0 * row as f64, Look::of(series.place));
            circle cx=(LEFT + WIDTH + 14.0) cy=(top) r="4" stroke=(look.color) fill=(look.fill) {}
            text x=(LEFT + WIDTH + 24.0) y=(top + 4.0) { (series.name) }
        }
    }
}

/// Writes a number of an axis shortly, as `10k` or `0.001`. One that needs more decimals is `1e-4`.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value if value >= 1.0 => format!("{value:.0}"),
        value if value >= 5e-4 => format!("{value:.3}").trim_end_matches('0').to_owned(),
        value => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Subject;

    #[test]
    fn points_lie_inside_of_the_axes() {
        let axis = Axis::of([3.0, 512.0].into_iter());
        assert_eq!(
            axis.ticks().collect::<Vec<_>>(),
            [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
        assert!(axis.place(3.0) > 0.0 && axis.place(512.0) < 1.0);
        let one = Axis::of([1.0].into_iter());
        assert_eq!((one.place(1.0), one.ticks), (0.0, vec![1.0, 2.0]));
        let long = Axis::of([1.0, 100_000.0].into_iter());
        assert_eq!(long.ticks().count(), 6);
    }

    #[test]
    fn plot_draws_each_positive_point_and_names_its_series() {
        let points = vec![(1.0, 10.0), (64.0, 0.0), (512.0, 5_000.0)];
        let series = vec![Series { name: "zmq-raw", place: 0, points }];
        let plot = Plot { title: "speed".to_owned(), x: "calls", y: "calls/s", series };
        let drawn = plot.draw().into_string();
        // Two points, and the legend's.
        assert_eq!(drawn.matches("<circle").count(), 3, "{drawn}");
        assert!(drawn.contains("zmq-raw") && drawn.contains("5k"), "{drawn}");
        let empty = Plot { series: Vec::new(), ..plot };
        assert_eq!(empty.draw().into_string(), "");
    }

    #[test]
    fn series_of_all_subjects_look_different() {
        let places = Subject::all().count();
        for place in 0..places {
            assert!((0..place).all(|other| Look::of(other) != Look::of(place)), "{place}");
        }
    }

    #[test]
    fn powers_of_ten_are_written_with_a_digit_that_counts() {
        let powers = [-5, -3, -1, 0, 2, 4, 6].map(|power| short(10_f64.powi(power)));
        assert_eq!(powers, ["1e-5", "0.001", "0.1", "1", "100", "10k", "1M"]);
    }
}
