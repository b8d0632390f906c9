//! Checks the nodes' own logs: a panic is a defect even when no client noticed it.

use std::path::Path;

use crate::error::{Error, Result};

pub(super) fn check(dir: &Path) -> Result<(Vec<String>, String)> {
    let mut problems = Vec::new();
    let mut lines_read = 0;
    for item in std::fs::read_dir(dir).map_err(Error::io(dir.display().to_string()))? {
        let path = item.map_err(Error::io(dir.display().to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let text = std::fs::read(&path).map_err(Error::io(path.display().to_string()))?;
        for line in String::from_utf8_lossy(&text).lines() {
            lines_read += 1;
            if line.contains("panicked at") {
                problems.push(format!("{}: {line}", path.display()));
            }
        }
    }
    Ok((problems, format!("{lines_read} lines of the nodes")))
}
