//! The words of help texts, log lines and errors: no phrase without a subject, and a default for each option.
//!
//! String literals are read from the sources as text; tests and comments do not count. Not done: the words of comments, and
//! of strings that a macro puts together.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "words/arguments.rs"]
mod arguments;
#[path = "words/output.rs"]
mod output;

use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};
use pinetboot::cli::Cli;
use walkdir::WalkDir;

/// Phrases that hide the subject or say nothing. Name the client, the worker, the file or the server instead.
const PHRASES: [&str; 14] = [
    "someone",
    "nobody",
    "whoever",
    "whatever",
    "for ever",
    "of its own",
    "of their own",
    "goes by",
    "as it is",
    "for so long",
    "so many",
    "what there is",
    "there is no",
    "is there",
];

#[test]
fn strings_name_their_subject() {
    let mut faults = Vec::new();
    let roots = ["src", "nfs/src", "image/src"].map(|root| Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
    for root in roots.into_iter().filter(|root| root.is_dir()) {
        for entry in WalkDir::new(&root) {
            let entry = entry.unwrap();
            let file = entry.path().strip_prefix(&root).unwrap().display().to_string();
            if !file.ends_with(".rs") || file.ends_with("tests.rs") {
                continue;
            }
            for text in strings(&fs::read_to_string(entry.path()).unwrap()) {
                faults.extend(phrase_in(&text).map(|phrase| format!("{file}: {phrase:?} in {text:?}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn help_names_its_subject_and_each_option_its_default() {
    let mut faults = Vec::new();
    for command in Cli::command().get_subcommands() {
        check(command, command.get_name(), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check(command: &Command, name: &str, faults: &mut Vec<String>) {
    let texts = [command.get_about(), command.get_long_about(), command.get_after_help()];
    let mut texts: Vec<String> = texts.into_iter().flatten().map(ToString::to_string).collect();
    for arg in command.get_arguments() {
        let help = [arg.get_help(), arg.get_long_help()].into_iter().flatten().map(ToString::to_string);
        let help = help.collect::<Vec<_>>().join("\n");
        let values = arg.get_possible_values();
        texts.extend(values.iter().filter_map(|value| value.get_help()).map(ToString::to_string));
        if takes_a_value(arg) && !names_its_default(arg, &help) {
            faults.push(format!("{name} --{}: no [default: ..] in {help:?}", arg.get_id()));
        }
        texts.push(help);
    }
    for text in texts {
        faults.extend(phrase_in(&text).map(|phrase| format!("{name} --help: {phrase:?} in {text:?}")));
    }
    for below in command.get_subcommands() {
        check(below, &format!("{name} {}", below.get_name()), faults);
    }
}

fn takes_a_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn names_its_default(arg: &Arg, help: &str) -> bool {
    arg.is_required_set()
        || !arg.get_default_values().is_empty()
        || help.contains("[default:")
        || help.contains("required")
}

fn phrase_in(text: &str) -> Option<&'static str> {
    let letters = |c: char| if c.is_alphanumeric() || c == '\'' { c.to_ascii_lowercase() } else { ' ' };
    let words: String = text.chars().map(letters).collect();
    let words = format!(" {} ", words.split_whitespace().collect::<Vec<_>>().join(" "));
    PHRASES.into_iter().find(|phrase| words.contains(&format!(" {phrase} ")))
}

/// The string literals of a source, without those of its tests and comments.
fn strings(source: &str) -> Vec<String> {
    let code = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = code.replace("'\"'", "' '").replace("'\\\"'", "' '");
    let mut letters = code.chars().peekable();
    let mut strings = Vec::new();
    while let Some(letter) = letters.next() {
        match letter {
            '/' if letters.peek() == Some(&'/') => drop(letters.find(|letter| *letter == '\n')),
            '"' => {
                let mut text = String::new();
                while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
                    match letter {
                        '\\' => text.extend(letters.next().filter(|escaped| *escaped == '"').or(Some(' '))),
                        letter => text.push(letter),
                    }
                }
                strings.push(text);
            }
            _ => {}
        }
    }
    strings
}

#[test]
fn a_phrase_is_found_in_strings_alone() {
    let source = "// nobody\nlet a = \"a \\\"b\\\" \\\n   c\"; let q = '\"'; f(\"For ever.\");\n\n#[cfg(test)]\nmod tests {\n\"someone\"";
    let found = strings(source);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].split_whitespace().collect::<Vec<_>>(), ["a", "\"b\"", "c"]);
    assert_eq!(phrase_in(&found[1]), Some("for ever"));
    assert_eq!(phrase_in("a forever-stamp, as it isn't"), None);
}
