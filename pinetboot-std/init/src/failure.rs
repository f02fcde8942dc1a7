//! Why the machine cannot go on.

use core::fmt;

use pinetboot_core::pi::rules::Rule;

/// What failed, the remedy, and the rule of the catalogue, which says more.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    remedy: &'static str,
    rule: &'static Rule,
}

impl Failure {
    pub(crate) fn new(rule: &'static Rule, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy, rule }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} [{}]", self.what, self.remedy, self.rule)
    }
}
