//! Plots, as SVG: lines or bars over a few named places, each value with its lowest and highest.

use std::fmt::Write;

use crate::results::Spread;

/// One plot.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) kind: Kind,
    /// The label of the horizontal axis.
    pub(crate) places: Vec<String>,
    pub(crate) series: Vec<Series>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Lines,
    Bars,
}

/// A value for each place; `None` where nothing was measured.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<Spread>>,
    pub(crate) look: Look,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The server under test.
    Ours,
    /// Others, by number.
    Theirs(usize),
    /// No server: dashed.
    Limit,
}

impl Plot {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(
            &mut svg,
            LEFT,
            24.0,
            "start",
            "#222",
            &format!("<tspan font-weight=\"600\">{}</tspan>", escape(&self.title)),
        );
        let top = self.top();
        self.axes(&mut svg, top);
        for (number, series) in self.series.iter().enumerate() {
            match self.kind {
                Kind::Lines => self.line(&mut svg, series, top),
                Kind::Bars => self.bars(&mut svg, number, series, top),
            }
        }
        self.legend(&mut svg);
        svg + "</svg>\n"
    }

    /// The end of the vertical axis: a round number.
    fn top(&self) -> f64 {
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten());
        let most = values.map(|spread| spread.max).fold(0.0, f64::max).max(1e-9);
        step(most) * (most / step(most)).ceil()
    }

    fn axes(&self, svg: &mut String, top: f64) {
        let count = (top / step(top)).round() as usize;
        for tick in 0..=count {
            let value = step(top) * tick as f64;
            let y = height(value, top);
            let colour = if tick == 0 { "#888" } else { "#e5e5e5" };
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{colour}\"/>");
            text(svg, LEFT - 8.0, y + 4.0, "end", "#555", &short(value));
        }
        for (place, name) in self.places.iter().enumerate() {
            text(svg, self.middle(place), BOTTOM + 20.0, "middle", "#555", &escape(name));
        }
    }

    fn line(&self, svg: &mut String, series: &Series, top: f64) {
        let colour = series.look.colour();
        let points: Vec<_> = series
            .values
            .iter()
            .enumerate()
            .filter_map(|(place, spread)| Some((place, (*spread)?)))
            .collect();
        let path: Vec<_> = points
            .iter()
            .map(|(place, spread)| format!("{:.1} {:.1}", self.middle(*place), height(spread.median, top)))
            .collect();
        let (width, dashes) = match series.look {
            Look::Ours => ("3", ""),
            Look::Theirs(_) => ("1.6", ""),
            Look::Limit => ("1.6", " stroke-dasharray=\"5 4\""),
        };
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>",
            path.join("L")
        );
        for (place, spread) in points {
            let x = self.middle(place);
            whisker(svg, x, &spread, top, colour);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.2\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                height(spread.median, top),
                escape(&series.name),
                short(spread.median)
            );
        }
    }

    fn bars(&self, svg: &mut String, number: usize, series: &Series, top: f64) {
        let colour = series.look.colour();
        let room = (RIGHT - LEFT) / self.places.len() as f64 * 0.84;
        let width = room / self.series.len() as f64;
        for (place, spread) in series.values.iter().enumerate() {
            let Some(spread) = spread else { continue };
            let x = self.middle(place) - room / 2.0 + width * number as f64;
            let y = height(spread.median, top);
            let fill = if series.look == Look::Limit { "none" } else { colour };
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\" stroke=\"{colour}\"><title>{}: {}</title></rect>",
                x + 1.0,
                (width - 2.0).max(1.0),
                BOTTOM - y,
                escape(&series.name),
                short(spread.median)
            );
            whisker(svg, x + width / 2.0, spread, top, "#222");
        }
    }

    fn legend(&self, svg: &mut String) {
        for (number, series) in self.series.iter().enumerate() {
            let y = UPPER + 8.0 + 22.0 * number as f64;
            let colour = series.look.colour();
            let dashes = if series.look == Look::Limit { " stroke-dasharray=\"5 4\"" } else { "" };
            let _ = writeln!(
                svg,
                "<path d=\"M{} {y}h22\" stroke=\"{colour}\" stroke-width=\"4\"{dashes}/>",
                RIGHT + 16.0
            );
            let name = match series.look {
                Look::Ours => format!("<tspan font-weight=\"600\">{}</tspan>", escape(&series.name)),
                _ => escape(&series.name),
            };
            text(svg, RIGHT + 46.0, y + 4.5, "start", "#222", &name);
        }
    }

    fn middle(&self, place: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * (place as f64 + 0.5) / self.places.len() as f64
    }
}

impl Look {
    /// Told apart also by the colour-blind (Okabe and Ito), but for ours, which is raspberry.
    fn colour(self) -> &'static str {
        const THEIRS: [&str; 6] = ["#0072b2", "#009e73", "#e69f00", "#56b4e9", "#8a6fb0", "#b0a030"];
        match self {
            Self::Ours => "#c51a4a",
            Self::Theirs(number) => THEIRS[number % THEIRS.len()],
            Self::Limit => "#999",
        }
    }
}

fn whisker(svg: &mut String, x: f64, spread: &Spread, top: f64, colour: &str) {
    let (high, low) = (height(spread.max, top), height(spread.min, top));
    let (left, right) = (x - 3.0, x + 3.0);
    let _ = writeln!(
        svg,
        "<path d=\"M{left:.1} {high:.1}H{right:.1}M{x:.1} {high:.1}V{low:.1}M{left:.1} {low:.1}H{right:.1}\" stroke=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, markup: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{markup}</text>"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn height(value: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - UPPER) * value / top
}

/// A round step, of which 4 to 9 reach this far.
fn step(top: f64) -> f64 {
    let power = 10_f64.powf(top.log10().floor());
    let steps = [0.1, 0.2, 0.25, 0.5, 1.0].map(|part| part * power);
    steps.into_iter().find(|step| top / step <= 8.0).unwrap_or(power)
}

/// The shortest form with enough digits.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 1e3 => format!("{:.1}k", value / 1e3).replace(".0k", "k"),
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').into(),
    }
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 690.0;
const UPPER: f64 = 44.0;
const BOTTOM: f64 = 344.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, top) in [(0.73, 0.8), (9.0, 9.0), (187.0, 200.0), (263_000.0, 300_000.0)] {
            let plot = Plot {
                title: "<x>".into(),
                kind: Kind::Bars,
                places: vec!["1".into()],
                series: vec![Series { name: "a".into(), values: vec![Spread::of([most])], look: Look::Ours }],
            };
            assert!((plot.top() - top).abs() < 1e-6 * top, "{most}: {}", plot.top());
            assert!(plot.svg().contains("&lt;x&gt;"));
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 0.25, 3.5, 12.0, 2500.0, 3000.0, 250_000.0].map(short),
            ["0", "0.25", "3.5", "12", "2.5k", "3k", "250k"]
        );
    }
}
