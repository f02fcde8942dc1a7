//! Properties of parsing and emitting, tried on many values.

mod common;

use pinetboot_core::Instant;
use pinetboot_core::tftp::{
    ErrorCode, Limits, Mode, Options, Packet, Receiver, Request, RetryPolicy, Sender, Step,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// All options that can be said.
fn any_options() -> impl Strategy<Value = Options> {
    (option::of(8u16..=65464), option::of(1u8..), option::of(any::<u64>()), option::of(1u16..)).prop_map(
        |(block_size, timeout_secs, transfer_size, window_size)| {
            let mut options = Options::default();
            options.block_size = block_size;
            options.timeout_secs = timeout_secs;
            options.transfer_size = transfer_size;
            options.window_size = window_size;
            options
        },
    )
}

/// Bytes without a NUL.
fn any_text(len: core::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(1u8.., len)
}

/// What a packet is made of.
#[derive(Clone, Debug)]
enum Parts {
    Request { write: bool, filename: Vec<u8>, mode: Mode, options: Options },
    Data { block: u16, payload: Vec<u8> },
    Ack { block: u16 },
    Error { code: u16, message: Vec<u8> },
    OptionAck(Options),
}

impl Parts {
    fn packet(&self) -> Packet<'_> {
        match self {
            Self::Request { write, filename, mode, options } => {
                let request = Request::new(filename, *mode, *options);
                if *write { Packet::Write(request) } else { Packet::Read(request) }
            }
            Self::Data { block, payload } => Packet::Data { block: *block, payload },
            Self::Ack { block } => Packet::Ack { block: *block },
            Self::Error { code, message } => Packet::Error { code: ErrorCode(*code), message },
            Self::OptionAck(options) => Packet::OptionAck(*options),
        }
    }
}

fn any_packet() -> impl Strategy<Value = Parts> {
    let mode = prop_oneof![Just(Mode::Octet), Just(Mode::Netascii)];
    prop_oneof![
        // 400 bytes of name leave room for all options within 512.
        (any::<bool>(), any_text(1..400), mode, any_options())
            .prop_map(|(write, filename, mode, options)| Parts::Request { write, filename, mode, options }),
        (any::<u16>(), vec(any::<u8>(), 0..600)).prop_map(|(block, payload)| Parts::Data { block, payload }),
        any::<u16>().prop_map(|block| Parts::Ack { block }),
        (any::<u16>(), any_text(0..100)).prop_map(|(code, message)| Parts::Error { code, message }),
        any_options().prop_map(Parts::OptionAck),
    ]
}

