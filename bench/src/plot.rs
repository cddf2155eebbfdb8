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
    pub(crate) points: Vec<(f64, f64)>,
}

/// Width of the lines' area, and of its margins for the labels.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 120.0;
const BOTTOM: f64 = 50.0;
/// Colours that differ also for most readers who do not see all of them.
const COLOURS: [&str; 9] = [
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#d0b000", "#0072b2", "#d55e00", "#cc79a7",
    "#777777",
];

/// A logarithmic axis over whole decades.
///
/// `first` is the power of ten at the beginning of the axis, and `decades` the length of the axis,
/// at least 1.
struct Axis {
    first: f64,
    decades: f64,
}

impl Axis {
    /// Returns the shortest axis for the values. There must be a value, and all must be positive.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (first, last) = (
            values.clone().fold(f64::INFINITY, f64::min).log10().floor(),
            values.fold(0.0, f64::max).log10().ceil(),
        );
        Self { first, decades: (last - first).max(1.0) }
    }

    /// Returns the place of a value, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value.log10() - self.first) / self.decades
    }

    /// Returns the powers of ten on the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        (0..=self.decades as i32).map(|decade| 10_f64.powf(self.first + f64::from(decade)))
    }
}

impl Plot {
    /// Draws the plot. One without points is empty.
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
                @for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
                    (line(series, colour, &at))
                }
                (legend(&self.series))
            }
        }
    }
}

/// Returns true for a point that has a place on both axes.
fn is_positive(point: &&(f64, f64)) -> bool {
    point.0 > 0.0 && point.1 > 0.0
}

/// Draws a line with a circle at each point. `at` maps a point to its place in the plot.
fn line(series: &Series, colour: &str, at: &impl Fn((f64, f64)) -> (f64, f64)) -> Markup {
    let places: Vec<_> = series.points.iter().filter(is_positive).map(|point| at(*point)).collect();
    let path: Vec<_> = places.iter().map(|(left, top)| format!("{left:.1},{top:.1}")).collect();
    html! {
        polyline points=(path.join(" ")) fill="none" stroke=(colour) stroke-width="2" {}
        @for (left, top) in places {
            circle cx=(left) cy=(top) r="3" fill=(colour) {}
        }
    }
}

/// Draws the names of the series, each with the color of its line. Colors repeat after nine series.
fn legend(series: &[Series]) -> Markup {
    let shown = series.iter().zip(COLOURS.iter().cycle()).enumerate();
    html! {
        @for (row, (series, colour)) in shown {
            @let top = TOP + 10.0 + 18.0 * row as f64;
            circle cx=(LEFT + WIDTH + 14.0) cy=(top) r="4" fill=(colour) {}
            text x=(LEFT + WIDTH + 24.0) y=(top + 4.0) { (series.name) }
        }
    }
}

/// Writes a power of ten shortly, as `10k`.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value if value >= 1.0 => format!("{value:.0}"),
        value => format!("{value:.3}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_inside_of_the_axes() {
        let axis = Axis::of([3.0, 512.0].into_iter());
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1000.0]);
        assert!(axis.place(3.0) > 0.0 && axis.place(512.0) < 1.0);
        let one = Axis::of([1.0].into_iter());
        assert_eq!((one.place(1.0), one.decades), (0.0, 1.0));
    }

    #[test]
    fn plot_draws_each_positive_point_and_names_its_series() {
        let points = vec![(1.0, 10.0), (64.0, 0.0), (512.0, 5_000.0)];
        let series = vec![Series { name: "zmq-raw", points }];
        let plot = Plot { title: "speed".to_owned(), x: "calls", y: "calls/s", series };
        let drawn = plot.draw().into_string();
        // Two points, and the legend's.
        assert_eq!(drawn.matches("<circle").count(), 3, "{drawn}");
        assert!(drawn.contains("zmq-raw") && drawn.contains("10k"), "{drawn}");
        let empty = Plot { series: Vec::new(), ..plot };
        assert_eq!(empty.draw().into_string(), "");
    }
}
