// TCP of the W5500, for sockets that listen (data sheet, version 1.1.0, sections 4.2 and 5.2): the chip answers SYN, acknowledges and keeps
// what comes in order, sends what SEND has, repeats it after RTR, twice as late each time, RCR times, and then closes with TIMEOUT.
//
// SENDOK comes when the peer has acknowledged everything; what a chip does between is not known. What is for no socket is answered by
// RST. Not modelled: CONNECT, urgent data, keep-alive, and segments out of order, which are dropped.

import { ethernet, tcp } from './packets.js';

export class Tcp {
    constructor(chip) {
        this.chip = chip;
    }

    /** A segment for this chip's address; returns whether a socket keeps data of it. */
    receive({ from, tcp: segment }) {
        const { chip } = this;
        const isPeer = ({ connection: own }) =>
            own && own.ip === segment.fromIp && own.peerPort === segment.fromPort && own.port === segment.toPort;
        const known = chip.sockets.find(isPeer);
        if (known) return this.advance(known, segment);
        const listens = (socket) => socket.state === SOCK_LISTEN && socket.word(PORT) === segment.toPort;
        const socket = chip.sockets.find(listens);
        if (socket && segment.flags === SYN) return this.accept(socket, from, segment);
        if (!(segment.flags & RST)) this.refuse(from, segment);
        return chip.drop('closed');
    }

    accept(socket, mac, segment) {
        const mss = Math.min(segment.mss ?? 536, 1460);
        const [ip, peerPort, port] = [segment.fromIp, segment.fromPort, segment.toPort];
        socket.connection = { mac: Buffer.from(mac), ip, peerPort, port, mss, window: segment.window, queue: Buffer.alloc(0) };
        // A socket's numbers begin elsewhere each time.
        const start = (0x10000 * ++this.chip.connections) >>> 0;
        Object.assign(socket.connection, { acked: start, next: start + 1, expected: segment.seq + 1, repeats: 0 });
        socket.registers[SR] = SOCK_SYNRECV;
        this.repeatUntilAcked(socket, () => this.segment(socket, SYN | ACK, { seq: start, mss: 1460 }));
        return false;
    }

    advance(socket, segment) {
        const { chip } = this;
        const own = socket.connection;
        if (segment.flags & RST) {
            this.over(socket);
            return false;
        }
        const isNew = segment.flags & ACK && after(segment.ack, own.acked) && !after(segment.ack, own.next);
        if (isNew) this.acknowledged(socket, segment);
        own.window = segment.window;
        if (socket.connection !== own || !(segment.payload.length || segment.flags & (FIN | SYN))) return false;
        let kept = false;
        if (segment.seq >>> 0 === own.expected >>> 0 && socket.state !== SOCK_SYNRECV) {
            kept = segment.payload.length > 0 && chip.keep(socket, segment.payload.length, [], segment.payload);
            if (kept) own.expected += segment.payload.length;
            const isWhole = kept || segment.payload.length === 0;
            if (isWhole && segment.flags & FIN) {
                own.expected += 1;
                this.ended(socket);
            }
        }
        this.segment(socket, ACK);
        return kept;
    }

    acknowledged(socket, { ack }) {
        const own = socket.connection;
        own.acked = ack >>> 0;
        own.repeats = 0;
        const isAll = own.acked === own.next >>> 0;
        if (socket.state === SOCK_SYNRECV) {
            socket.registers[SR] = SOCK_ESTABLISHED;
            socket.raise(IR_CON);
        } else if (own.queue.length > 0 && isAll) {
            own.queue = Buffer.alloc(0);
            socket.txRead = socket.txWrite;
            socket.raise(IR_SENDOK);
            this.chip.counts.sent++;
        } else if (socket.state === SOCK_LAST_ACK && isAll) {
            this.over(socket);
        } else if (socket.state === SOCK_CLOSING && isAll) {
            socket.registers[SR] = SOCK_TIME_WAIT;
            this.wait(socket);
        } else if (socket.state === SOCK_FIN_WAIT && isAll && own.peerEnded) {
            socket.registers[SR] = SOCK_TIME_WAIT;
            this.wait(socket);
        }
        this.chip.updateInterrupt();
    }

    /** The peer's FIN. */
    ended(socket) {
        const own = socket.connection;
        own.peerEnded = true;
        if (socket.state === SOCK_ESTABLISHED) {
            socket.registers[SR] = SOCK_CLOSE_WAIT;
            socket.raise(IR_DISCON);
        } else if (socket.state === SOCK_FIN_WAIT) {
            const isAcked = own.acked === own.next >>> 0;
            socket.registers[SR] = isAcked ? SOCK_TIME_WAIT : SOCK_CLOSING;
            if (isAcked) this.wait(socket);
        }
        this.chip.updateInterrupt();
    }