/// Bytes that look like a packet more often than not.
fn any_datagram() -> impl Strategy<Value = Vec<u8>> {
    let words =
        [&b"octet\0"[..], b"blksize\0", b"tsize\0", b"timeout\0", b"windowsize\0", b"8\0", b"\0", b"0\0"];
    let word = prop::sample::select(words.to_vec()).prop_map(<[u8]>::to_vec);
    let piece = prop_oneof![word, vec(any::<u8>(), 0..6)];
    let opcode = prop_oneof![8 => 0u16..8, 1 => any::<u16>()];
    prop_oneof![
        (opcode, vec(piece, 0..20)).prop_map(|(opcode, pieces)| [
            &opcode.to_be_bytes()[..],
            &pieces.concat()
        ]
        .concat()),
        vec(any::<u8>(), 0..600),
    ]
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again(parts in any_packet()) {
        let mut buffer = [0; 1024];
        let len = parts.packet().emit(&mut buffer).unwrap();
        prop_assert_eq!(Packet::parse(&buffer[..len]), Ok(parts.packet()));
    }

    #[test]
    fn what_is_parsed_is_emitted_and_parsed_to_the_same(datagram in any_datagram()) {
        let Ok(packet) = Packet::parse(&datagram) else { return Ok(()) };
        let mut buffer = [0; 1024];
        // Options may take more room than they came in, when a value out of range was cut to the largest.
        let len = packet.emit(&mut buffer).unwrap();
        if len <= 512 {
            prop_assert_eq!(Packet::parse(&buffer[..len]), Ok(packet));
        }
    }

    #[test]
    fn emitting_writes_nothing_behind_the_packet(parts in any_packet(), room in 0usize..700) {
        let mut buffer = vec![0xaa; 1024];
        let whole = parts.packet().emit(&mut buffer.clone());
        let emitted = parts.packet().emit(&mut buffer[..room]);
        prop_assert_eq!(emitted, whole.filter(|len| *len <= room));
        prop_assert!(buffer[room..].iter().all(|byte| *byte == 0xaa));
    }

    #[test]
    fn what_is_agreed_is_within_what_was_asked(
        asked in any_options(),
        len in option::of(any::<u64>()),
        max_payload in any::<u16>(),
        window_size in any::<u16>(),
    ) {
        let limits = Limits::default().with_window_size(window_size).within(max_payload);
        let (terms, answer) = limits.agree(&asked, len);
        let answer = answer.unwrap_or_default();
        for (asked, answered, agreed, plain) in [
            (asked.block_size, answer.block_size, terms.block_size, 512),
            (asked.window_size, answer.window_size, terms.window_size, 1),
        ] {
            prop_assert!(answered.is_none_or(|answered| asked.is_some_and(|asked| answered <= asked)));
            prop_assert_eq!(agreed, answered.unwrap_or(plain));
        }
        prop_assert!(answer.timeout_secs.is_none() || answer.timeout_secs == asked.timeout_secs);
        prop_assert_eq!(answer.transfer_size.is_some(), asked.transfer_size.is_some());
        prop_assert!(answer.block_size.is_none_or(|size| size + 4 <= max_payload));
    }

    /// The contract of the run loop holds whatever comes in: every poll loop ends, no wait is for the past, nothing that
    /// is outside the file is asked for, and what is over stays over.
    #[test]
    fn a_sender_takes_anything(
        len in 0u64..20_000,
        asked in any_options(),
        put in any::<bool>(),
        packets in vec((0u64..3000, any_answer()), 0..60),
    ) {
        let mut sender = if put {
            Sender::put(&asked, RetryPolicy::default(), len)
        } else {
            Sender::serve(&Limits::default(), &asked, len)
        };
        let mut now = Instant::ZERO;
        let mut over = None;
        for (after, parts) in &packets {
            for _ in 0..100 {
                match sender.poll(now) {
                    Step::SendData { offset, len: payload, .. } => {
                        prop_assert!(offset + u64::from(payload) <= len);
                        prop_assert!(payload <= sender.block_size());
                    }
                    Step::Send(_) | Step::Request(_) => prop_assert!(over.is_none()),
                    Step::Wait { until } => {
                        prop_assert!(until > now && over.is_none());
                        break;
                    }
                    Step::Done(outcome) => {
                        prop_assert_eq!(*over.get_or_insert(outcome), outcome);
                        break;
                    }
                }
            }
            now = now + core::time::Duration::from_millis(*after);
            sender.handle(now, &parts.packet());
            prop_assert!(sender.acknowledged_bytes() <= len);
        }
    }

    #[test]
    fn a_receiver_takes_anything(
        asked in any_options(),
        fetch in any::<bool>(),
        packets in vec((0u64..3000, any_answer()), 0..60),
    ) {
        let mut receiver = if fetch {
            Receiver::fetch(&asked, RetryPolicy::default())
        } else {
            Receiver::accept(&Limits::default(), &asked)
        };
        let mut now = Instant::ZERO;
        let mut over = None;
        let mut bytes = 0;
        for (after, parts) in &packets {
            let mut polls = 0;
            loop {
                polls += 1;
                prop_assert!(polls < 10);
                match receiver.poll(now) {
                    Step::Wait { until } => {
                        prop_assert!(until > now && over.is_none());
                        break;
                    }
                    Step::Done(outcome) => {
                        prop_assert_eq!(*over.get_or_insert(outcome), outcome);
                        break;
                    }
                    _ => prop_assert!(over.is_none()),
                }
            }
            now = now + core::time::Duration::from_millis(*after);
            if let Some(chunk) = receiver.handle(now, &parts.packet()) {
                prop_assert!(chunk.bytes.len() <= receiver.block_size().into());
                bytes += chunk.bytes.len() as u64;
            }
            prop_assert_eq!(receiver.received_bytes(), bytes);
            prop_assert!(receiver.complete().is_none_or(|complete| complete == bytes));
        }
    }
}

/// Packets as the other side might send them, with block numbers about right.
fn any_answer() -> impl Strategy<Value = Parts> {
    prop_oneof![
        8 => (0u16..40).prop_map(|block| Parts::Ack { block }),
        8 => (0u16..40, prop_oneof![Just(512), Just(8), 0usize..600])
            .prop_map(|(block, len)| Parts::Data { block, payload: vec![0; len] }),
        4 => any_options().prop_map(Parts::OptionAck),
        2 => Just(Parts::OptionAck(Options::default())),
        1 => any_packet(),
    ]
}
