//! Questions on a terminal, a line each; or their defaults.

use std::io::{self, BufRead, IsTerminal};

use super::told;
use crate::exit::{Exit, Failed};
use crate::output::Output;

/// The way to answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The operator, on the terminal of standard input.
    Terminal,
    /// The defaults (`--yes`).
    Defaults,
    /// None: no terminal, and no `--yes`.
    Nothing,
}

/// A question.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// The argument that answers it: `--interface`, `IMAGE`.
    pub(super) argument: &'a str,
    /// The text of the question.
    pub(super) text: &'a str,
    /// The default; `None`: the answer is required.
    pub(super) default: Option<String>,
    /// The reason of the default.
    pub(super) why: &'a str,
}

impl Ask {
    /// The defaults if they are wanted, else the terminal.
    pub(super) fn new(yes: bool) -> Self {
        match (yes, io::stdin().is_terminal()) {
            (true, _) => Self::Defaults,
            (false, true) => Self::Terminal,
            (false, false) => Self::Nothing,
        }
    }

    /// Asks until `parse` takes the answer.
    ///
    /// # Errors
    ///
    /// Without a terminal, or if it closes; without a default for `--yes`. The message names the option.
    pub(super) fn ask<T>(
        self,
        question: &Question<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
        out: &mut Output,
    ) -> Result<T, Failed> {
        let Question { argument, text, default, why } = question;
        let usage = |why: String| Failed::new(Exit::Usage, why);
        match self {
            Self::Nothing => Err(usage(format!(
                "no terminal for the question \"{text}\": give {argument}, or --yes for all defaults"
            ))),
            Self::Defaults => {
                let Some(default) = default else {
                    return Err(usage(format!("--yes has no default for \"{text}\": give {argument}")));
                };
                let answer = parse(default).map_err(|why| usage(format!("{argument}: {why}")))?;
                told(out, &argument.trim_start_matches('-').to_lowercase(), default, why)?;
                Ok(answer)
            }
            Self::Terminal => loop {
                writeln!(out, "\n{text}")?;
                match default {
                    Some(default) => write!(out, "  [{default}: {why}] ")?,
                    None => write!(out, "  ")?,
                }
                out.finish()?;
                let line = read_line()?;
                let answer = if line.is_empty() { default.as_deref() } else { Some(line.as_str()) };
                match answer.map(&parse) {
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(why)) => writeln!(out, "  {why}")?,
                    None => writeln!(out, "  The answer has no default.")?,
                }
            },
        }
    }

    /// Parses the answer to a question of yes or no.
    pub(super) fn yes_or_no(answer: &str) -> Result<bool, String> {
        match answer {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            other => Err(format!("{other} is neither yes nor no")),
        }
    }

    /// Shows what is about to be done, and on a terminal asks for consent.
    ///
    /// # Errors
    ///
    /// Without consent.
    pub(super) fn confirm(self, plan: &str, out: &mut Output) -> Result<(), Failed> {
        writeln!(out, "\nSteps:")?;
        for line in plan.lines() {
            writeln!(out, "  {line}")?;
        }
        if self != Self::Terminal {
            return out.finish();
        }
        let question = Question {
            argument: "--yes",
            text: "Go on?",
            default: Some("yes".into()),
            why: "nothing is written so far",
        };
        match self.ask(&question, Self::yes_or_no, out)? {
            true => Ok(()),
            false => Err(Failed::new(Exit::Interrupted, "stopped; nothing was written")),
        }
    }
}

/// A line of standard input, without blanks at its ends.
fn read_line() -> Result<String, Failed> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match read.map_err(|error| Failed::new(Exit::Failure, format!("cannot read the terminal: {error}")))? {
        0 => Err(Failed::new(Exit::Interrupted, "the terminal closed; nothing was written")),
        _ => Ok(line.trim().to_owned()),
    }
}
