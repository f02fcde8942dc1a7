//! The console: lines in, lines out. A board connects it to a serial port, such as that of its USB.

use core::fmt;

use heapless::Vec;

use crate::report::View;

/// The line that is being typed.
#[derive(Debug, Default)]
pub struct Console {
    line: Vec<u8, LONGEST>,
    /// The line is longer than that.
    too_long: bool,
    /// The last byte was a carriage return: a line feed after it ends no line.
    returned: bool,
}

/// What a command makes the board do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start again.
    Reset,
    /// Start again, and ignore the configuration in that run.
    IgnoreConfig,
    /// Start the boot ROM, which shows a drive for a UF2 file.
    Bootsel,
}

impl Console {
    /// A console on which nothing was typed.
    pub const fn new() -> Self {
        Self { line: Vec::new(), too_long: false, returned: false }
    }

    /// Takes in a byte, and writes its echo and, after a line's end, the answer, with line ends for a terminal.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub(crate) fn type_byte(
        &mut self,
        byte: u8,
        view: &View<'_>,
        out: &mut dyn fmt::Write,
    ) -> Result<Option<Action>, fmt::Error> {
        let after_return = core::mem::replace(&mut self.returned, byte == b'\r');
        match byte {
            b'\n' if after_return => Ok(None),
            b'\r' | b'\n' => {
                out.write_str("\r\n")?;
                let line = core::mem::take(&mut self.line);
                let answer = match core::mem::take(&mut self.too_long) {
                    true => out.write_str("the line is too long\r\n").map(|()| None),
                    false => answer(&line, view, &mut Lines(out)),
                };
                out.write_str("> ")?;
                answer
            }
            // Backspace, which terminals send as either.
            8 | 127 => {
                if self.line.pop().is_some() {
                    out.write_str("\u{8} \u{8}")?;
                }
                Ok(None)
            }
            b' '..=b'~' => {
                match self.line.push(byte) {
                    Ok(()) => out.write_char(byte.into())?,
                    Err(_) => self.too_long = true,
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

/// Runs a command.
fn answer(line: &[u8], view: &View<'_>, out: &mut dyn fmt::Write) -> Result<Option<Action>, fmt::Error> {
    match line.trim_ascii() {
        b"" => {}
        b"status" => view.status(out)?,
        b"pis" => view.pis(out)?,
        b"config" => view.config(out)?,
        b"reset" => return Ok(Some(Action::Reset)),
        b"bootsel" => return Ok(Some(Action::Bootsel)),
        b"help" => out.write_str(HELP)?,
        _ => out.write_str("no such command: type help\n")?,
    }
    Ok(None)
}

/// Begins each line at the left edge of a terminal.
struct Lines<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(line) => {
                    self.0.write_str(line)?;
                    self.0.write_str("\r\n")?;
                }
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

const HELP: &str = "\
status   the board, its files and counters
pis      the Pis of the last boots
config   the settings in force
reset    restart the board
bootsel  restart as a USB drive, for a UF2 file
";

/// The longest command, in bytes.
const LONGEST: usize = 32;

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::report::tests::with_view;

    /// What a terminal shows when this is typed, and the actions.
    fn session(typed: &[u8]) -> (String, Vec<Action>) {
        let (mut screen, mut actions) = (String::new(), Vec::new());
        with_view(b"dhcp = 'proxy'", |view| {
            let mut console = Console::new();
            for byte in typed {
                actions.extend(console.type_byte(*byte, &view, &mut screen).unwrap());
            }
        });
        (screen, actions)
    }

    #[test]
    fn a_session() {
        let (screen, actions) = session(b"\rconfig\r\npis\nstatos\x08\x08us\rreset\r");
        let config = "dhcp = \"proxy\"\r\naddress = \"dhcp\"\r\n";
        let (head, tail) = screen.split_once("statos\u{8} \u{8}\u{8} \u{8}us\r\n").unwrap();
        assert_eq!(head, std::format!("\r\n> config\r\n{config}> pis\r\n> "));
        assert!(tail.starts_with("pinetboot ") && tail.ends_with(": no\r\n> reset\r\n> "), "{tail}");
        assert!(!tail.replace("\r\n", "").contains('\n'));
        assert_eq!(actions, [Action::Reset]);
    }

    #[test]
    fn every_command_in_the_help_is_one() {
        for line in HELP.lines() {
            let name = line.split_whitespace().next().unwrap();
            let (screen, _) = session(std::format!("{name}\r").as_bytes());
            assert!(!screen.contains("no such command"), "{name}");
        }
        assert_eq!(session(b"bootsel\n").1, [Action::Bootsel]);
        assert!(session(b"statu\r").0.contains("no such command: type help\r\n"));
    }

    #[test]
    fn noise_on_the_line_is_no_command() {
        let noise: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        assert!(session(&noise).1.is_empty());
        let long = [b"reset".repeat(100), b"\rstatus\r".to_vec()].concat();
        let (screen, actions) = session(&long);
        assert!(screen.contains("the line is too long\r\n> status\r\npinetboot "), "{screen}");
        assert!(actions.is_empty());
    }
}
