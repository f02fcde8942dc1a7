//! The capabilities that this process lacks for a task, and the remedy. Asked of the kernel, not guessed from an error: the same error has
//! other causes.

use std::fmt;

use rustix::thread::CapabilitySet;

/// The capabilities that a task requires and this process lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking(CapabilitySet);

/// Which of these capabilities are not in effect; `None`: all are, or the kernel does not tell.
pub fn lacking(required: CapabilitySet) -> Option<Lacking> {
    let effective = rustix::thread::capabilities(None).ok()?.effective;
    let lacking = required.difference(effective);
    (!lacking.is_empty()).then_some(Lacking(lacking))
}

/// The remedy in a container, for these capabilities: the line of a Compose file.
pub fn in_a_container(required: CapabilitySet) -> String {
    format!("in a container: 'cap_add: [{}]'", names(required, "").join(", "))
}

/// As the end of "this requires ..".
impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(self.0, "CAP_");
        let word = if names.len() == 1 { "the capability" } else { "the capabilities" };
        write!(f, "{word} {}: run pinetboot as root; {}", names.join(", "), in_a_container(self.0))
    }
}

fn names(capabilities: CapabilitySet, prefix: &str) -> Vec<String> {
    capabilities.iter_names().map(|(name, _)| format!("{prefix}{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_is_named_with_the_line_that_grants_it() {
        assert_eq!(lacking(CapabilitySet::empty()), None);
        let two = Lacking(CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_ADMIN);
        let said = "the capabilities CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN: run pinetboot as root; in a container: \
                    'cap_add: [DAC_READ_SEARCH, SYS_ADMIN]'";
        assert_eq!(two.to_string(), said);
        assert!(Lacking(CapabilitySet::NET_RAW).to_string().starts_with("the capability CAP_NET_RAW: run"));
    }
}
