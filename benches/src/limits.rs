//! The limits of every figure: the cable and the system, measured by two responders that are not servers.
//!
//! *Ping-pong*: 4 bytes one way, 1028 back, both sides blocking in the plainest system calls. No server with one client
//! that sleeps between blocks can be faster.
//!
//! *Null responder*: acts like a TFTP server for one file, and keeps nothing but the offset of the next bytes: no state, no
//! names, no timers, 64 datagrams a system call. Its rate is the most that the load client can do.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Subcommand;
use nix::sys::socket::{setsockopt, sockopt};

use crate::Failed;
use crate::batch::{self, Incoming, Outgoing};
use crate::content::Content;
use crate::load::transfer::{ACK, DATA, OACK, READ};
use crate::tree;
use crate::world;

/// A responder: a separate process in the server's namespace.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Responder {
    /// Answer every datagram with 1028 bytes
    PingPong,
    /// Answer like a TFTP server that has one file
    Null { block_size: u16, window: u16 },
}

impl Responder {
    pub(crate) fn command(self) -> Result<Command, Failed> {
        let mut command = world::at_server(std::env::current_exe().map_err(|error| error.to_string())?);
        command.arg("respond");
        match self {
            Self::PingPong => command.arg("ping-pong"),
            Self::Null { block_size, window } => {
                command.args(["null", &block_size.to_string(), &window.to_string()])
            }
        };
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Responds until the harness ends the process.
    pub(crate) fn run(self) -> Result<(), Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed::from(format!("the responder failed: {error}"));
        let socket = UdpSocket::bind((world::SERVER, 69)).map_err(|error| failed(&error))?;
        match self {
            Self::PingPong => {
                let mut memory = [0; PONG];
                loop {
                    let (_, from) = socket.recv_from(&mut memory).map_err(|error| failed(&error))?;
                    let _lost = socket.send_to(&memory, from);
                }
            }
            Self::Null { block_size, window } => {
                setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).map_err(|error| failed(&error))?;
                setsockopt(&socket, sockopt::SndBuf, &(16 << 20)).map_err(|error| failed(&error))?;
                batch::never_fragment(socket.as_fd()).map_err(|error| failed(&error))?;
                null(&socket, block_size, window).map_err(|error| failed(&error))
            }
        }
    }
}

/// Round trips per second.
pub(crate) fn ping_pong(time: Duration) -> Result<f64, Failed> {
    let failed = |error: std::io::Error| Failed::from(format!("no ping-pong: {error}"));
    let socket = UdpSocket::bind("10.77.0.2:0").map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(failed)?;
    let to = SocketAddrV4::new(world::SERVER, 69);
    let mut memory = [0; PONG];
    let mut turn = || {
        socket.send_to(&memory[..PING], to).map_err(failed)?;
        socket.recv_from(&mut memory).map_err(failed)
    };
    for _ in 0..2000 {
        turn()?;
    }
    let (began, mut turns) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        for _ in 0..100 {
            turn()?;
        }
        turns += 100;
    }
    Ok(f64::from(turns) / began.elapsed().as_secs_f64())
}

fn null(socket: &UdpSocket, block_size: u16, window: u16) -> std::io::Result<()> {
    let file = Content::of(tree::BIG);
    let (mut incoming, mut outgoing) = (Incoming::new(), Outgoing::new());
    loop {
        incoming.receive(socket.as_fd(), true)?;
        for datagram in incoming.iter() {
            if outgoing.is_full() {
                outgoing.send(socket.as_fd());
            }
            match *datagram.bytes {
                [0, READ, ..] => {
                    outgoing.add(datagram.to, datagram.from, |memory| options(memory, block_size, window))
                }
                [0, ACK, high, low] => {
                    let acknowledged = u64::from(u16::from_be_bytes([high, low]));
                    for block in acknowledged + 1..=acknowledged + u64::from(window) {
                        let offset = (block - 1) * u64::from(block_size);
                        let Some(left) = tree::BIG_LEN.checked_sub(offset) else { break };
                        let len = left.min(block_size.into()) as usize;
                        if outgoing.is_full() {
                            outgoing.send(socket.as_fd());
                        }
                        outgoing.add(datagram.to, datagram.from, |memory| {
                            let [high, low] = (block as u16).to_be_bytes();
                            memory[..4].copy_from_slice(&[0, DATA, high, low]);
                            memory[4..4 + len].copy_from_slice(file.at(offset, len));
                            4 + len
                        });
                    }
                }
                // A request for the name "ready?" is answered too; an ERROR is not.
                _ => {}
            }
        }
        outgoing.send(socket.as_fd());
    }
}

fn options(memory: &mut [u8], block_size: u16, window: u16) -> usize {
    let mut text = format!("\0\0blksize\0{block_size}\0");
    if window > 1 {
        text += &format!("windowsize\0{window}\0");
    }
    memory[..text.len()].copy_from_slice(text.as_bytes());
    memory[1] = OACK;
    text.len()
}

const PING: usize = 4;
const PONG: usize = 1028;
