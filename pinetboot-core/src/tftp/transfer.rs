//! A machine joined to its file: one transfer, in either direction, on either side.

use core::net::SocketAddrV4;
use core::num::NonZeroU64;

use super::DATA_HEADER;
use super::packet::{ErrorCode, Packet, Request, emit_data_header};
use super::receiver::Receiver;
use super::report::{Direction, Report};
use super::sender::Sender;
use super::step::{LikelyData, Outcome, Step};
use crate::storage::{File, Upload};
use crate::{Instant, Net};

/// A transfer: the machine, and the file that it sends or receives.
#[derive(Debug)]
pub(super) enum Transfer<F, U> {
    Out(Sender, F),
    In(Receiver, U),
}

/// The DATA that the network keeps for a transfer: the offset of its bytes in the file, plus one. A transfer never has two DATA packets
/// of the same offset.
pub(super) type Prepared = Option<NonZeroU64>;

const fn of(offset: u64) -> Prepared {
    NonZeroU64::new(offset.saturating_add(1))
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

    /// Takes the machine's steps until it waits or is done. `prepared` is the DATA that [`prepare`](Self::prepare) left with the
    /// network.
    pub(super) async fn drive<N: Net>(
        &mut self,
        net: &mut N,
        route: Route<'_, N::Local>,
        prepared: &mut Prepared,
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
                    let is_prepared = N::PREPARES && prepared.take() == of(offset);
                    if is_prepared && net.send_prepared(route.from, route.to).await {
                        trace!("to {}: DATA {} ({} bytes), prepared", route.to, block, len);
                        sender.sent(net.now());
                        continue;
                    }
                    if !file.is_ready(offset, len) {
                        sender.put_back(resent);
                        return Progress::Later;
                    }
                    match emit_data(net, file, LikelyData { block, offset, len }).await {
                        Some(end) => {
                            trace!("to {}: DATA {} ({} bytes)", route.to, block, len);
                            net.send(route.from, route.to, end).await;
                            sender.sent(net.now());
                        }
                        None => {
                            debug!("cannot read the file at {}", offset);
                            sender.abort(ErrorCode::NOT_DEFINED);
                        }
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

    /// The DATA that is likely the next, unless the network keeps it already.
    pub(super) fn likely(&self, prepared: &Prepared) -> Option<LikelyData> {
        let Self::Out(sender, _) = self else { return None };
        sender.likely().filter(|likely| *prepared != of(likely.offset))
    }

    /// Leaves likely DATA with the network, if its bytes are there. Whether the network keeps it.
    pub(super) async fn prepare<N: Net>(
        &mut self,
        net: &mut N,
        route: Route<'_, N::Local>,
        likely: LikelyData,
        prepared: &mut Prepared,
    ) -> bool {
        let Self::Out(_, file) = self else { return false };
        *prepared = None;
        if !file.is_ready(likely.offset, likely.len) {
            return false;
        }
        // A file that cannot be read ends the transfer when its bytes are sent, not before.
        let Some(end) = emit_data(net, file, likely).await else { return false };
        if net.prepare(route.from, route.to, end).await {
            *prepared = of(likely.offset);
        }
        prepared.is_some()
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

/// Writes a DATA packet into the network's own memory. Its length; `None` if the file cannot be read.
async fn emit_data<N: Net, F: File>(net: &mut N, file: &mut F, data: LikelyData) -> Option<usize> {
    let LikelyData { block, offset, len } = data;
    let end = DATA_HEADER + usize::from(len);
    let payload = net.buffer().get_mut(DATA_HEADER..end)?;
    file.read_exact_at(offset, payload).await.ok()?;
    emit_data_header(block, net.buffer())?;
    Some(end)
}

/// Emits `packet` into the network's own memory and sends it. One that does not fit is not sent: a loss like any other.
pub(super) async fn send<N: Net>(net: &mut N, from: N::Local, to: SocketAddrV4, packet: &Packet<'_>) {
    if let Some(len) = packet.emit(net.buffer()) {
        trace!("to {}: {}", to, packet);
        net.send(from, to, len).await;
    }
}
