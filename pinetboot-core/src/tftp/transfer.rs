//! A machine joined to its file: one transfer, in either direction, on either side.

use core::net::SocketAddrV4;

use super::DATA_HEADER;
use super::packet::{ErrorCode, Packet, Request, emit_data_header};
use super::receiver::Receiver;
use super::report::{Direction, Report};
use super::sender::Sender;
use super::step::{Outcome, Step};
use crate::storage::{File, Upload};
use crate::{Instant, Net};

/// A transfer: the machine, and the file that it sends or receives.
#[derive(Debug)]
pub(super) enum Transfer<F, U> {
    Out(Sender, F),
    In(Receiver, U),
}

/// The addresses of a transfer's packets.
#[derive(Clone, Copy)]
pub(super) struct Route<'a, L> {
    pub(super) from: L,
    pub(super) to: SocketAddrV4,
    /// For a client: the address for requests, and the request.
    pub(super) request: Option<(SocketAddrV4, &'a Request<'a>)>,
}

/// The state of a transfer after it was driven.
pub(super) enum Progress {
    Waits(Instant),
    /// Waits for the storage.
    Later,
    Over(Outcome),
}

impl<F: File, U: Upload> Transfer<F, U> {
    /// Takes in a packet from the other side and writes its bytes.
    pub(super) async fn handle(&mut self, now: Instant, packet: &Packet<'_>) {
        match self {
            Self::Out(sender, _) => sender.handle(now, packet),
            Self::In(receiver, upload) => {
                if let Packet::Error { message, .. } = packet {
                    upload.ended(message);
                }
                let announced = receiver.announced();
                let chunk = receiver.handle(now, packet);
                if let Some(len) = receiver.announced()
                    && announced.is_none()
                    && upload.expect(len).is_err()
                {
                    return receiver.abort(ErrorCode::DISK_FULL);
                }
                let Some(chunk) = chunk else { return };
                let mut kept = upload.write(chunk.bytes).await;
                if chunk.last && kept.is_ok() {
                    kept = upload.finish().await;
                }
                if let Err(error) = kept {
                    Self::not_kept(receiver, &error);
                }
            }
        }
    }

    /// Takes the machine's steps until it waits or is done.
    pub(super) async fn drive<N: Net>(
        &mut self,
        net: &mut N,
        route: Route<'_, N::Local>,
        now: Instant,
    ) -> Progress {
        loop {
            let mut resent = 0;
            let step = match self {
                Self::Out(sender, _) => {
                    resent = sender.resent();
                    sender.poll(now)
                }
                Self::In(receiver, upload) => {
                    match upload.settled() {
                        Some(Ok(())) => {}
                        Some(Err(error)) => Self::not_kept(receiver, &error),
                        None => return Progress::Later,
                    }
                    receiver.poll(now)
                }
            };
            match (step, &mut *self) {
                (Step::Wait { until }, _) => return Progress::Waits(until),
                (Step::Done(outcome), _) => return Progress::Over(outcome),
                (Step::Send(packet), _) => send(net, route.from, route.to, &packet).await,
                (Step::SendData { block, offset, len }, Self::Out(sender, file)) => {
                    if !file.is_ready(offset, len) {
                        sender.put_back(resent);
                        return Progress::Later;
                    }
                    let end = DATA_HEADER + usize::from(len);
                    let buffer = net.buffer();
                    let read = match buffer.get_mut(DATA_HEADER..end) {
                        Some(payload) => file.read_exact_at(offset, payload).await.is_ok(),
                        None => false,
                    };
                    if read && emit_data_header(block, net.buffer()).is_some() {
                        trace!("to {}: DATA {} ({} bytes)", route.to, block, len);
                        net.send(route.from, route.to, end).await;
                        sender.sent(net.now());
                    } else {
                        debug!("cannot read the file at {}", offset);
                        sender.abort(ErrorCode::NOT_DEFINED);
                    }
                }
                (Step::Request(options), transfer) => {
                    // A server's machine never asks for this.
                    let Some((server, request)) = route.request else { continue };
                    let request = Request { options, ..*request };
                    let packet = match transfer {
                        Self::Out(..) => Packet::Write(request),
                        Self::In(..) => Packet::Read(request),
                    };
                    send(net, route.from, server, &packet).await;
                }
                // Only a sender says so.
                (Step::SendData { .. }, Self::In(receiver, _)) => receiver.abort(ErrorCode::NOT_DEFINED),
            }
        }
    }

    /// The storage was waited for until now: the wait for the other side begins.
    pub(super) fn resume(&mut self, now: Instant) {
        match self {
            Self::Out(sender, _) => sender.sent(now),
            Self::In(receiver, _) => receiver.kept(now),
        }
    }

    fn not_kept(receiver: &mut Receiver, error: &U::Error) {
        debug!("cannot keep what is received: {}", format_args!("{error:?}"));
        receiver.abort(ErrorCode::DISK_FULL);
    }

    /// The client has repeated its request.
    pub(super) fn asked_again(&mut self, now: Instant) {
        match self {
            Self::Out(sender, _) => sender.asked_again(now),
            Self::In(receiver, _) => receiver.asked_again(now),
        }
    }

    pub(super) fn abort(&mut self, code: ErrorCode) {
        match self {
            Self::Out(sender, _) => sender.abort(code),
            Self::In(receiver, _) => receiver.abort(code),
        }
    }

    /// The transfer's report. The caller knows the direction: a server sends the file that a client reads.
    pub(super) fn report(
        &self,
        peer: SocketAddrV4,
        direction: Direction,
        began: Instant,
        outcome: Outcome,
    ) -> Report {
        let (len, bytes, resent) = match self {
            Self::Out(sender, file) => (Some(file.len()), sender.acknowledged_bytes(), sender.resent()),
            Self::In(receiver, _) => (receiver.announced(), receiver.received_bytes(), receiver.resent()),
        };
        let (block_size, window_size) = match self {
            Self::Out(sender, _) => (sender.block_size(), sender.window_size()),
            Self::In(receiver, _) => (receiver.block_size(), receiver.window_size()),
        };
        Report {
            peer,
            direction,
            outcome,
            began,
            early_terminate: false, // for a server to know: it has the client's text
            len,
            bytes,
            resent,
            block_size,
            window_size,
        }
    }
}

/// Emits `packet` into the network's own memory and sends it. One that does not fit is not sent: a loss like any other.
pub(super) async fn send<N: Net>(net: &mut N, from: N::Local, to: SocketAddrV4, packet: &Packet<'_>) {
    if let Some(len) = packet.emit(net.buffer()) {
        trace!("to {}: {}", to, packet);
        net.send(from, to, len).await;
    }
}
