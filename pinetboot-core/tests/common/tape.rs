//! Scripts for one machine. Packets go in and come out as bytes, so that parser and emitter take part.
//!
//! | mark | means |
//! |---|---|
//! | `<` | this packet comes in |
//! | `>` | the machine sends this |
//! | `=` | the machine lends these bytes to be kept; `last` ends the file |
//! | `!` | the transfer is over |
//! | `x` | the shell aborts the transfer with this error |
//! | `.` | nothing comes in until now |

use core::iter;

use pinetboot_core::Instant;
use pinetboot_core::tftp::{ErrorCode, Outcome, Packet, Receiver, Request, Sender, Step};

use super::script::{Line, compare, lines, show_outcome};
use super::wire::{bytes, content, show, show_content};

/// Plays the script's input to the machine and compares what it does with the rest of the script.
#[track_caller]
pub(crate) fn play(machine: impl Into<Machine>, script: &str) {
    let expected = lines(script);
    let mut tape = Tape { machine: machine.into(), now: Instant::ZERO, happened: Vec::new(), over: None };
    let end = expected.last().map_or(Instant::ZERO, |line| line.at);
    for input in expected.iter().filter(|line| matches!(line.split().0, "<" | "x" | ".")) {
        tape.run_until(input.at);
        tape.feed(input);
    }
    tape.run_until(end);
    tape.run();
    compare(&expected, &tape.happened);
}

pub(crate) enum Machine {
    Sender(Sender),
    Receiver(Receiver),
}

impl From<Sender> for Machine {
    fn from(sender: Sender) -> Self {
        Self::Sender(sender)
    }
}

impl From<Receiver> for Machine {
    fn from(receiver: Receiver) -> Self {
        Self::Receiver(receiver)
    }
}

struct Tape {
    machine: Machine,
    now: Instant,
    happened: Vec<Line>,
    over: Option<Outcome>,
}

impl Tape {
    fn run_until(&mut self, end: Instant) {
        while let Some(until) = self.run()
            && until < end
        {
            assert!(until > self.now, "waits for the past");
            self.now = until;
        }
        self.now = end;
    }

    /// Polls until the machine waits; says until when, unless it is over.
    fn run(&mut self) -> Option<Instant> {
        for _ in 0..1000 {
            let step = match &mut self.machine {
                Machine::Sender(sender) => sender.poll(self.now),
                Machine::Receiver(receiver) => receiver.poll(self.now),
            };
            match step {
                Step::Wait { until } => return Some(until),
                Step::Done(outcome) => {
                    assert!(self.over.is_none_or(|before| before == outcome), "over in two ways");
                    if self.over.replace(outcome).is_none() {
                        self.note(format!("! {}", show_outcome(outcome)));
                    }
                    return None;
                }
                Step::Send(packet) => self.note(format!("> {}", show(&emit(&packet)))),
                Step::SendData { block, offset, len } => {
                    let payload = &content(offset..offset + u64::from(len));
                    self.note(format!("> {}", show(&emit(&Packet::Data { block, payload }))));
                }
                Step::Request(options) => {
                    let request = Request::octet(b"file", options);
                    let packet = match self.machine {
                        Machine::Sender(_) => Packet::Write(request),
                        Machine::Receiver(_) => Packet::Read(request),
                    };
                    self.note(format!("> {}", show(&emit(&packet))));
                }
            }
        }
        panic!("never waits");
    }

    fn feed(&mut self, input: &Line) {
        self.note(input.text.clone());
        match input.split() {
            ("<", packet) => {
                let bytes = bytes(packet);
                let packet = Packet::parse(&bytes).expect("a packet");
                match &mut self.machine {
                    Machine::Sender(sender) => sender.handle(self.now, &packet),
                    Machine::Receiver(receiver) => {
                        if let Some(chunk) = receiver.handle(self.now, &packet) {
                            let last = if chunk.last { " last" } else { "" };
                            self.note(format!("= {}{last}", show_content(chunk.bytes)));
                        }
                    }
                }
            }
            ("x", code) => {
                let code = ErrorCode(code.parse().expect("an error's number"));
                match &mut self.machine {
                    Machine::Sender(sender) => sender.abort(code),
                    Machine::Receiver(receiver) => receiver.abort(code),
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, text: String) {
        self.happened.push(Line::new(self.now, text));
    }
}

fn emit(packet: &Packet<'_>) -> Vec<u8> {
    let mut buffer: Vec<u8> = iter::repeat_n(0, 65536).collect();
    let len = packet.emit(&mut buffer).expect("a packet that fits");
    buffer.truncate(len);
    buffer
}
