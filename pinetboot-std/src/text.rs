//! Text for a terminal.

/// Breaks a text into lines of at most `width` columns; every line but the first begins with `indent`.
///
/// A longer word gets a line for itself. Line ends in the text stay.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::new();
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            wrapped.push('\n');
            wrapped.push_str(indent);
        }
        let mut column = if index > 0 { indent.len() } else { 0 };
        for (index, word) in line.split(' ').enumerate() {
            let len = word.chars().count();
            if index > 0 && column + 1 + len > width {
                wrapped.push('\n');
                wrapped.push_str(indent);
                column = indent.len();
            } else if index > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += len;
        }
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three four", 8, "  "), "one two\n  three\n  four");
        assert_eq!(wrap("  one two", 8, "  "), "  one\n  two");
        assert_eq!(wrap("one\ntwo a-very-long-word", 9, ""), "one\ntwo\na-very-long-word");
    }
}
