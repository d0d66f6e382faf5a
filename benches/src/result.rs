//! The file that a run leaves: what was found, under the head that every result has.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Result;
use crate::machine::Machine;

/// Writes `found`, the members of an object, and returns where it is.
///
/// # Errors
/// Those of the file system.
pub fn write(folder: &Path, machine: &Machine, what: &str, found: Value) -> Result<PathBuf> {
    let mut result = json!({
        "what": what, "machine": machine.json(), "commit": machine.commit, "date": machine.date,
    });
    if let (Some(result), Value::Object(found)) = (result.as_object_mut(), found) {
        result.extend(found);
    }
    std::fs::create_dir_all(folder)?;
    let path = folder.join(machine.file_name());
    std::fs::write(&path, format!("{result:#}\n"))?;
    Ok(path)
}

/// Where results are kept; each kind but the whole engine's has a folder in it.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");
