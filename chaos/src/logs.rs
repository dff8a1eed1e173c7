//! The alarms in the logs of the processes: what the code says must never happen.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Parts of messages that are alarms: each stands beside a counter that is to stay at zero, or is a panic.
const ALARMS: [&str; 5] = [
    "an event is skipped: its version is not the next one",
    "a state in writ.state is not newer than the one before it",
    "an event can't be decoded",
    "panicked at",
    "the server stops because of an error",
];

/// The alarms in all `*.log` files of `folder`, and how many lines were read.
///
/// # Errors
/// A log can't be read.
pub(crate) fn alarms(folder: &Path, names: &[String]) -> Result<(u64, Vec<String>)> {
    let (mut lines, mut found) = (0, Vec::new());
    for name in names {
        let path = folder.join(format!("{name}.log"));
        let Ok(file) = File::open(&path) else { continue };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            let line = String::from_utf8_lossy(&line);
            lines += 1;
            if is_alarm(&line) {
                found.push(format!("{name}: {line}"));
            }
        }
    }
    Ok((lines, found))
}

fn is_alarm(line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_found_in_the_logs_of_the_named_processes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.log"), "fine\nthread 'x' panicked at y\n").unwrap();
        std::fs::write(folder.path().join("b.log"), "panicked at z\n").unwrap();
        let (lines, found) = alarms(folder.path(), &["a".to_owned(), "none".to_owned()]).unwrap();
        assert_eq!((lines, found.len()), (2, 1), "{found:?}");
    }
}
