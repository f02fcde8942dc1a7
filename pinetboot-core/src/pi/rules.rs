//! The catalogue of failures: what a server sees of a Pi that does not boot, why, and what to do.
//!
//! A rule's number stays as long as the project: it is what messages, documentation and bug reports refer to. A new rule
//! takes the next number; a rule that proves wrong keeps its number and says so. Code refers to a rule by its constant
//! ([`NO_BOOT_SERVER`]), not by the number.
//!
//! The texts are sentences without reference to a single case, so that a table of them is documentation; a program that
//! knows the case adds its evidence. All of it is constant data: a firmware that uses one rule carries that one, and one
//! that uses none carries nothing.
//!
//! Not done: deciding whether a rule applies. That takes packets, files and time, which the user of the catalogue has.

mod dhcp;
mod kernel;
mod root;
mod tftp;

use core::fmt;

use super::Model;
use crate::dhcp::NoBoot;

pub use dhcp::*;
pub use kernel::*;
pub use root::*;
pub use tftp::*;

/// A way in which a boot fails.
///
/// ```
/// use pinetboot_core::pi::Model;
/// use pinetboot_core::pi::rules::{NO_BOOT_SERVER, Rule};
///
/// let rule = Rule::find(3).unwrap();
/// assert_eq!(*rule, NO_BOOT_SERVER);
/// assert!(rule.models.contains(Model::Pi5));
/// assert_eq!(rule.to_string(), "rule 3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Its number, from 1.
    pub number: u8,
    /// How far the boot gets.
    pub phase: Phase,
    /// What is to be seen of it from outside the Pi.
    pub symptom: &'static str,
    /// Why.
    pub cause: &'static str,
    /// What to do; commands and settings where there are any.
    pub remedy: &'static str,
    /// The models that it was seen on or documented for.
    pub models: Models,
    /// Where that is written: a repository's issue (`raspberrypi/linux#7339`), a manual, an RFC.
    pub source: &'static str,
    /// How sure it is.
    pub standing: Standing,
    /// Where a server or its operator can see it. Empty: only on the Pi's own screen and LED.
    pub evidence: &'static [Evidence],
}

/// How far a boot gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Phase {
    /// The network, an address and a boot server.
    Dhcp,
    /// The bootloader's files, by TFTP or HTTP.
    Tftp,
    /// The kernel and its initramfs, until the root file system is mounted.
    Kernel,
    /// The system on its root file system.
    Root,
}

/// Which models a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Models {
    /// Any, and those to come.
    All,
    /// These alone.
    Only(&'static [Model]),
}

/// How a rule is known, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Standing {
    /// By a vendor, a standard or source code.
    Documented,
    /// In a public log or packet capture.
    Captured,
    /// Made to happen with a simulated Pi.
    Staged,
    /// By a user or a maintainer.
    Reported,
    /// From the others, by reasoning.
    Inferred,
}

/// A place where a failure leaves traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Evidence {
    /// DHCP packets that reach the server, or their absence.
    Dhcp,
    /// A DHCP exchange begun from this network on purpose (`pinetboot probe`).
    Probe,
    /// Requests for boot files.
    Tftp,
    /// Calls to the NFS server.
    Nfs,
    /// Frames on the server's interface that reach no socket.
    Link,
    /// The files that are served.
    Tree,
    /// The server's own machine.
    Host,
    /// The Pi's screen, UART, NETCONSOLE or journal.
    Console,
    /// The Pi's bootloader configuration.
    Eeprom,
}

/// All rules in order: rule n is at n - 1.
pub const RULES: &[Rule] = &in_order();

impl Rule {
    /// The rule of that number.
    pub const fn find(number: u8) -> Option<&'static Self> {
        let index = (number as usize).wrapping_sub(1);
        if index < RULES.len() { Some(&RULES[index]) } else { None }
    }

    /// The rule, if it is for this model.
    pub fn on(&'static self, model: Model) -> Option<&'static Self> {
        self.models.contains(model).then_some(self)
    }

    /// The rule for a boot that gets no boot server. `None` if the reason is in no rule: no DHCP server at all, or a client
    /// that is no Pi.
    pub const fn of_dhcp(why: &NoBoot) -> Option<&'static Self> {
        match why {
            NoBoot::NoAddress => Some(&PROXY_ALONE),
            NoBoot::KeepsAsking { .. } | NoBoot::GivesUp { .. } => Some(&NO_BOOT_SERVER),
            NoBoot::Relayed => Some(&RELAYED),
            NoBoot::OtherNetwork => Some(&BOOT_SERVER_OUT_OF_REACH),
            NoBoot::NoOffer | NoBoot::NotConfirmed | NoBoot::NoNextServer | NoBoot::NoBootFile => None,
        }
    }
}

/// `rule 3`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.number)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Rule {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "rule {}", self.number);
    }
}

impl Models {
    /// Whether the rule is for this model.
    pub fn contains(&self, model: Model) -> bool {
        match self {
            Self::All => true,
            Self::Only(models) => models.contains(&model),
        }
    }
}

