//! The files of `benches/pktgen`.

use std::path::PathBuf;

use espalier_tests::binaries;

/// Returns the folder.
pub(crate) fn folder() -> PathBuf {
    binaries::repository().join("benches/pktgen")
}

/// Returns name and text of every file with this extension; there is at least one.
pub(crate) fn with_extension(extension: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no .{extension} in {}", folder().display());
    found
}

/// Returns one file.
pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// Returns the commands of a .pkt file: its lines without comments and empty ones.
pub(crate) fn commands(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
