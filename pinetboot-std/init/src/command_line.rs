//! The kernel's command line: words, of which double quotes hold spaces together (Linux, lib/cmdline.c, `next_arg`).

/// The words of a command line.
#[derive(Debug)]
pub(crate) struct CommandLine(Vec<String>);

impl CommandLine {
    pub(crate) fn parse(text: &str) -> Self {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
        for c in text.chars() {
            match c {
                '"' => is_quoted = !is_quoted,
                c if c.is_ascii_whitespace() && !is_quoted => words.push(core::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        // > everything after "--" is passed to init (Documentation/admin-guide/kernel-parameters.rst)
        if let Some(end) = words.iter().position(|word| word == "--") {
            words.truncate(end);
        }
        Self(words)
    }

    /// The value of `name=`; the last one, as in the kernel.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let value = |word: &'_ String| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let word = self.0.iter().rfind(|word| value(word))?;
        word.get(name.len() + 1..).filter(|value| !value.is_empty())
    }

    /// The values of all `name=`, in their order.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// The last word that is one of these.
    pub(crate) fn last_of(&self, words: &[&str]) -> Option<&str> {
        self.0.iter().rev().map(String::as_str).find(|word| words.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_quotes_hold_a_value_together() {
        let line =
            CommandLine::parse("root=/dev/sda1 ro rootflags=\"a b\" root=LABEL=x rw quiet -- root=y\n");
        assert_eq!(line.value("root"), Some("LABEL=x"));
        assert_eq!(line.value("rootflags"), Some("a b"));
        assert_eq!(line.value("roo"), None);
        assert_eq!(line.last_of(&["ro", "rw"]), Some("rw"));
    }
}
