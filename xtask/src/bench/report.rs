//! The table: what was measured, against what, and whether it is good enough.

use std::path::Path;

use serde_json::{Value, json};

use crate::failure::{Context as _, Failure};

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Seconds, shown as a duration.
    Seconds,
    /// Per second.
    Rate,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    Throughput,
    /// A share of one core, as a fraction.
    Share,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Rate => "per second",
            Self::Bytes => "bytes",
            Self::Throughput => "bytes per second",
            Self::Share => "share of one core",
        }
    }

    fn show(self, value: f64) -> String {
        const MIB: f64 = 1024.0 * 1024.0;
        match self {
            Self::Seconds if value < 0.000_1 => format!("{:.1} µs", value * 1e6),
            Self::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Seconds if value < 120.0 => format!("{value:.2} s"),
            Self::Seconds => format!("{:.1} min", value / 60.0),
            Self::Rate if value < 100.0 => format!("{value:.2}/s"),
            Self::Rate => format!("{value:.0}/s"),
            Self::Bytes => format!("{:.1} MiB", value / MIB),
            Self::Throughput => format!("{:.1} MB/s", value / 1e6),
            Self::Share => format!("{:.2} %", value * 100.0),
        }
    }
}

/// What a row is held against.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bar {
    /// The ratio to the yardstick.
    AtMost(f64),
    /// The ratio to the yardstick.
    AtLeast(f64),
    /// The figure itself.
    Within(f64),
    /// Shown only.
    None,
}

/// One line of the table.
#[derive(Clone)]
pub(super) struct Row {
    measure: String,
    unit: Unit,
    ours: f64,
    yardstick: Option<(String, f64)>,
    bar: Bar,
    note: Option<String>,
}

impl Row {
    /// A figure against a yardstick measured in the same run.
    pub(super) fn ratio(
        measure: impl Into<String>,
        unit: Unit,
        ours: f64,
        than: (&str, f64),
        bar: Bar,
    ) -> Self {
        let yardstick = Some((than.0.to_owned(), than.1));
        Self { measure: measure.into(), unit, ours, yardstick, bar, note: None }
    }

    /// A figure that stands for itself.
    pub(super) fn alone(measure: impl Into<String>, unit: Unit, ours: f64, bar: Bar) -> Self {
        Self { measure: measure.into(), unit, ours, yardstick: None, bar, note: None }
    }

    /// The same with a remark below the table.
    pub(super) fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(super) fn measure(&self) -> &str {
        &self.measure
    }

    pub(super) fn unit(&self) -> Unit {
        self.unit
    }

    pub(super) fn ours(&self) -> f64 {
        self.ours
    }

    /// Whether more of it is better.
    pub(super) fn is_better_when_higher(&self) -> bool {
        matches!(self.unit, Unit::Throughput) || matches!(self.bar, Bar::AtLeast(_))
    }

    fn quotient(&self) -> Option<f64> {
        self.yardstick.as_ref().map(|(_, value)| self.ours / value)
    }

    /// `None` when there is no bar.
    pub(super) fn is_ok(&self) -> Option<bool> {
        match self.bar {
            Bar::AtMost(most) => self.quotient().map(|quotient| quotient <= most),
            Bar::AtLeast(least) => self.quotient().map(|quotient| quotient >= least),
            Bar::Within(most) => Some(self.ours <= most),
            Bar::None => None,
        }
    }

    fn bar_text(&self) -> String {
        match self.bar {
            Bar::AtMost(most) => format!("≤ {} ×", hundredths(most)),
            Bar::AtLeast(least) => format!("≥ {} ×", hundredths(least)),
            Bar::Within(most) => format!("≤ {}", self.unit.show(most)),
            Bar::None => String::new(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let (name, value) = match &self.yardstick {
            Some((name, value)) => (name.clone(), self.unit.show(*value)),
            None => Default::default(),
        };
        let verdict = match self.is_ok() {
            Some(true) => "ok",
            Some(false) => "SHORT",
            None => "",
        };
        [
            self.measure.clone(),
            self.unit.show(self.ours),
            name,
            value,
            self.quotient().map_or(String::new(), |quotient| format!("{quotient:.2} ×")),
            self.bar_text(),
            verdict.to_owned(),
        ]
    }

    fn to_json(&self) -> Value {
        let yardstick = self.yardstick.as_ref().map(|(name, value)| json!({ "name": name, "value": value }));
        json!({
            "bar": self.bar_text(),
            "measure": self.measure,
            "note": self.note,
            "ok": self.is_ok(),
            "ours": self.ours,
            "ratio": self.quotient(),
            "unit": self.unit.name(),
            "yardstick": yardstick,
        })
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// All lines, and what could not be measured.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    /// What, and why.
    skipped: Vec<(String, String)>,
    is_quiet: bool,
}

impl Report {
    /// One that is looked at only when it is complete.
    pub(super) fn quiet() -> Self {
        Self { is_quiet: true, ..Self::default() }
    }

    /// All lines, and what was skipped, and why.
    pub(super) fn into_parts(self) -> (Vec<Row>, Vec<(String, String)>) {
        (self.rows, self.skipped)
    }

    pub(super) fn add(&mut self, row: Row) {
        let [measure, ours, _, _, ratio, bar, verdict] = row.cells();
        if !self.is_quiet {
            eprintln!("  {measure}: {ours} {ratio} {bar} {verdict}");
        }
        self.rows.push(row);
    }

    /// Something that is part of the table but was not measured, and why.
    pub(super) fn skip(&mut self, what: &str, why: &str) {
        if !self.is_quiet {
            eprintln!("  {what}: skipped, {why}");
        }
        self.skipped.push((what.to_owned(), why.to_owned()));
    }

    /// How many bars are missed.
    pub(super) fn short(&self) -> usize {
        self.rows.iter().filter(|row| row.is_ok() == Some(false)).count()
    }

    pub(super) fn print(&self) {
        let head = ["measure", "ours", "yardstick", "", "ratio", "bar", ""].map(str::to_owned);
        let lines: Vec<[String; 7]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        // Names to the left, figures to the right.
        let is_text = |column: usize| matches!(column, 0 | 2 | 6);
        for (at, line) in lines.iter().enumerate() {
            let cells = line.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if is_text(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
            if at == 0 {
                println!("{}", "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)));
            }
        }
        for row in self.rows.iter().filter(|row| row.note.is_some()) {
            println!("  {}: {}", row.measure, row.note.as_deref().unwrap_or_default());
        }
        for (what, why) in &self.skipped {
            println!("  not measured: {what}: {why}");
        }
    }

    pub(super) fn write_json(&self, file: &Path, quick: bool) -> Result<(), Failure> {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let skipped: Vec<String> = self.skipped.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        let whole = json!({ "quick": quick, "rows": rows, "short": self.short(), "skipped": skipped });
        let text = serde_json::to_string_pretty(&whole).context("writing JSON")?;
        std::fs::write(file, text + "\n").context(file.display())
    }
}
