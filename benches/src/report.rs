//! The report: a table in Markdown, and plots.

mod table;

use std::fs;
use std::path::Path;

use crate::Failed;
use crate::results::Results;

/// Writes all of it into a directory, and the table to standard output.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<(), Failed> {
    let failed =
        |error: std::io::Error| Failed::from(format!("cannot write into {}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    results.write(&directory.join("results.json"))?;
    let table = table::markdown(results);
    fs::write(directory.join("table.md"), &table).map_err(failed)?;
    println!("{table}");
    Ok(())
}
