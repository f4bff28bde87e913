//! The page: sections of tables, and one table of targets met and missed. Pure.

use std::fmt::Write as _;

use gaoler_bench::stats::Figure;

/// One target of the design's section 10.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// what was measured
    pub(crate) what: String,
    /// what it should be
    pub(crate) target: String,
    /// what it was
    pub(crate) got: String,
    /// whether that is enough; nothing when it could not be measured here
    pub(crate) met: Option<bool>,
}

impl Verdict {
    /// `got` must be at most `most`; nothing when it was not measured.
    pub(crate) fn at_most(what: impl Into<String>, most: f64, got: Option<f64>, unit: &str) -> Self {
        Self::new(what.into(), format!("at most {} {unit}", short(most)), got, unit, |value| value <= most)
    }

    /// `got` must be at least `least`; nothing when it was not measured.
    pub(crate) fn at_least(what: impl Into<String>, least: f64, got: Option<f64>, unit: &str) -> Self {
        Self::new(what.into(), format!("at least {} {unit}", short(least)), got, unit, |value| value >= least)
    }

    fn new(what: String, target: String, got: Option<f64>, unit: &str, enough: impl Fn(f64) -> bool) -> Self {
        let shown =
            got.map_or_else(|| "not measured here".to_owned(), |value| format!("{} {unit}", short(value)));
        Self { what, target, got: shown, met: got.map(enough) }
    }
}

/// A titled part of the page.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// its heading
    pub(crate) title: &'static str,
    /// its text and tables, in Markdown
    pub(crate) text: String,
    /// the targets that it decides
    pub(crate) verdicts: Vec<Verdict>,
}

impl Section {
    /// An empty section.
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, ..Self::default() }
    }

    /// Adds a paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }

    /// Adds a table; every row has as many cells as the head.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let cell = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let line =
            |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
        let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        self.text.push_str(&line(&head));
        self.text.push_str(&line(&vec!["---".to_owned(); head.len()]));
        for row in rows {
            self.text.push_str(&line(row));
        }
        self.text.push('\n');
    }
}

/// The whole page.
pub(crate) fn page(facts: &str, sections: &[Section]) -> String {
    let mut page = String::from("# Benchmarks\n\nWritten by `make bench`; do not edit.\n\n");
    page.push_str(facts);
    page.push_str("\n## Targets\n\nFrom the design, section 10. Each is decided by figures of this run.\n\n");
    page.push_str("| figure | target | here | |\n| --- | --- | --- | --- |\n");
    for verdict in sections.iter().flat_map(|section| &section.verdicts) {
        let mark = match verdict.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "open",
        };
        // Writing to a String does not fail.
        let _ = writeln!(page, "| {} | {} | {} | {mark} |", verdict.what, verdict.target, verdict.got);
    }
    for section in sections {
        let _ = write!(page, "\n## {}\n\n{}", section.title, section.text);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// A number with three digits that matter.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Median and range of a figure; a dash when it was not measured.
pub(crate) fn spread(figure: Option<Figure>) -> String {
    figure.map_or_else(
        || "–".to_owned(),
        |f| format!("{} ({}–{})", short(f.median), short(f.min), short(f.max)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_their_bound() {
        assert_eq!(Verdict::at_most("a", 1.3, Some(1.2), "×").met, Some(true));
        assert_eq!(Verdict::at_most("a", 1.3, Some(1.4), "×").met, Some(false));
        assert_eq!(Verdict::at_least("a", 1.5, None, "×").met, None);
    }

    #[test]
    fn a_page_holds_its_tables_and_verdicts() {
        let mut section = Section::new("Start");
        section.table(&["a", "b"], &[vec!["1".into(), "2\nx|y".into()]]);
        section.verdicts.push(Verdict::at_least("speed", 2.0, Some(1.0), "×"));
        let page = page("facts\n", &[section]);
        assert!(page.contains("| a | b |\n| --- | --- |\n| 1 | 2 x\\|y |\n"));
        assert!(page.contains("| speed | at least 2.00 × | 1.00 × | **missed** |"));
    }
}
