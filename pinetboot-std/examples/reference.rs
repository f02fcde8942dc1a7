//! Writes the reference: man pages to `DIRECTORY/man`, completions to `DIRECTORY/completions`, and the catalogue of failures to
//! `DIRECTORY/rules.md`, which is `docs/rules.md` in the repository.
//!
//! ```sh
//! cargo run --example reference -- DIRECTORY
//! ```
//!
//! A program of its own, which `.ci/release` runs: `pinetboot` itself carries neither the pages nor their generators.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use pinetboot::cli::Cli;
use pinetboot::explain;

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    write(&directory.ok_or_else(|| io::Error::other("usage: reference DIRECTORY"))?)
}

fn write(directory: &Path) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), man)?;
    for shell in SHELLS {
        generate_to(shell, &mut visible(), PROGRAM, &completions)?;
    }
    fs::write(directory.join("rules.md"), explain::markdown())
}

/// The command line without the commands that only the program itself starts: clap_complete offers hidden ones too.
fn visible() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new(PROGRAM).version("").args(all.get_arguments().cloned()).subcommands(commands)
}

const PROGRAM: &str = "pinetboot";
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of visible commands, with those above them, as in `pinetboot roots list`.
    fn names(command: &Command, above: &str) -> Vec<String> {
        let name = format!("{above}{}", command.get_name());
        let below = command.get_subcommands().filter(|below| !below.is_hide_set());
        let below: Vec<_> = below.flat_map(|below| names(below, &format!("{name} "))).collect();
        [name].into_iter().chain(below).collect()
    }

    #[test]
    fn the_page_of_the_rules_is_current() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md");
        let remedy = "cargo run --example reference -- DIRECTORY, and copy DIRECTORY/rules.md there";
        assert!(fs::read_to_string(page).unwrap() == explain::markdown(), "{page} is not current: {remedy}");
    }

    #[test]
    fn every_visible_command_has_a_page_and_every_option_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        let mut pages: Vec<_> = fs::read_dir(directory.path().join("man"))
            .unwrap()
            .map(|page| page.unwrap().file_name().into_string().unwrap())
            .collect();
        pages.sort();
        let mut expected: Vec<_> =
            names(&Cli::command(), "").iter().map(|name| format!("{}.1", name.replace(' ', "-"))).collect();
        expected.sort();
        assert_eq!(pages, expected);
        assert!(pages.contains(&"pinetboot-roots-list.1".to_owned()), "{pages:?}");

        for (shell, file) in SHELLS.into_iter().zip(["pinetboot.bash", "_pinetboot", "pinetboot.fish"]) {
            let text = fs::read_to_string(directory.path().join("completions").join(file)).unwrap();
            for command in visible().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
                for option in command.get_opts().filter_map(|option| option.get_long()) {
                    assert!(text.contains(option), "{shell}: {} --{option}", command.get_name());
                }
            }
            for hidden in ["mounter", "nfsd"] {
                assert!(
                    !text.contains(&format!("{hidden})")) && !text.contains(&format!("\"{hidden}\"")),
                    "{shell}"
                );
            }
        }
    }
}