/// Constants of the rules of one phase, each with its symptom as documentation, and all of them in a list.
macro_rules! rules {
    ($phase:ident: $($name:ident = $number:literal {
        symptom: $symptom:literal,
        cause: $cause:literal,
        remedy: $remedy:literal,
        models: $models:expr, standing: $standing:ident, evidence: [$($evidence:ident),*],
        source: $source:literal,
    })+) => {
        $(
            #[doc = concat!("Rule ", $number, ": ", $symptom)]
            pub const $name: Rule = Rule {
                number: $number,
                phase: Phase::$phase,
                symptom: $symptom,
                cause: $cause,
                remedy: $remedy,
                models: $models,
                source: $source,
                standing: Standing::$standing,
                evidence: &[$(Evidence::$evidence),*],
            };
        )+

        pub(super) const PHASE: &[Rule] = &[$($name),+];
    };
}
use rules;

const PI3: Models = Models::Only(&[Model::Pi3]);
const PI4: Models = Models::Only(&[Model::Pi4]);
const PI5: Models = Models::Only(&[Model::Pi5]);
/// Those with start.elf.
const PI3_AND_4: Models = Models::Only(&[Model::Pi3, Model::Pi4]);
/// Those with a bootloader in EEPROM.
const PI4_AND_5: Models = Models::Only(&[Model::Pi4, Model::Pi5]);

const PHASES: [&[Rule]; 4] = [dhcp::PHASE, tftp::PHASE, kernel::PHASE, root::PHASE];

const COUNT: usize = dhcp::PHASE.len() + tftp::PHASE.len() + kernel::PHASE.len() + root::PHASE.len();

/// Puts each rule where its number says. A number that is left out or taken twice does not compile.
const fn in_order() -> [Rule; COUNT] {
    let mut rules = [None; COUNT];
    let mut phase = 0;
    while phase < PHASES.len() {
        let mut row = 0;
        while row < PHASES[phase].len() {
            let rule = PHASES[phase][row];
            let place = &mut rules[rule.number as usize - 1];
            assert!(place.is_none(), "two rules have one number");
            *place = Some(rule);
            row += 1;
        }
        phase += 1;
    }
    let mut all = [NO_BOOT_SERVER; COUNT];
    let mut index = 0;
    while index < COUNT {
        all[index] = rules[index].expect("as many rules as places, and none in one place twice");
        index += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    /// Characters of a text: two lines of a terminal.
    const LIMIT: usize = 200;

    #[test]
    fn every_number_is_there_once_and_in_order() {
        assert!(RULES.iter().map(|rule| rule.number).eq(1..=104));
        for rule in RULES {
            assert_eq!(Rule::find(rule.number), Some(rule));
        }
        assert_eq!((Rule::find(0), Rule::find(105), Rule::find(u8::MAX)), (None, None, None));
        for (phase, rules) in [Phase::Dhcp, Phase::Tftp, Phase::Kernel, Phase::Root].iter().zip(PHASES) {
            assert!(
                rules.iter().all(|rule| rule.phase == *phase) && rules.is_sorted_by_key(|rule| rule.number)
            );
        }
    }

    #[test]
    fn texts_are_sentences_of_two_lines_at_most() {
        for rule in RULES {
            for text in [rule.symptom, rule.cause, rule.remedy] {
                assert!(text.len() > 10 && text.chars().count() <= LIMIT, "{rule}: {} {text}", text.len());
                assert!(text.ends_with('.') && text.trim() == text, "{rule}: {text}");
            }
            assert!(!rule.source.is_empty() && rule.source.len() <= LIMIT, "{rule}: {}", rule.source);
            assert!(rule.models != Models::Only(&[]), "{rule}");
        }
    }

    #[test]
    fn sentences_have_a_subject() {
        for rule in RULES {
            for text in [rule.symptom, rule.cause, rule.remedy] {
                let words = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
                for word in words {
                    let vague = ["someone", "somebody", "nobody", "whoever", "anyone", "something"];
                    assert!(!vague.contains(&word.as_str()), "{rule}: {text}");
                }
            }
        }
    }

    #[test]
    fn no_two_rules_say_the_same() {
        for (index, rule) in RULES.iter().enumerate() {
            for other in &RULES[..index] {
                assert_ne!(rule.symptom, other.symptom, "{rule} {other}");
                assert_ne!(rule.cause, other.cause, "{rule} {other}");
            }
        }
    }

    #[test]
    fn a_rule_is_for_its_models() {
        assert!(Model::ALL.iter().all(|model| NO_BOOT_SERVER.models.contains(*model)));
        assert!(
            CONFIG_OVER_16_KIB.models.contains(Model::Pi5) && !CONFIG_OVER_16_KIB.models.contains(Model::Pi4)
        );
        assert_eq!(CONFIG_OVER_16_KIB.on(Model::Pi5), Some(&CONFIG_OVER_16_KIB));
        assert_eq!(CONFIG_OVER_16_KIB.on(Model::Pi3), None);
        assert_eq!(NO_BOOT_SERVER.to_string(), "rule 3");
    }

    #[test]
    fn dhcp_that_fails_has_its_rule() {
        use crate::dhcp::Shortfall;

        let shortfall = Shortfall::Nothing;
        for (why, number) in [
            (NoBoot::NoAddress, Some(4)),
            (NoBoot::KeepsAsking { shortfall, next_server: None }, Some(3)),
            (NoBoot::GivesUp { shortfall, next_server: None }, Some(3)),
            (NoBoot::Relayed, Some(6)),
            (NoBoot::OtherNetwork, Some(15)),
            (NoBoot::NoOffer, None),
            (NoBoot::NoNextServer, None),
        ] {
            assert_eq!(Rule::of_dhcp(&why).map(|rule| rule.number), number, "{why:?}");
        }
    }
}
