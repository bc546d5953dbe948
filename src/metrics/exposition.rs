//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use super::Histogram;

/// What a number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up, from zero at the start of the daemon.
    Counter,
    /// Times by how long they were.
    Histogram,
}

/// The text, as far as it is written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    /// The metric whose samples follow.
    name: &'static str,
}

impl Exposition {
    /// Begins a metric. Its samples follow.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        self
    }

    /// Adds a number.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let name = self.name;
        self.line(format_args!("{name}{} {}", braces(labels), number(value)));
        self
    }

    /// Adds the samples of a histogram.
    pub fn times(&mut self, labels: &[(&str, &str)], times: &Histogram) -> &mut Self {
        let name = self.name;
        let classes = times.cumulative();
        for &(bound, count) in &classes {
            let bound = number(bound);
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.line(format_args!("{name}_bucket{} {count}", braces(&labels)));
        }
        let labels = braces(labels);
        self.line(format_args!("{name}_sum{labels} {}", number(times.sum().as_secs_f64())));
        // Of the same moment as the classes.
        let count = classes.last().map_or(0, |&(_, count)| count);
        self.line(format_args!("{name}_count{labels} {count}"));
        self
    }

    /// Returns the text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

fn braces(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    format!("{{{}}}", labels.collect::<Vec<_>>().join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_text_is_as_prometheus_has_it() {
        let mut text = Exposition::default();
        text.metric("a_total", Kind::Counter, "How many.")
            .sample(&[], 3.0)
            .sample(&[("of", "x\"\\\n"), ("b", "")], 0.5);
        let times = Histogram::default();
        times.record(Duration::from_millis(3));
        times.record(Duration::from_secs(120));
        text.metric("b_seconds", Kind::Histogram, "How long.").times(&[("step", "read")], &times);
        let text = text.into_text();
        assert!(text.starts_with(
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\na_total{of=\"x\\\"\\\\\\n\",b=\"\"} 0.5\n"
        ));
        for line in [
            "# TYPE b_seconds histogram",
            "b_seconds_bucket{step=\"read\",le=\"0.002\"} 0",
            "b_seconds_bucket{step=\"read\",le=\"0.005\"} 1",
            "b_seconds_bucket{step=\"read\",le=\"60\"} 1",
            "b_seconds_bucket{step=\"read\",le=\"+Inf\"} 2",
            "b_seconds_sum{step=\"read\"} 120.003",
            "b_seconds_count{step=\"read\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
