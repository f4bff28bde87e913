//! A small line plot as SVG: one panel for each series, the number of jails on a logarithmic axis. Pure.

use std::fmt::Write as _;

use crate::report::short;

/// One line of the plot.
#[derive(Debug)]
pub(crate) struct Series {
    /// what it shows
    pub(crate) label: &'static str,
    /// in what unit
    pub(crate) unit: &'static str,
    /// number of jails, value; both above zero
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 40.0;
const PLOT_WIDTH: f64 = 280.0;
const PLOT_HEIGHT: f64 = 170.0;

/// Draws the series side by side, each from zero to a quarter above its largest value.
pub(crate) fn svg(series: &[Series]) -> String {
    let count = u32::try_from(series.len()).unwrap_or(u32::MAX);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        WIDTH * f64::from(count)
    );
    let mut offset = 0.0;
    for one in series {
        panel(&mut out, one, offset);
        offset += WIDTH;
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, series: &Series, offset: f64) {
    let top_value = series.points.iter().map(|p| p.1).fold(f64::MIN_POSITIVE, f64::max) * 1.25;
    let widest = series.points.iter().map(|p| p.0).fold(10.0, f64::max).log10();
    let x = |jails: f64| offset + LEFT + jails.max(1.0).log10() / widest * PLOT_WIDTH;
    let y = |value: f64| TOP + PLOT_HEIGHT * (1.0 - value / top_value);
    let (left, bottom) = (offset + LEFT, TOP + PLOT_HEIGHT);
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"22\" font-size=\"13\">{}, {}</text>",
        series.label, series.unit
    );
    for step in 0..=4 {
        let value = top_value * f64::from(step) / 4.0;
        let at = y(value);
        let right = left + PLOT_WIDTH;
        let _ = writeln!(out, "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#ddd\"/>");
        let text = short(value);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            left - 5.0,
            at + 4.0
        );
    }
    let mut path = String::new();
    for (nth, &(jails, value)) in series.points.iter().enumerate() {
        let (px, py) = (x(jails), y(value));
        let _ = write!(path, "{}{px:.1} {py:.1}", if nth == 0 { 'M' } else { 'L' });
        let _ = writeln!(out, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"#06c\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{jails}</text>",
            bottom + 16.0
        );
    }
    let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\"/>");
    let middle = left + PLOT_WIDTH / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">jails</text>",
        bottom + 34.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_within_its_panel() {
        let points = vec![(1.0, 4.0), (10.0, 5.0), (300.0, 4.5)];
        let drawn = svg(&[Series { label: "start", unit: "ms", points }]);
        assert_eq!(drawn.matches("<circle").count(), 3);
        for part in drawn.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=LEFT + PLOT_WIDTH).contains(&x), "{x}");
        }
    }

    #[test]
    fn no_points_are_no_panic() {
        assert!(svg(&[Series { label: "none", unit: "ms", points: Vec::new() }]).ends_with("</svg>\n"));
    }
}
