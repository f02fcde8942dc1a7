//! The name of a boot file as a client asks for it, proven relative and clean.

use core::fmt;

/// A requested name, proven relative and clean.
///
/// Clients spell names loosely: a Raspberry Pi 5 asks for `7bf18f79//config.txt` and, with its prefix cleared, for
/// `/config.txt` (captured, bootloader 2026-05-26). Leading and doubled slashes and `.` components are
/// therefore skipped. A backslash separates components too (Windows' boot files), and one byte 0xff behind the name is left out
/// (MikroTik forum 180556: the client takes the options' end for a part of the name). Parsing refuses names that could leave
/// the served tree, so that no storage needs to check again.
///
/// ```
/// use pinetboot_core::BootPath;
///
/// let path = BootPath::parse(b"7bf18f79//config.txt").unwrap();
/// assert!(path.components().eq(["7bf18f79", "config.txt"]));
/// assert!(BootPath::parse(b"../../etc/shadow").is_err());
/// ```
#[derive(Clone, Copy)]
pub struct BootPath<'a>(&'a str);

impl<'a> BootPath<'a> {
    /// The longest name accepted, in bytes. A request is at most 512 bytes long (RFC 2347), so no real name is cut.
    pub const MAX_LEN: usize = 480;

    /// Proves a name clean that may be in Latin-1 (ISO 8859-1), as old switches and phones send names. A name that is not UTF-8
    /// is read as Latin-1, whatever its bytes are, and its UTF-8 form, of up to twice as many bytes, is written into `room`.
    /// [`latin1`](Self::latin1) tells the bytes of such a name again.
    ///
    /// ```
    /// use pinetboot_core::BootPath;
    ///
    /// let mut room = [0; 16];
    /// let path = BootPath::parse_text(b"Kl\xe4ngel", &mut room).unwrap();
    /// assert_eq!(path.file_name(), "Klängel");
    /// assert!(path.latin1().unwrap().eq(*b"Kl\xe4ngel"));
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse), and a name in Latin-1 is too long for `room`.
    pub fn parse_text(name: &'a [u8], room: &'a mut [u8]) -> Result<Self, PathError> {
        match Self::parse(name) {
            Err(PathError::NotUtf8) => {}
            parsed => return parsed,
        }
        let name = name.strip_suffix(END_OF_OPTIONS).unwrap_or(name);
        let mut len = 0;
        for byte in name {
            let char = char::from(*byte);
            let place = room.get_mut(len..len + char.len_utf8()).ok_or(PathError::TooLong)?;
            char.encode_utf8(place);
            len += place.len();
        }
        Self::parse(room.get(..len).unwrap_or_default())
    }

    /// Proves a name clean.
    ///
    /// # Errors
    ///
    /// The name is empty or too long, not UTF-8, or holds a control character or a `..`.
    pub fn parse(name: &'a [u8]) -> Result<Self, PathError> {
        if name.len() > Self::MAX_LEN {
            return Err(PathError::TooLong);
        }
        let name = name.strip_suffix(END_OF_OPTIONS).unwrap_or(name);
        let name = core::str::from_utf8(name).map_err(|_| PathError::NotUtf8)?;
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(PathError::Control);
        }
        let path = Self(name);
        let mut is_empty = true;
        for component in path.components() {
            if component == ".." {
                return Err(PathError::Escapes);
            }
            is_empty = false;
        }
        if is_empty { Err(PathError::Empty) } else { Ok(path) }
    }

    /// The name's components, at least one: no empty ones, no `.`, no `..`.
    pub fn components(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        // By bytes: each name is taken apart several times in a request, and `str::split` decodes characters.
        let mut rest = self.0;
        core::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = rest.bytes().position(is_separator).unwrap_or(rest.len());
                let (component, after) = rest.split_at_checked(end)?;
                rest = after.get(1..).unwrap_or_default();
                if !component.is_empty() && component != "." {
                    return Some(component);
                }
            }
            None
        })
    }

    /// The last component: the file's own name.
    pub fn file_name(&self) -> &'a str {
        let mut rest = self.0;
        loop {
            let before = rest.bytes().rposition(is_separator);
            let name = rest.get(before.map_or(0, |at| at + 1)..).unwrap_or_default();
            match before {
                Some(at) if name.is_empty() || name == "." => rest = rest.get(..at).unwrap_or_default(),
                _ => return name,
            }
        }
    }

    /// The first component and the rest, if the name has two components or more.
    pub fn split_first(&self) -> Option<(&'a str, Self)> {
        let first = self.components().next()?;
        // `first` is a part of `self.0`, found by address so that the rest stays a borrow of the same text.
        let after = first.as_ptr() as usize - self.0.as_ptr() as usize + first.len();
        let rest = Self(self.0.get(after..)?);
        rest.components().next().is_some().then_some((first, rest))
    }

    /// The bytes of the name in Latin-1 (ISO 8859-1); `None` if they are those of its UTF-8 form, or Latin-1 lacks a character.
    pub fn latin1(&self) -> Option<impl Iterator<Item = u8> + use<'a>> {
        let in_latin1 = |char| u8::try_from(u32::from(char)).is_ok();
        (!self.0.is_ascii() && self.0.chars().all(in_latin1))
            .then(|| self.0.chars().filter_map(|char| u8::try_from(u32::from(char)).ok()))
    }

    /// The name as it stands in the request; of a name in Latin-1, its UTF-8 form.
    pub fn as_requested(&self) -> &'a str {
        self.0
    }
}

