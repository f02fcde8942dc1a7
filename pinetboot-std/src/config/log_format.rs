//! The format of log lines.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text per event, for a terminal or the journal.
    #[default]
    Text,
    /// One JSON object per event, for programs.
    Json,
}
