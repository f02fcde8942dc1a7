//! The conditional filters of config.txt: `[pi5]`, `[all]`, `[0x12345678]` and the like.
//!
//! Documented in raspberrypi/documentation, config_txt/conditional.adoc. Filters of the Pi's surroundings (pins, the
//! monitor) or of its own settings (`[bootvar0..]`, `[partition=..]`) cannot be decided here: such sections are skipped, with
//! a remark.

use pinetboot_core::pi::{Model, Profile};

/// The board whose filters match: a plain 3B, 4B or 5B.
#[derive(Debug, Clone, Copy)]
pub(super) struct Board {
    pub(super) model: Model,
    /// The low half of the serial number.
    pub(super) serial: u32,
}

impl Board {
    /// The profile of the model.
    pub(super) const fn profile(&self) -> &'static Profile {
        self.model.profile()
    }
}

/// The filters in force at a line.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    kind: FilterKind,
    holds: Holds,
    text: String,
}

/// > Filters of the same type replace each other [..] Filters of different types can be combined
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterKind {
    Model,
    Serial,
    Edid,
    Gpio,
    Hdmi,
    Tryboot,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Unknown,
}

/// The treatment of the lines below a filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Section<'a> {
    Applies,
    Skipped,
    /// Skipped, because this filter cannot be decided here.
    Unknown(&'a str),
}

impl Filters {
    /// Applies a line `[text]`.
    pub(super) fn set(&mut self, text: &str, board: &Board) {
        let word = text.trim().to_ascii_lowercase();
        if word == "all" {
            return self.0.clear();
        }
        let (kind, holds) = judge(&word, board);
        self.0.retain(|filter| filter.kind != kind);
        self.0.push(Filter { kind, holds, text: text.trim().to_owned() });
    }

    /// Whether the lines below apply.
    pub(super) fn section(&self) -> Section<'_> {
        if self.0.iter().any(|filter| filter.holds == Holds::No) {
            return Section::Skipped;
        }
        match self.0.iter().find(|filter| filter.holds == Holds::Unknown) {
            Some(filter) => Section::Unknown(&filter.text),
            None => Section::Applies,
        }
    }
}

fn judge(word: &str, board: &Board) -> (FilterKind, Holds) {
    let holds = |yes| if yes { Holds::Yes } else { Holds::No };
    if let Some(serial) = word.strip_prefix("0x") {
        // The filter has the whole number or its low half; only the low half is known here.
        let matches = u64::from_str_radix(serial, 16).is_ok_and(|serial| serial as u32 == board.serial);
        return (FilterKind::Serial, holds(matches));
    }
    if let Some(number) = word.strip_prefix("board-type=") {
        let number = number.strip_prefix("0x").map_or(number.parse(), |hex| u32::from_str_radix(hex, 16));
        return (FilterKind::Model, holds(number == Ok(board.profile().board as u32)));
    }
    match word {
        "none" => (FilterKind::Model, Holds::No),
        "tryboot" => (FilterKind::Tryboot, Holds::No),
        _ if word == board.profile().word => (FilterKind::Model, Holds::Yes),
        _ if is_model(word) => (FilterKind::Model, Holds::No),
        // Selects one of two ports, and has no effect on booting.
        _ if word.starts_with("hdmi:") => (FilterKind::Hdmi, Holds::Yes),
        _ if word.starts_with("edid=") => (FilterKind::Edid, Holds::Unknown),
        _ if word.starts_with("gpio") => (FilterKind::Gpio, Holds::Unknown),
        _ => (FilterKind::Other, Holds::Unknown),
    }
}

/// Whether a word is a model filter. The board is a plain 5B, 4B or 3B, so another model's word does not match.
fn is_model(word: &str) -> bool {
    let of_a_family = |model: &Model| model.profile().filters.contains(&word);
    OLDER.contains(&word) || Model::ALL.iter().any(of_a_family)
}

/// Models without network boot.
const OLDER: &[&str] = &["pi0", "pi0w", "pi1", "cm1"];

#[cfg(test)]
mod tests {
    use super::*;

    fn section(filters: &[&str]) -> String {
        let board = Board { model: Model::Pi5, serial: 0xbd98_9ae1 };
        let mut set = Filters::default();
        filters.iter().for_each(|filter| set.set(filter, &board));
        format!("{:?}", set.section())
    }

    #[test]
    fn models_replace_each_other() {
        for applies in ["pi5", "PI5", "all", "board-type=0x17", "board-type=23", "HDMI:0"] {
            assert_eq!(section(&[applies]), "Applies", "{applies}");
        }
        for skipped in ["pi4", "pi3+", "cm5", "pi500", "none", "tryboot", "board-type=0x14", "board-type=x"] {
            assert_eq!(section(&[skipped]), "Skipped", "{skipped}");
        }
        for model in
            ["pi0", "pi02w", "pi1", "pi2", "pi3", "pi400", "pi500+", "cm0", "cm1", "cm3+", "cm4s", "cm5l"]
        {
            assert_eq!(section(&[model]), "Skipped", "{model}");
        }
        assert_eq!(section(&["pi4", "pi5"]), "Applies");
        assert_eq!(section(&["pi5", "cm4"]), "Skipped");
        assert_eq!(section(&["none", "all"]), "Applies");
    }

    #[test]
    fn kinds_combine_until_all() {
        assert_eq!(section(&["0xbd989ae1"]), "Applies");
        assert_eq!(section(&["0x0c8f7e5cbd989ae1", "pi5"]), "Applies");
        assert_eq!(section(&["0x12345678", "pi5"]), "Skipped");
        assert_eq!(section(&["0x12345678", "0xbd989ae1"]), "Applies");
        assert_eq!(section(&["0x12345678", "all"]), "Applies");
    }

    #[test]
    fn what_cannot_be_known_is_said() {
        assert_eq!(section(&["gpio4=1"]), "Unknown(\"gpio4=1\")");
        assert_eq!(section(&["EDID=DEL-U2422H", "pi5"]), "Unknown(\"EDID=DEL-U2422H\")");
        assert_eq!(section(&["gpio4=1", "pi4"]), "Skipped");
        assert_eq!(section(&["bootvar0&0x10"]), "Unknown(\"bootvar0&0x10\")");
    }
}