/// The byte that ends the options of DHCP.
const END_OF_OPTIONS: &[u8] = b"\xff";

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Two names are equal if their components are.
impl PartialEq for BootPath<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.components().eq(other.components())
    }
}

impl Eq for BootPath<'_> {}

impl fmt::Debug for BootPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

/// The clean spelling: components joined by single slashes.
impl fmt::Display for BootPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, component) in self.components().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(component)?;
        }
        Ok(())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for BootPath<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.0);
    }
}

/// The reason for refusing a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PathError {
    /// The name has slashes and `.` only.
    Empty,
    /// Longer than [`BootPath::MAX_LEN`].
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// A byte below space, NUL among them, or DEL.
    Control,
    /// A `..` component.
    Escapes,
}

impl PathError {
    /// The reason in a few words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is too long",
            Self::NotUtf8 => "the name is not UTF-8",
            Self::Control => "the name holds a control character",
            Self::Escapes => "the name holds '..'",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_spellings_mean_the_same() {
        let clean = BootPath::parse(b"7bf18f79/overlays/overlay_map.dtb").unwrap();
        for loose in [
            "7bf18f79//overlays/overlay_map.dtb",
            "/7bf18f79/./overlays//overlay_map.dtb",
            "./7bf18f79/overlays/overlay_map.dtb/",
            "\\7bf18f79\\overlays/overlay_map.dtb",
        ] {
            let end = [loose.as_bytes(), b"\xff"].concat();
            assert_eq!(BootPath::parse(&end), Ok(clean));
            let path = BootPath::parse(loose.as_bytes()).unwrap();
            assert_eq!(path, clean);
            assert_eq!(std::format!("{path}"), "7bf18f79/overlays/overlay_map.dtb");
            assert_eq!(path.file_name(), "overlay_map.dtb");
        }
    }

    #[test]
    fn what_could_escape_is_refused() {
        for (name, why) in [
            (&b""[..], PathError::Empty),
            (b"//./", PathError::Empty),
            (b"..", PathError::Escapes),
            (b"a/../../b", PathError::Escapes),
            (b"a\0b", PathError::Control),
            (b"a\nb", PathError::Control),
            (b"..\\..\\boot.ini", PathError::Escapes),
            (b"\xff", PathError::Empty),
            (b"\xff\xff", PathError::NotUtf8),
            (&[b'a'; BootPath::MAX_LEN + 1], PathError::TooLong),
        ] {
            assert_eq!(BootPath::parse(name), Err(why));
        }
        assert!(BootPath::parse(b"..a/b..").is_ok());
    }

    #[test]
    fn a_name_in_latin_1_is_its_utf_8_form() {
        let mut room = [0; 32];
        for (name, text) in [
            (&b"Kl\xe4ngel"[..], "Klängel"),
            ("Klängel".as_bytes(), "Klängel"),
            (b"\\\xd6l\\\xff\xff", "Öl/ÿ"),
            (b"\x80\x9f", "\u{80}\u{9f}"),
            (b"config.txt\xff", "config.txt"),
        ] {
            assert_eq!(std::format!("{}", BootPath::parse_text(name, &mut room).unwrap()), text);
        }
        for (name, why) in [
            (&b"a\xe4/../b"[..], PathError::Escapes),
            (b"a\xe4\nb", PathError::Control),
            (b"\xff", PathError::Empty),
            (&[0xe4; 17], PathError::TooLong),
            (&[b'a'; BootPath::MAX_LEN + 1], PathError::TooLong),
        ] {
            assert_eq!(BootPath::parse_text(name, &mut room), Err(why));
        }
    }

    #[test]
    fn the_bytes_of_a_name_in_latin_1_are_known() {
        let bytes = |name: &'static str| {
            BootPath::parse(name.as_bytes())
                .unwrap()
                .latin1()
                .map(|bytes| bytes.collect::<std::vec::Vec<_>>())
        };
        assert_eq!(bytes("/Öl/ÿ").unwrap(), b"/\xd6l/\xff");
        assert_eq!(bytes("config.txt"), None);
        assert_eq!(bytes("ä/€"), None, "Latin-1 has no euro sign");
    }

    #[test]
    fn splits_off_the_first_component() {
        let split = |name: &'static str| {
            BootPath::parse(name.as_bytes())
                .unwrap()
                .split_first()
                .map(|(first, rest)| (first, std::format!("{rest}")))
        };
        assert_eq!(split("7bf18f79//overlays/x"), Some(("7bf18f79", "overlays/x".into())));
        assert_eq!(split("/config.txt"), None);
        assert_eq!(split("config.txt/"), None);
    }
}