    /** TIME_WAIT is short: the data sheet names no time. */
    wait(socket) {
        const { connection } = socket;
        this.chip.time.at(this.chip.time.now + 10e6, () => socket.connection === connection && this.over(socket));
    }

    over(socket) {
        socket.registers[SR] = 0;
        socket.connection = null;
        socket.raise(IR_DISCON);
        this.chip.updateInterrupt();
    }

    // --- Commands ----------------------------------------------------------------------------------------------------

    listen(socket) {
        if (socket.state === SOCK_INIT) socket.registers[SR] = SOCK_LISTEN;
    }

    send(socket, bytes) {
        const own = socket.connection;
        if (own.queue.length > 0) throw new Error('SEND before SENDOK');
        own.queue = Buffer.from(bytes);
        own.next += bytes.length;
        this.repeatUntilAcked(socket, () => {
            const from = (own.acked - (own.next - own.queue.length)) >>> 0;
            for (let at = from; at < own.queue.length && at < from + own.window; at += own.mss) {
                const payload = own.queue.subarray(at, Math.min(at + own.mss, from + own.window));
                this.segment(socket, ACK | PSH, { seq: own.next - own.queue.length + at, payload });
            }
        });
    }

    disconnect(socket) {
        const own = socket.connection;
        if (!own || own.ended) return;
        if (own.queue.length > 0) throw new Error('DISCON before SENDOK');
        own.ended = true;
        socket.registers[SR] = socket.state === SOCK_CLOSE_WAIT ? SOCK_LAST_ACK : SOCK_FIN_WAIT;
        const seq = own.next++;
        this.repeatUntilAcked(socket, () => this.segment(socket, FIN | ACK, { seq }));
    }

    // --- Out ---------------------------------------------------------------------------------------------------------

    repeatUntilAcked(socket, transmit) {
        const { chip } = this;
        const [{ epoch }, { connection: own, opening }] = [chip, socket];
        const until = own.next;
        transmit();
        const wait = (chip.common[RTR] << 8 | chip.common[RTR + 1]) * 100_000 * 2 ** own.repeats;
        chip.time.at(chip.time.now + wait, () => {
            if (epoch !== chip.epoch || opening !== socket.opening || socket.connection !== own || !after(until, own.acked)) return;
            if (own.repeats++ < chip.common[RCR]) return this.repeatUntilAcked(socket, transmit);
            socket.connection = null;
            socket.registers[SR] = 0;
            chip.timedOut(socket);
        });
    }

    segment(socket, flags, { seq, payload = Buffer.alloc(0), mss } = {}) {
        const { connection: own } = socket;
        const head = { fromPort: own.port, toPort: own.peerPort, seq: seq ?? own.next, ack: own.expected, flags, mss };
        const window = socket.rxSize - socket.received;
        const { ip } = this.chip;
        this.chip.transmit(ethernet(own.mac, ip.mac, 0x0800, tcp(ip.address, own.ip, { ...head, window }, payload)));
    }

    refuse(mac, { fromIp, fromPort, toPort, seq, ack, flags, payload }) {
        const { ip } = this.chip;
        const length = payload.length + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0);
        const head = { fromPort: toPort, toPort: fromPort, seq: flags & ACK ? ack : 0, ack: seq + length, flags: RST | ACK, window: 0 };
        this.chip.transmit(ethernet(mac, ip.mac, 0x0800, tcp(ip.address, fromIp, head, Buffer.alloc(0))));
    }
}

/** Whether a sequence number comes after another one. */
const after = (one, other) => ((one - other) | 0) > 0;

export const [FIN, SYN, RST, PSH, ACK] = [1, 2, 4, 8, 16];

const PORT = 0x04;
const SR = 0x03;
const RTR = 0x19;
const RCR = 0x1b;

const IR_CON = 0x01;
const IR_DISCON = 0x02;
const IR_SENDOK = 0x10;

const SOCK_INIT = 0x13;
const SOCK_LISTEN = 0x14;
const SOCK_SYNRECV = 0x16;
const SOCK_ESTABLISHED = 0x17;
const SOCK_FIN_WAIT = 0x18;
const SOCK_CLOSING = 0x1a;
const SOCK_TIME_WAIT = 0x1b;
const SOCK_CLOSE_WAIT = 0x1c;
const SOCK_LAST_ACK = 0x1d;
