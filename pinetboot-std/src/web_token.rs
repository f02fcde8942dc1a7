//! The token of the page: the right to read it by the network, and to act by it. Two processes check it: that of the page, and that which acts.

use std::fs;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::exit::{Exit, Failed};

/// The hash of a token: a comparison of hashes takes no time that tells of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebToken {
    hash: [u8; 32],
    form_key: String,
}

impl WebToken {
    /// Of this text.
    pub(crate) fn new(token: &str) -> Self {
        // A form has it, and a page elsewhere cannot know it.
        let form_key = hash(&format!("pinetboot form {token}")).map(|byte| format!("{byte:02x}")).concat();
        Self { hash: hash(token), form_key }
    }

    /// Reads the token: the first line of a file.
    ///
    /// # Errors
    ///
    /// The file and the fault.
    pub(crate) fn read(file: &Path) -> Result<Self, Failed> {
        let failed = |why: String| Failed::new(Exit::Usage, format!("web-token {}: {why}", file.display()));
        let mut text = String::new();
        let opened = fs::File::open(file).map_err(|error| failed(error.to_string()))?;
        opened.take(4096).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
        let token = text.lines().next().unwrap_or_default();
        if !(16..=256).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(failed(
                "the first line must have 16 to 256 letters and digits, as from 'openssl rand -hex 16'"
                    .into(),
            ));
        }
        Ok(Self::new(token))
    }

    /// Whether this is the token.
    pub(crate) fn is(&self, given: &str) -> bool {
        hash(given) == self.hash
    }

    /// The hidden value of forms.
    pub(crate) fn form_key(&self) -> &str {
        &self.form_key
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
