//! `--listen`: NETCONSOLE of bootloaders and kernels, judged as the lines come.
//!
//! The bootloader sends to the MAC address 00:00:00:00:00:00 (raspberrypi/rpi-eeprom issue 440), which no UDP socket gets: with the right
//! to packet sockets, frames to port 6666 are read. Port 6665, and 6666 without that right, are read by UDP sockets
//! (Documentation/networking/netconsole.rst: from 6665 to 6666 by default).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::console;

use super::text::Judge;
use crate::exit::{Exit, Failed};
use crate::finding::{Finding, Severity};
use crate::net::{Capture, Control, Frame, Interrupt, LONGEST, Link};
use crate::output::{self, Output};
use crate::signals;
use crate::text::{line, without_secrets, wrap};
use crate::time::Zone;

/// Text of a host.
type Heard = (String, String);

/// What is read.
enum Source {
    Frames(Capture),
    Datagrams(UdpSocket, Control),
}

/// Listens until a signal.
///
/// # Errors
///
/// If nothing can be read, or standard output fails.
pub(super) fn run(interfaces: &[String]) -> Result<Exit, Failed> {
    let out = &mut output::stdout();
    let (mut sources, mut names) = (Vec::new(), Vec::new());
    let frames = frames(interfaces)?;
    let ports: &[u16] = if frames.is_empty() { &[PORTS[0], PORTS[1]] } else { &[PORTS[0]] };
    if frames.is_empty() {
        writeln!(
            out,
            "not heard: frames to no address, as bootloaders send them: that takes root, or the capability CAP_NET_RAW"
        )?;
    }
    for capture in frames {
        names.push(format!("frames on {}", capture.interface()));
        sources.push(Source::Frames(capture));
    }
    for port in ports {
        match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).and_then(datagrams) {
            Ok(source) => {
                names.push(format!("UDP port {port}"));
                sources.push(source);
            }
            Err(error) => writeln!(out, "not heard: UDP port {port}: {error}")?,
        }
    }
    if sources.is_empty() {
        return Err(Failed::new(Exit::Bind, "no source of NETCONSOLE can be opened"));
    }
    writeln!(out, "Listening to {}; ctrl-C ends.", names.join(", "))?;
    out.finish()?;
    let controls: Vec<Control> = sources.iter().map(Source::control).collect();
    let stopping = controls.clone();
    let stop = move || stopping.iter().for_each(Control::stop);
    let listening = || {
        let (sender, receiver) = channel();
        thread::scope(|scope| {
            for source in sources {
                let sender = sender.clone();
                scope.spawn(move || source.read(&sender));
            }
            drop(sender);
            let mut hosts = Hosts::default();
            for (host, text) in receiver {
                let told = hosts.hear(&host, &text, out);
                if told.is_err() || out.is_closed() {
                    controls.iter().for_each(Control::stop);
                    told?;
                }
            }
            hosts.end(out)
        })
    };
    signals::during(stop, listening).map_err(|error| Failed::new(Exit::Failure, error))?
}

/// The packet sockets of these interfaces, else of all that are up. Empty without the right to them.
fn frames(interfaces: &[String]) -> Result<Vec<Capture>, Failed> {
    let named = interfaces.iter().map(|name| {
        Capture::open(name)
            .map_err(|error| Failed::new(Exit::Failure, format!("cannot open {name}: {error}")))
    });
    if !interfaces.is_empty() {
        return named.collect();
    }
    let links = Link::all().unwrap_or_default();
    let up = links.iter().filter(|link| link.up && !link.loopback).take(MOST_INTERFACES);
    Ok(up.filter_map(|link| Capture::open(&link.name).ok()).collect())
}

fn datagrams(socket: UdpSocket) -> io::Result<Source> {
    socket.set_nonblocking(true)?;
    Ok(Source::Datagrams(socket, Control::new()?))
}

impl Source {
    fn control(&self) -> Control {
        match self {
            Self::Frames(capture) => capture.control(),
            Self::Datagrams(_, control) => control.clone(),
        }
    }

    /// Reads until the control stops it.
    fn read(self, heard: &Sender<Heard>) {
        match self {
            Self::Frames(capture) => frames_of(capture, heard),
            Self::Datagrams(socket, control) => datagrams_of(&socket, &control, heard),
        }
    }
}

fn frames_of(mut capture: Capture, heard: &Sender<Heard>) {
    let mut buffer = [0; LONGEST];
    while !matches!(capture.wait(PollTimeout::NONE), Err(Interrupt::Stop | Interrupt::Failed(_))) {
        while let Some(frame) = capture.next(&mut buffer) {
            if let Some(Frame::Console { from, text }) = Frame::parse(frame) {
                let host = HardwareAddress::ethernet(from).to_string();
                let _the_end = heard.send((host, String::from_utf8_lossy(text).into_owned()));
            }
        }
    }
}

fn datagrams_of(socket: &UdpSocket, control: &Control, heard: &Sender<Heard>) {
    let mut buffer = [0; LONGEST];
    loop {
        let mut ready =
            [control.as_fd(), socket.as_fd()].map(|source| PollFd::new(source, PollFlags::POLLIN));
        let _interrupted = poll(&mut ready, PollTimeout::NONE);
        if matches!(control.check(), Err(Interrupt::Stop | Interrupt::Failed(_))) {
            return;
        }
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
            let _the_end = heard.send((from.ip().to_string(), text));
        }
    }
}

/// The text of each host.
#[derive(Default)]
struct Hosts {
    judges: BTreeMap<String, Judge>,
    has_problem: bool,
}

impl Hosts {
    /// Prints the lines, and what they show.
    fn hear(&mut self, host: &str, text: &str, out: &mut Output) -> Result<(), Failed> {
        let zone = Zone::of_machine();
        // A kernel prints its command line, with the secret of the boot.
        let text = without_secrets(text);
        for text in text.lines().filter(|text| !text.trim().is_empty()) {
            writeln!(out, "{} {host} {}", zone.time_of_day(), line(text.trim_end()))?;
            if self.judges.len() >= MOST_HOSTS && !self.judges.contains_key(host) {
                continue;
            }
            if let Some(finding) = self.judges.entry(host.to_owned()).or_default().line(text) {
                self.tell(host, &finding, out)?;
            }
        }
        out.finish()
    }

    /// Prints what no single line shows.
    fn end(&mut self, out: &mut Output) -> Result<Exit, Failed> {
        for (host, judge) in std::mem::take(&mut self.judges) {
            for (_, finding) in judge.at_the_end() {
                self.tell(&host, &finding, out)?;
            }
        }
        Ok(if self.has_problem { Exit::WouldNotBoot } else { Exit::Success })
    }

    fn tell(&mut self, host: &str, finding: &Finding, out: &mut Output) -> Result<(), Failed> {
        self.has_problem |= finding.severity == Severity::Problem;
        writeln!(out, "! {}", wrap(&format!("{host}: {finding}"), WIDTH, "  "))
    }
}

const PORTS: [u16; 2] = [6665, console::PORT];
/// A host of containers has hundreds of interfaces.
const MOST_INTERFACES: usize = 8;
const MOST_HOSTS: usize = 256;
/// Columns of prose.
const WIDTH: usize = 98;
