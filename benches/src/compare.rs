//! Two results side by side: by how much each row changed, and whether that is more than its windows differ anyway.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::Result;

/// A figure with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figure {
    min: f64,
    median: f64,
    max: f64,
}

impl Figure {
    /// Reads it; early results have some figures without a spread.
    fn read(value: &Value) -> Option<Self> {
        if let Some(only) = value.as_f64() {
            return Some(Self { min: only, median: only, max: only });
        }
        let of = |name: &str| value.get(name)?.as_f64();
        Some(Self { min: of("min")?, median: of("median")?, max: of("max")? })
    }

    /// Returns by which part the median has changed.
    fn change_to(self, new: Self) -> f64 {
        new.median / self.median - 1.0
    }

    /// Whether the spreads have nothing in common.
    fn is_apart_from(self, new: Self) -> bool {
        self.max < new.min || new.max < self.min
    }
}

/// What is compared: where it stands in a row, and its name.
const FIGURES: [(&str, &str, usize); 3] =
    [("ratio", "engine to AEAD + I/O", 2), ("cpu_ns_per_packet", "engine, ns", 1), ("mpps", "Mpps", 2)];

/// Returns the two newest results of a folder, the older first.
///
/// # Errors
/// There are fewer than two.
pub fn newest(folder: &Path) -> Result<[PathBuf; 2]> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    // A name begins with the time of the run.
    files.sort();
    match files.as_slice() {
        [.., older, newer] => Ok([older.clone(), newer.clone()]),
        _ => bail!("{} holds fewer than two results", folder.display()),
    }
}

/// Prints two result files side by side.
///
/// # Errors
/// One cannot be read; they have no row in common.
pub fn print(old: &Path, new: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<Value> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    };
    let lines = lines(&read(old)?, &read(new)?);
    if lines.is_empty() {
        bail!("{} and {} have no row in common", old.display(), new.display());
    }
    println!("old: {}\nnew: {}", old.display(), new.display());
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Makes the lines of the comparison, none without a row in common.
fn lines(old: &Value, new: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for row in new["rows"].as_array().into_iter().flatten() {
        let same = |other: &&Value| key(other) == key(row);
        if let Some(before) = old["rows"].as_array().into_iter().flatten().find(same) {
            let (name, octets) = key(row);
            let figures = FIGURES.iter().filter_map(|figure| compared(before, row, figure));
            lines.push(format!("{name:>10} {octets:>5}  {}", figures.collect::<Vec<_>>().join("  ")));
        }
    }
    if lines.is_empty() {
        return lines;
    }
    let heads: Vec<_> = FIGURES.iter().map(|(_, name, _)| format!("{name:<34}")).collect();
    lines.insert(0, format!("{:>10} {:>5}  {}", "row", "inner", heads.join("  ").trim_end()));
    if old["machine"]["cpu"] != new["machine"]["cpu"] {
        lines.push("other machines: only engine to AEAD + I/O may be compared".to_owned());
    }
    lines.push("medians; * : the windows of the two have nothing in common".to_owned());
    lines
}

/// What names a row. Early results have one row only.
fn key(row: &Value) -> (&str, u64) {
    (row["row"].as_str().unwrap_or("out1"), row["inner_octets"].as_u64().unwrap_or_default())
}

fn compared(old: &Value, new: &Value, (place, _, digits): &(&str, &str, usize)) -> Option<String> {
    let (old, new) = (Figure::read(&old[place])?, Figure::read(&new[place])?);
    let mark = if old.is_apart_from(new) { '*' } else { ' ' };
    let change = old.change_to(new) * 100.0;
    Some(format!("{:>10.digits$} -> {:>10.digits$} {change:>+6.1} % {mark}", old.median, new.median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figure(min: f64, median: f64, max: f64) -> Value {
        json!({"min": min, "median": median, "max": max, "windows": []})
    }

    fn result(row: &str, ratio: &Value) -> Value {
        let rows = [json!({"row": row, "inner_octets": 64, "ratio": ratio})];
        json!({"machine": {"cpu": "a"}, "rows": rows})
    }

    #[test]
    fn a_change_is_that_of_the_medians() {
        let of = |median| Figure::read(&figure(1.0, median, 9.0)).unwrap();
        assert!((of(4.0).change_to(of(5.0)) - 0.25).abs() < 1e-12);
        assert!((of(4.0).change_to(of(3.0)) + 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_change_is_marked_only_where_the_spreads_are_apart() {
        let marked =
            |old: &Value, new: &Value| lines(&result("in1", old), &result("in1", new))[1].contains('*');
        assert!(marked(&figure(1.0, 2.0, 3.0), &figure(3.1, 4.0, 5.0)));
        assert!(marked(&figure(3.1, 4.0, 5.0), &figure(1.0, 2.0, 3.0)));
        assert!(!marked(&figure(1.0, 2.0, 3.0), &figure(3.0, 4.0, 5.0)));
        assert!(marked(&json!(2.0), &figure(3.1, 4.0, 5.0)));
    }

    #[test]
    fn rows_are_matched_by_name_and_length_and_a_row_without_name_is_the_first_there_was() {
        let ratio = figure(1.0, 2.0, 3.0);
        assert!(lines(&result("in1", &ratio), &result("out1", &ratio)).is_empty());
        let mut early = result("out1", &ratio);
        early["rows"][0]["row"] = Value::Null;
        let lines = lines(&early, &result("out1", &ratio));
        assert!(lines[1].contains("out1") && lines[1].contains("+0.0 %"), "{lines:?}");
    }
}
