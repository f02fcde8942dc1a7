// What the W5500 does by itself: ARP, answers to ping, IPv4 and UDP for its sockets (data sheet, version 1.1.0); `w5500-tcp.js` has TCP.
//
// A socket asks for the hardware address of its destination, or of the gateway for another network, before the first datagram to it,
// and keeps the last answer. Without an answer the request is repeated RCR times, each after RTR, and then the socket has the interrupt
// TIMEOUT. A socket in multicast mode (MULTI) sends to its group without ARP, and is the only kind that receives what is for a group. In
// front of a received datagram stand the sender's address, its port and the length.

import { BROADCAST, arp, echoReply, ethernet, ip, parse, udp } from './packets.js';
import { Tcp } from './w5500-tcp.js';

export class Ip {
    constructor(chip) {
        this.chip = chip;
        this.tcp = new Tcp(chip);
        this.waiting = []; // the sockets that ask: { target, deliver, timer's epoch }
    }

    bytes(from, length) {
        return this.chip.common.subarray(from, from + length);
    }

    get mac() {
        return Buffer.from(this.bytes(SHAR, 6));
    }

    get address() {
        return text(this.bytes(SIPR, 4));
    }

    // --- In ----------------------------------------------------------------------------------------------------------

    /** A frame from the wire; returns whether a socket keeps it. */
    receive(frame) {
        const { chip } = this;
        const packet = whole(frame);
        if (!packet) return chip.drop('filtered');
        const isBroadcast = packet.to.equals(BROADCAST);
        const isMulticast = !isBroadcast && (packet.to[0] & 1) === 1;
        if (!isBroadcast && !isMulticast && !packet.to.equals(this.mac)) return chip.drop('filtered');
        if (packet.arp) return this.receiveArp(packet.arp);
        if (packet.echo && packet.echo.toIp === this.address && !(chip.common[MR] & MR_PB)) {
            const { fromIp, body } = packet.echo;
            chip.transmit(ethernet(packet.from, this.mac, 0x0800, echoReply(this.address, fromIp, body)));
            return false;
        }
        if (packet.tcp?.toIp === this.address && !isBroadcast && !isMulticast) return this.tcp.receive(packet);
        if (!packet.udp) return chip.drop('filtered');
        const { toIp, toPort, fromIp, fromPort, payload } = packet.udp;
        if (!isMulticast && toIp !== this.address && !this.isBroadcast(toIp)) return chip.drop('filtered');
        const isOpen = ({ registers }) =>
            registers[SR] === SOCK_UDP &&
            (registers[PORT] << 8 | registers[PORT + 1]) === toPort &&
            isMulticast === ((registers[MR] & MR_MULTI) !== 0) &&
            (!isMulticast || (packet.to.equals(registers.subarray(DHAR, DHAR + 6)) && toIp === text(registers.subarray(DIPR, DIPR + 4))));
        const socket = chip.sockets.find(isOpen);
        if (!socket) return chip.drop('closed');
        if (isBroadcast && socket.registers[MR] & MR_BCASTB) return chip.drop('filtered');
        const told = chip.nextLength ?? payload.length;
        const head = [...ip(fromIp), fromPort >> 8, fromPort & 0xff, told >> 8, told & 0xff];
        return chip.keep(socket, head.length + payload.length, head, payload);
    }

    receiveArp({ operation, from, fromIp, toIp }) {
        const { chip } = this;
        if (fromIp === this.address && this.address !== NO_ADDRESS && !from.equals(this.mac)) {
            chip.common[IR] |= IR_CONFLICT;
            chip.updateInterrupt();
        }
        if (operation === 1 && toIp === this.address) {
            chip.transmit(ethernet(from, this.mac, 0x0806, arp(2, this.mac, this.address, from, fromIp)));
        } else if (operation === 2) {
            const answered = this.waiting.filter(({ target }) => target === fromIp);
            this.waiting = this.waiting.filter(({ target }) => target !== fromIp);
            for (const { deliver } of answered) deliver(Buffer.from(from));
        }
        return false;
    }

    isBroadcast(address) {
        if (address === '255.255.255.255') return true;
        const [own, mask] = [this.bytes(SIPR, 4), this.bytes(SUBR, 4)];
        return ip(address).every((byte, index) => byte === (own[index] | (~mask[index] & 0xff))) && this.address !== NO_ADDRESS;
    }

    // --- Out ---------------------------------------------------------------------------------------------------------

    send(socket, payload, hasMac) {
        const { registers } = socket;
        const to = text(registers.subarray(DIPR, DIPR + 4));
        const [toPort, fromPort] = [DPORT, PORT].map((at) => socket.word(at));
        const deliver = (mac) => {
            const packet = udp(this.address, fromPort, to, toPort, Buffer.from(payload), registers[TTL]);
            this.chip.sendFrame(socket, ethernet(mac, this.mac, 0x0800, packet));
        };
        if (hasMac || registers[MR] & MR_MULTI) return deliver(Buffer.from(registers.subarray(DHAR, DHAR + 6)));
        if (this.isBroadcast(to)) return deliver(BROADCAST);
        const target = this.isNear(to) ? to : text(this.bytes(GAR, 4));
        if (socket.resolved?.target === target) return deliver(socket.resolved.mac);
        const found = (mac) => {
            if (opening !== socket.opening) return;
            socket.resolved = { target, mac };
            deliver(mac);
        };
        const [{ opening }, entry] = [socket, { target, deliver: found }];
        this.waiting.push(entry);
        this.ask(socket, entry, this.chip.common[RCR]);
    }

    ask(socket, entry, tries) {
        const { chip } = this;
        const [{ epoch }, { opening }] = [chip, socket];
        chip.transmit(ethernet(BROADCAST, this.mac, 0x0806, arp(1, this.mac, this.address, Buffer.alloc(6), entry.target)));
        const wait = (chip.common[RTR] << 8 | chip.common[RTR + 1]) * 100_000;
        chip.time.at(chip.time.now + wait, () => {
            if (epoch !== chip.epoch || opening !== socket.opening || !this.waiting.includes(entry)) return;
            if (tries > 0) return this.ask(socket, entry, tries - 1);
            this.waiting = this.waiting.filter((other) => other !== entry);
            chip.timedOut(socket);
        });
    }

    isNear(address) {
        const [own, mask] = [this.bytes(SIPR, 4), this.bytes(SUBR, 4)];
        return ip(address).every((byte, index) => (byte & mask[index]) === (own[index] & mask[index]));
    }
}

/** The parts of a frame; `null` for a wrong checksum, a fragment, and a header with options, which no client here sends. */
function whole(frame) {
    const isFragment = frame[12] === 8 && frame[13] === 0 && (frame[14] !== 0x45 || frame[20] & 0x3f || frame[21]);
    if (isFragment) return null;
    try {
        return parse(frame);
    } catch {
        return null;
    }
}

const text = (bytes) => [...bytes].join('.');

const NO_ADDRESS = '0.0.0.0';

// Common registers
const GAR = 0x01;
const SUBR = 0x05;
const SHAR = 0x09;
const SIPR = 0x0f;
const IR = 0x15;
const RTR = 0x19;
const RCR = 0x1b;
const MR_PB = 0x10;
const IR_CONFLICT = 0x80;

// Socket registers; MR and SR as in `w5500.js`
const MR = 0x00;
const SR = 0x03;
const PORT = 0x04;
const DHAR = 0x06;
const DIPR = 0x0c;
const DPORT = 0x10;
const TTL = 0x16;
const MR_BCASTB = 0x40;
const MR_MULTI = 0x80;
const SOCK_UDP = 0x22;
