//! The board's name, `pinetboot.local`: the answer to multicast DNS (RFC 6762).
//!
//! Each answer goes to the group, has the board's IPv4 address, and says that there is no other record (section 6.1).
//!
//! Not done: probing (section 8.1), so two boards on a network both have the name; unicast answers, also to one-shot queries (sections
//! 5.4, 6.7); known answers (section 7.1).

use core::net::Ipv4Addr;
use core::time::Duration;

pub(crate) const PORT: u16 = 5353;
pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// > A Multicast DNS responder MUST NOT (..) multicast a record on a given interface until at least one second has elapsed since the
/// > last time that record was multicast on that particular interface.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Whether the message asks for the board's address, or for another record of the board's name.
pub(crate) fn is_asked(message: &[u8]) -> bool {
    let Some([_, _, flags, _, count @ ..]) = message.first_chunk::<6>() else { return false };
    // A query (QR is 0) with OPCODE 0 (sections 18.2, 18.3).
    let mut questions = if flags & 0xf8 == 0 { u16::from_be_bytes(*count) } else { 0 };
    let mut at = HEADER;
    while questions > 0 {
        questions -= 1;
        let Some((is_ours, end)) = name(message, at) else { return false };
        let Some([0, kind, class, 1]) = message.get(end..end + 4) else {
            at = end + 4;
            continue;
        };
        // The top bit of the class asks for a unicast answer (section 5.4).
        if is_ours && [A, AAAA, ANY].contains(kind) && class & 0x7f == 0 {
            return true;
        }
        at = end + 4;
    }
    false
}

/// Whether the name at this place is the board's, and the place behind it. `None`: it is none.
fn name(message: &[u8], mut at: usize) -> Option<(bool, usize)> {
    let (mut rest, mut is_ours, mut end) = (NAME, true, None);
    // Each turn is a label of at least two bytes, or a pointer: a name has 255 bytes at most.
    for _ in 0..128 {
        let len = *message.get(at)?;
        match len >> 6 {
            0 => {
                let label = message.get(at..=at + usize::from(len))?;
                let (expected, behind) = rest.split_at_checked(label.len()).unwrap_or_default();
                // No length is a letter.
                is_ours = is_ours && expected.eq_ignore_ascii_case(label);
                rest = behind;
                at += label.len();
                if len == 0 {
                    return Some((is_ours, end.unwrap_or(at)));
                }
            }
            0b11 => {
                let target = u16::from_be_bytes([len & 0x3f, *message.get(at + 1)?]);
                end.get_or_insert(at + 2);
                at = target.into();
            }
            _ => return None,
        }
    }
    None
}

/// The answer: the name's A record, and behind it the NSEC record that says that there are no others.
pub(crate) fn answer(address: Ipv4Addr) -> [u8; 60] {
    let mut message = *b"\0\0\x84\0\0\0\0\x01\0\0\0\x01\x09pinetboot\x05local\0\
        \0\x01\x80\x01\0\0\0\x78\0\x04....\
        \xc0\x0c\0\x2f\x80\x01\0\0\0\x78\0\x05\xc0\x0c\0\x01\x40";
    if let Some((_, tail)) = message.split_at_mut_checked(ADDRESS)
        && let Some(place) = tail.first_chunk_mut()
    {
        *place = address.octets();
    }
    message
}

const NAME: &[u8] = b"\x09pinetboot\x05local\0";

/// The bytes before the first question, or the first record.
const HEADER: usize = 12;

/// The place of the address: behind name, type, class, time to live (120 s, section 10) and length.
const ADDRESS: usize = HEADER + NAME.len() + 10;

const A: u8 = 1;
const AAAA: u8 = 28;
const ANY: u8 = 255;

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A query with these questions.
    fn query(questions: &[&[u8]]) -> Vec<u8> {
        let mut message = std::vec![0, 0, 0, 0, 0, questions.len() as u8, 0, 0, 0, 0, 0, 0];
        questions.iter().for_each(|question| message.extend(*question));
        message
    }

    #[test]
    fn the_name_is_asked_for() {
        for question in [
            &b"\x09pinetboot\x05local\0\0\x01\0\x01"[..],
            b"\x09PinetBoot\x05LOCAL\0\0\x01\x80\x01",
            b"\x09pinetboot\x05local\0\0\x1c\0\x01",
            b"\x09pinetboot\x05local\0\0\xff\0\x01",
        ] {
            assert!(is_asked(&query(&[question])), "{question:?}");
        }
        for question in [
            &b"\x09pinetboot\x05local\0\0\x0c\0\x01"[..],
            b"\x09pinetboot\x05local\0\0\x01\0\x03",
            b"\x09pinetboot\x05local\x03lan\0\0\x01\0\x01",
            b"\x09pinetboot\x03lan\0\0\x01\0\x01",
            b"\x09pinetboot\0\0\x01\0\x01",
            b"\x0apinetboot1\x05local\0\0\x01\0\x01",
            b"\0\0\x01\0\x01",
        ] {
            assert!(!is_asked(&query(&[question])), "{question:?}");
        }
        let other = b"\x04_smb\x04_tcp\x05local\0\0\x0c\0\x01";
        let (dot_local, first) = (HEADER as u8 + 10, b"\x09pinetboot\xc0");
        let compressed = [first, &[dot_local][..], b"\0\x01\0\x01"].concat();
        assert!(is_asked(&query(&[other, &compressed])));
        let mut answer = query(&[b"\x09pinetboot\x05local\0\0\x01\0\x01"]);
        answer[2] = 0x84;
        assert!(!is_asked(&answer));
    }

    #[test]
    fn a_name_that_points_at_itself_is_none() {
        assert!(!is_asked(&query(&[b"\xc0\x0c\0\x01\0\x01"])));
        assert!(!is_asked(&query(&[b"\x01a\xc0\x0c\0\x01\0\x01"])));
        assert!(!is_asked(&query(&[b"\xff\xff\0\x01\0\x01"])));
    }

    #[test]
    fn an_answer_has_the_address_and_no_other_record() {
        let answer = answer(Ipv4Addr::new(10, 55, 0, 1));
        assert_eq!(answer.len(), ADDRESS + 4 + 17);
        assert_eq!(answer[ADDRESS - 2..ADDRESS + 6], [0, 4, 10, 55, 0, 1, 0xc0, 0x0c]);
        assert_eq!(name(&answer, HEADER), Some((true, HEADER + NAME.len())));
        assert_eq!(name(&answer, ADDRESS + 4), Some((true, ADDRESS + 6)));
        assert!(!is_asked(&answer));
    }

    proptest! {
        #[test]
        fn no_message_is_a_panic(message: Vec<u8>) {
            is_asked(&message);
        }

        #[test]
        fn the_question_is_found_behind_others(
            labels in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 1..63), 0..4), 0..4),
            cut in 0usize..40,
        ) {
            let mut questions: Vec<Vec<u8>> = labels
                .iter()
                .map(|labels| {
                    let labels = labels.iter().flat_map(|label| core::iter::once(label.len() as u8).chain(label.iter().copied()));
                    labels.chain([0, 0, 16, 0, 1]).collect()
                })
                .collect();
            questions.push([NAME, &[0, 1, 0, 1]].concat());
            let message = query(&questions.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(is_asked(&message));
            prop_assert!(!is_asked(&message[..message.len() - 1 - cut.min(message.len() - 1)]));
        }
    }
}
