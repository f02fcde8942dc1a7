//! Settings of templates.

use serde::{Deserialize, Serialize};

/// `[template]` in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TemplateSettings {
    /// File names; a name with a slash is a path from the top of the tree.
    pub files: Vec<String>,
}

impl TemplateSettings {
    pub(super) const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
