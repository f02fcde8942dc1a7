//! The errors of a TOML file in words of an operator: the nearest key for a mistyped one, values without Rust's types.

/// The error, with the line of the file.
pub(super) fn in_words(error: &toml::de::Error) -> String {
    let message = error.message();
    let words =
        unknown_key(message).or_else(|| unknown_value(message)).unwrap_or_else(|| types_in_words(message));
    // The error's own text shows the line, and ends with the message.
    error.to_string().replacen(message, &words, 1)
}

/// The message about an unknown key: the nearest known keys, not all.
fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, known) = rest.split_once('`')?;
    let near = known.split('`').skip(1).step_by(2);
    let mut near: Vec<_> = near.map(|name| (strsim::jaro_winkler(key, name), name)).collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    Some(match near.first() {
        Some((likeness, name)) if *likeness > NEAR => format!("unknown key {key}; did you mean {name}?"),
        _ => format!("unknown key {key}; the keys are the names of the options in 'pinetboot serve --help'"),
    })
}

/// The message about a value that is none of a few: all of them, with the nearest one.
fn unknown_value(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown variant `")?;
    let (value, known) = rest.split_once('`')?;
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    let near = known.iter().map(|name| (strsim::jaro_winkler(value, name), *name));
    let near = near.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(likeness, _)| *likeness > NEAR);
    let known = known.join(", ");
    Some(match near {
        Some((_, name)) => format!("unknown value {value}; did you mean {name}? The values are: {known}"),
        None => format!("unknown value {value}; the values are: {known}"),
    })
}

fn types_in_words(message: &str) -> String {
    let mut words = message.to_owned();
    for (of_rust, in_words) in [
        ("expected u16", "expected a number from 0 to 65535, without quotes"),
        ("expected u8", "expected a number from 0 to 255, without quotes"),
        ("expected u32", "expected a number from 0 to 4294967295, without quotes"),
        ("expected usize", "expected a number of 0 or more, without quotes"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected text in quotes"),
        ("expected a sequence", "expected a list, as [\"a\", \"b\"]"),
        ("expected a map", "expected a table with keys"),
        ("expected a boolean", "expected true or false, without quotes"),
        ("invalid IPv4 address syntax", "not an IPv4 address, as 192.168.1.2"),
    ] {
        words = words.replace(of_rust, in_words);
    }
    if let Some((before, _name_of_rust)) = words.split_once("expected struct ") {
        words = format!("{before}expected a table with keys");
    }
    words
}

/// The likeness, 0 to 1, from which clap suggests an argument, too.
const NEAR: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::in_words;
    use crate::config::Settings;

    fn error(text: &str) -> String {
        in_words(&toml::from_str::<Settings>(text).unwrap_err())
    }

    #[test]
    fn mistakes_are_told_without_the_types_of_rust() {
        for (text, says) in [
            ("tftp_port = 6969", "unknown key tftp_port; did you mean tftp-port?"),
            (
                "colour = 'red'",
                "unknown key colour; the keys are the names of the options in 'pinetboot serve --help'",
            ),
            ("listen = '300.1.1.1'", "not an IPv4 address, as 192.168.1.2"),
            ("listen = ['10.0.0.1', '300.1.1.1']", "not an IPv4 address, as 192.168.1.2"),
            ("listen = 5", "expected a value or a list of values"),
            ("tftp-port = '69'", "expected a number from 0 to 65535, without quotes"),
            ("dhcp-delay = 300", "expected a number from 0 to 255, without quotes"),
            ("max-pis = -1", "expected a number of 0 or more, without quotes"),
            ("tree = 5", "expected a path in quotes"),
            ("lease-time = 12", "expected text in quotes"),
            ("dhcp = 'proxi'", "unknown value proxi; did you mean proxy? The values are: off, proxy, lease"),
            ("dhcp = 'dnsmasq'", "unknown value dnsmasq; the values are: off, proxy, lease"),
            ("group.lab = { members = 5 }", "expected a list, as [\"a\", \"b\"]"),
            ("pi = 5", "expected a table with keys"),
            ("pi.bd989ae1 = 5", "expected a table with keys"),
            ("single-port = 'yes'", "expected true or false, without quotes"),
        ] {
            let said = error(text);
            assert!(said.contains(says) && said.contains("line 1"), "{text}: {said}");
            assert!(
                !said.contains("struct") && !said.contains("u16") && !said.contains("variant"),
                "{text}: {said}"
            );
        }
    }
}
